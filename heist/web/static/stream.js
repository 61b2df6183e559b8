// The events of the server, with a word about the link: live, reconnecting, signed out.

const SILENCE = 45_000; // milliseconds; the server pings every 15 s

// Follows `/api/events`; `hear(event)` gets each event, `link(word)` each change. Answers a function that ends it.
export function follow(query, hear, link) {
  let source, last = query.after ?? 0, watch, retry, ended = false;

  function open() {
    const parameters = new URLSearchParams({ ...query, after: last });
    source = new EventSource(`/api/events?${parameters}`);
    source.onopen = () => { link("live"); alive(); };
    source.onmessage = (message) => {
      alive();
      if (message.lastEventId) last = Number(message.lastEventId);
      hear(JSON.parse(message.data));
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
    if (ended) return;
    link("reconnecting");
    // Not /api/house, which may have to search for a model server first.
    const status = await fetch("/api/sessions?limit=1").then((answer) => answer.status, () => 0);
    if (ended) return;
    if (status === 401) link("signed out");
    else retry = setTimeout(open, 1000);
  }

  open();
  return () => { ended = true; clearTimeout(watch); clearTimeout(retry); source.close(); };
}
