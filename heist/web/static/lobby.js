// The lobby: who would speak, the start form, and the sessions as they come and go.

import { $, api, call, h, options, pill, quietly, speaker, toSession } from "./dom.js";
import { article } from "./feed.js";
import { apply, empty } from "./fold.js";
import { follow } from "./stream.js";

const after = (ms) => new Promise((resume) => setTimeout(resume, ms));
const rows = new Map(); // session id -> its row
let oldest = ""; // the session id that the list ends on

export const keys = { s: () => $("start").requestSubmit() };

export async function open(_, link) {
  document.title = "heist";
  $("start").addEventListener("submit", start);
  $("more").addEventListener("click", older);
  // Shown when all is there, nothing has to move; a model server that is slow keeps nobody waiting.
  await Promise.race([Promise.all([house(), strategies(), sessions(link)]), after(800)]);
  $("lobby").hidden = false;
}

async function strategies() {
  const ways = await call("/api/strategies") ?? [];
  options($("start").strategy, ways.map((way) => [way.name, way.title]));
}

async function house() {
  const found = await call("/api/house");
  if (!found) return;
  $("start").crew.replaceChildren(...found.crews.map((crew) => h.option({ value: crew.file }, crew.problem
    ? `${crew.file} (cannot be read)` : `${crew.name} (${crew.agents} agents, ${crew.rounds} rounds)`)));
  if (found.crews.some((crew) => crew.file === "crew")) $("start").crew.value = "crew";
  const who = found.problem || (found.simulated ? found.notice || "no language model speaks here, as HEIST_LLM says" : `${found.model} by ${found.server} speaks.`);
  $("who").replaceChildren(
    found.simulated ? pill("simulated", "simulated") : "", ` ${who} `,
  );
}

async function start(submitted) {
  submitted.preventDefault();
  const button = $("start").querySelector("button");
  const order = {};
  for (const [name, value] of new FormData($("start"))) {
    if (value !== "") order[name] = ["crew", "turn_order", "arm", "strategy"].includes(name) ? value : Number(value);
  }
  button.disabled = true;
  const started = await call("/api/sessions", order);
  button.disabled = false;
  if (started) location.assign(`/s/${started.session_id}`);
}

async function sessions(link) {
  const page = await call("/api/sessions");
  if (!page) return;
  append(page.sessions);
  $("none").hidden = rows.size > 0;
  if (!rows.size) demo();
  follow({ after: page.seq }, hear, link, missed);
}

// The newest sessions once more, for a tab that has missed what another told.
async function missed() {
  const page = await call("/api/sessions");
  page?.sessions.reverse().forEach((session) => {
    const before = rows.get(session.session_id), now = row(session);
    if (before) before.replaceWith(now);
    else $("sessions").prepend(now);
  });
  $("none").hidden = rows.size > 0;
  return page?.seq;
}

async function older() {
  const page = await call(`/api/sessions?before=${oldest}`);
  if (page) append(page.sessions);
}

function append(older) {
  older.forEach((session) => $("sessions").append(row(session)));
  oldest = older.at(-1)?.session_id ?? oldest;
  $("more").hidden = older.length < 50;
}

function hear(event) {
  // The list is read after its place in the log, so a session may be in both.
  if (event.kind === "session.started" && !rows.has(event.session_id)) {
    $("none").hidden = true;
    $("sessions").prepend(row({ ...event, start_time: event.at, status: "running", num_turns: 0 }));
  } else {
    call(api(event.session_id)).then((session) => session && rows.get(event.session_id)?.replaceWith(row(session)));
  }
}

function row(session) {
  const made = h.tr(
    h.td(toSession(session.session_id), h.br(), h.small(session.title)),
    h.td(pill(session.status, session.status)),
    h.td(String(session.num_turns)),
    h.td(session.crew),
    h.td(speaker(session)),
    h.td(new Date(session.start_time).toLocaleString([], { hour12: false })),
  );
  rows.set(session.session_id, made);
  return made;
}

// A first visit explains itself by a recorded game, as if live; who wants no motion gets it whole.
async function demo() {
  const events = await quietly("/static/demo.json") ?? [];
  const state = empty(), box = $("demo"), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const shown = new Map();
  for (const event of events) {
    if ($("none").hidden) return;
    const at = apply(state, event), edit = event.kind === "plan.changed";
    if (at !== undefined && state.turns.get(at).text) {
      const turn = state.turns.get(at), made = article(turn, state.agents.get(turn.agent), null);
      made.removeAttribute("id");
      made.querySelector("a").removeAttribute("href");
      shown.get(at)?.remove();
      shown.set(at, made);
      box.append(made);
    } else if (edit) box.append(h.p({ class: "meta" }, `▪ ${event.agent} sets ${event.slot} to ${event.value}`));
    else if (event.kind === "mole.revealed") box.append(h.p(h.strong(event.mole ? `The mole was ${event.mole}.` : "There was no mole."), ` The plan came out ${event.outcome}.`));
    else continue;
    if (still) continue;
    box.scrollTop = box.scrollHeight;
    await after(edit ? 400 : 1600);
  }
}
