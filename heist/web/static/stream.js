// The events of the server, with a word about the link: live, reconnecting, signed out. Of all tabs that follow the
// same, one leads and has the stream; it tells the others. When it closes, another leads.

const SILENCE = 45_000; // milliseconds; the server pings every 15 s

// Follows `/api/events`; `hear(event)` gets each event, `link(word)` each change. `mend(after)` fetches what a tab that
// does not lead has missed.
export function follow(query, hear, link, mend = () => {}) {
  const { after = 0, ...name } = query;
  const topic = `heist ${new URLSearchParams(name)}`;
  let last = after, leads = false, word = "", spoken = null, mending = null;
  const others = new BroadcastChannel(topic);

  function told(event, before) {
    if (event.seq === undefined) return hear(event);
    if (event.seq <= last) return undefined;
    if (before > last && !leads) return catchUp().then(() => told(event, last));
    last = event.seq;
    return hear(event);
  }

  function catchUp() {
    mending ??= Promise.resolve(mend(last)).then((reached) => { mending = null; last = Math.max(last, reached ?? 0); });
    return mending;
  }

  function say(now) {
    word = now;
    link(word);
    others.postMessage({ word });
  }

  others.onmessage = ({ data }) => {
    if (data.hello && leads) {
      others.postMessage({ word, reached: last });
      if (spoken) others.postMessage({ event: spoken, before: 0 });
    } else if (!leads && data.word) {
      link(data.word);
      if (data.reached > last) catchUp(); // what came while this tab was opening
    } else if (!leads && data.event) told(data.event, data.before);
  };
  others.postMessage({ hello: true });

  // The words of whoever speaks, for a tab that comes in the middle.
  function remember(event) {
    if (event.kind === "message.delta") spoken = spoken?.turn === event.turn ? { ...spoken, text: spoken.text.slice(0, event.offset - spoken.offset) + event.text } : event;
    else if (event.turn === spoken?.turn && /^message\.(completed|failed|interrupted)$/.test(event.kind)) spoken = null;
  }

  let source, watch, retry;
  function open() {
    source = new EventSource(`/api/events?${new URLSearchParams({ ...name, after: last })}`);
    source.onopen = () => { say("live"); alive(); };
    source.onmessage = (message) => {
      alive();
      const event = JSON.parse(message.data), before = last;
      remember(event);
      told(event, before);
      others.postMessage({ event, before });
    };
    source.addEventListener("ping", alive);
    source.onerror = lost;
  }

  function alive() {
    clearTimeout(watch);
    watch = setTimeout(lost, SILENCE);
  }

  // Opens a new stream rather than letting the browser do so: it gives up on a refusal, and never says why.
  async function lost() {
    source.close();
    clearTimeout(watch);
    clearTimeout(retry);
    say("reconnecting");
    // Not /api/house, which may have to search for a model server first.
    const status = await fetch("/api/sessions?limit=1").then((answer) => answer.status, () => 0);
    if (status === 401) say("signed out");
    else retry = setTimeout(open, 1000);
  }

  // The lock is held until the tab is closed. Without locks (an address that is not secure) every tab leads.
  const lead = () => { leads = true; open(); return new Promise(() => {}); };
  if (navigator.locks) navigator.locks.request(topic, lead);
  else lead();
}
