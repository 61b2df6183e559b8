// One session: the fold drawn on the page, at this moment or at an earlier one, and the controls.

import { spark } from "./charts.js";
import { $, api, ask, button, call, fill, h, options, percent, pill, quietly, refuse, speaker, time } from "./dom.js";
import * as feed from "./feed.js";
import { OVER, apply, empty, fold, stand } from "./fold.js";
import * as game from "./game.js";
import { cited, judge, read } from "./log.js";
import * as panels from "./panels.js";
import * as replay from "./replay.js";
import { follow } from "./stream.js";

const WEIGH_MS = 1500;
const log = [];
let present = empty(), state = present; // as it is, and as it is shown: another state while an earlier moment is
let applied = 0, id = "", blind = false, following = false, dirty = new Set(), stale = true, scheduled = false;
let sought = location.hash.slice(1); // an address of a message leads to it, and holds it in view until the reader moves
let followsEnd = !sought, top = 0;

export async function open(sessionId, link, isBlind) {
  id = sessionId;
  blind = isBlind;
  document.title = `heist: ${id}`;
  const row = await call(address());
  if (!row) return;
  document.body.classList.toggle("blind", blind);
  $("pause").addEventListener("click", pause);
  $("step").addEventListener("click", step);
  $("stop").addEventListener("click", stop);
  $("command").addEventListener("submit", command);
  $("command").text.addEventListener("keydown", (key) => {
    if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) $("command").requestSubmit();
  });
  for (const moved of ["wheel", "touchmove", "pointerdown", "keydown"]) {
    $("feed").addEventListener(moved, () => { sought = ""; }, { passive: true });
  }
  $("feed").addEventListener("scroll", () => {
    const box = $("feed"), near = box.scrollHeight - box.scrollTop - box.clientHeight < 60, up = box.scrollTop < top;
    top = box.scrollTop;
    if (sought) return;
    if (near || up) followsEnd = near;
    $("latest").hidden = followsEnd;
    if (followsEnd && !near) schedule(); // what came into view is longer than it was thought to be
  });
  $("latest").addEventListener("click", latest);
  $("fork").addEventListener("click", fork);
  $("report").href = `/s/${encodeURIComponent(id)}/report`;
  game.open(address(), blind);
  feed.open(id);
  replay.open(log, show);
  await Promise.all([panels.job(row.scenario), read(id, 0, blind, hear)]);
  $("session").hidden = false;
  if (present.revealed) await seeAll();
  const at = Number(new URLSearchParams(location.search).get("at"));
  if (at) replay.seek(log.filter((event) => event.seq <= at).length);
  schedule();
  health();
  following = true;
  follow({ session: id, ...(blind && { blind: true }), after: present.seq }, hear, link, async (after) => {
    await read(id, after, blind, hear);
    return present.seq;
  });
}

const address = (rest) => api(id, rest);

export const keys = {
  " ": () => replay.isLive() ? pause() : replay.play(),
  ".": step,
  j: () => feed.step(1), k: () => feed.step(-1),
  n: () => feed.step(1, feed.flagged), p: () => feed.step(-1, feed.flagged),
  "/": () => $("filter").focus(),
  "[": () => replay.move(-1), "]": () => replay.move(1),
  "{": () => replay.round(-1), "}": () => replay.round(1),
  c: () => $("command").text.focus(),
  g: () => (blind ? $("suspect").querySelector("input") ?? $("guess").agent : $("guess").agent).focus(),
  e: () => $("evidence").querySelector("button")?.focus(),
  l: latest,
  ...Object.fromEntries([1, 2, 3, 4, 5, 6].map((number) => [number, () => {
    const name = [...state.agents.keys()][number - 1];
    if (name) feed.seek(`agent:${name}`);
  }])),
};

function hear(event) {
  if (event.kind === "suspicion.updated" && event.seq === undefined) {
    // It has no place of its own in the log: it belongs to the message that it is about.
    const said = log.findLast((one) => one.kind === "message.completed" && one.turn === event.turn);
    if (said) said.standing = event;
    replay.rescan();
    stale = true;
  }
  if (event.seq !== undefined) {
    log.push(event);
    stale = true;
  }
  const turn = apply(present, event);
  if (turn !== undefined && state === present) dirty.add(turn);
  if (event.kind === "message.completed" && !document.hidden) $("announcer").textContent = `${event.agent}: ${event.text}`;
  if (following && /^session\.(paused|resumed)|^message\.failed/.test(event.kind)) health();
  if (following && event.kind === "mole.revealed") seeAll();
  if (following && !blind && /^message.completed|^suspicion.updated/.test(event.kind)) weigh();
  schedule();
}

let weighing = 0;

// A moment after the detector has spoken: the evidence, and how it saw what was told while nobody listened.
function weigh() {
  clearTimeout(weighing);
  weighing = setTimeout(async () => {
    const missed = log.some((event) => event.kind === "message.completed" && !event.standing);
    const evidence = await (missed ? judge : cited)(id, log);
    if (missed) {
      present.suspicions = [];
      for (const { standing } of log) if (standing) stand(present, standing);
      replay.rescan();
    }
    present.evidence = evidence;
    stale = true;
    schedule();
  }, WEIGH_MS);
}

// After the reveal a player sees what the detector said all along.
async function seeAll() {
  if (!blind) return;
  blind = false;
  document.body.classList.remove("blind");
  const all = [];
  if (!await read(id, 0, false, (event) => all.push(event))) return;
  log.splice(0, log.length, ...all);
  present = fold(log);
  show(null);
}

// The state after so many events of the log; null is now.
function show(count) {
  const before = state;
  if (count === null) state = present;
  else if (state === present || count < applied) {
    state = fold(log.slice(0, count));
    applied = count;
  } else {
    for (; applied < count; applied += 1) dirty.add(apply(state, log[applied]));
  }
  if (state !== before) $("activity").replaceChildren();
  followsEnd = true;
  stale = true;
  schedule();
}

// Nothing is drawn before all is there, so that nothing on the page has to move.
function schedule() {
  if (scheduled || $("session").hidden) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  feed.draw(state, dirty);
  dirty = new Set();
  drawHead();
  drawCrew();
  if (stale) {
    stale = false;
    drawCommands();
    drawActivity();
    panels.draw(state);
    game.draw(state, present, replay.night);
    replay.draw();
  }
  if (sought) document.getElementById(sought)?.scrollIntoView();
  if (followsEnd && !sought) $("feed").scrollTop = $("feed").scrollHeight;
  else $("latest").hidden = false;
}

function drawHead() {
  const { started, status } = state;
  if (!started) return;
  const total = started.rounds * started.seats.length;
  $("headline").replaceChildren(h.strong(started.title), ` ${id} `, speaker(started));
  if (!$("goal").firstChild) $("goal").append(started.goal, ...panels.origin(started));
  const word = worded(state);
  $("status").textContent = word;
  $("status").className = `pill ${status}`;
  $("why").textContent = word === "paused" ? state.why : "";
  const done = [...state.turns.values()].filter((turn) => ["done", "failed"].includes(turn.status)).length;
  const took = state.pulse.slice(-12).map((one) => one.ms);
  $("progress").textContent = `round ${state.round}/${started.rounds} · turn ${done}/${total} · ` +
    `${state.estimated ? "about " : ""}${state.tokens.toLocaleString()} tokens${state.money === null ? "" : ` · ${state.money.toFixed(4)} money`} · ` +
    `${state.calls} tool calls, ${state.refused} refused or failed${took.length ? ` · ${Math.round(took.at(-1)).toLocaleString()} ms ${spark(took)}` : ""}`;
  control();
}

const speaks = (one) => [...one.agents.values()].some((agent) => agent.speaking);

function worded(one) {
  if (OVER.includes(one.status)) return one.status;
  if (one.stopping) return "stopping";
  return one.status === "paused" && speaks(one) ? "pausing" : one.status;
}

// The controls are of now, whatever moment is shown.
function control() {
  const over = OVER.includes(present.status), closed = over || present.stopping;
  $("pause").firstChild.textContent = present.status === "paused" ? "Resume " : "Pause ";
  $("pause").disabled = closed;
  $("step").disabled = closed || speaks(present) || present.status !== "paused";
  $("stop").disabled = over;
  $("stop").textContent = present.stopping && !over ? "Stop now" : "Stop";
  for (const field of $("command").elements) field.disabled = closed;
}

function drawCrew() {
  const told = state.suspicions.at(-1)?.agents, closed = OVER.includes(present.status);
  fill($("agents"), ...[...state.agents.values()].map((agent) => h.li({ class: `agent c${agent.colour}${agent.speaking ? " speaking" : ""}` },
    h.span({ class: "shape", "aria-hidden": "true" }, agent.shape),
    h.span(h.strong(agent.name), told ? ` ${percent(told[agent.name] ?? 0)}` : null,
      agent.speaking ? h.span({ class: "typing" }, "speaking") : null, h.small(agent.role),
      h.small(`${count(agent.turns, "message")} · ${count(agent.calls, "tool call")}${agent.refused ? ` · ${agent.refused} failed` : ""}`),
      h.small({ class: "scopes" }, agent.quarantined ? "in quarantine: no tools" : agent.scopes.join(", ") || "no tools"),
      closed ? null : button(agent.quarantined ? "release" : "quarantine", () => isolate(agent),
        { class: "saw", "aria-label": `${agent.quarantined ? "Release" : "Quarantine"} ${agent.name}` })),
  )));
  const select = $("command").agent;
  if (!select.options.length) options(select, [...state.agents.keys()].map((name) => [name, name]));
}

function isolate({ name, quarantined }) {
  const path = address(`/quarantine/${encodeURIComponent(name)}`);
  if (quarantined) return call(path, undefined, "DELETE");
  const reason = h.input({ name: "reason", maxlength: 300 });
  const form = h.form(h.label("Reason, which it gets to read ", reason),
    h.button({ class: "main" }, "Put in quarantine"));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    if (await call(path, { reason: reason.value }, "PUT")) $("dialog").close();
  });
  ask(`Quarantine ${name}`, h.p("Its tokens die at once. It goes on speaking, without tools."), form);
  reason.focus();
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function drawCommands() {
  const over = OVER.includes(state.status);
  $("commands").replaceChildren(...[...state.commands.values()].reverse().map((command) => h.li(
    command.delivered ? pill(`delivered in turn ${command.delivered}`, "completed") : pill(over ? "never delivered" : "queued", "queued"),
    ` ${command.agent}: ${command.text}`,
  )));
}

function drawActivity() {
  const list = $("activity");
  for (const entry of state.activity.slice(list.children.length)) {
    list.prepend(h.li(time(entry.at), ` ${entry.text}`));
  }
}

// How the model servers are: asked when a session opens, pauses or goes on, for their breakers belong to the house.
async function health() {
  const found = await quietly("/health");
  $("health").replaceChildren(...(found?.models ?? []).map(({ server, state: breaker, reason }) => h.span({ class: `pill ${breaker === "closed" ? "live" : "failed"}`, title: reason || server },
    breaker === "closed" ? "model ok" : `✕ model ${breaker.replace("_", " ")}: ${reason}`)));
}

const order = (verb, query = "") => call(address(`/${verb}${query}`), {});

function pause() {
  if (!$("pause").disabled) order(present.status === "paused" ? "resume" : "pause");
}

function step() {
  if (!$("step").disabled) order("step");
}

function stop() {
  order("stop", present.stopping ? "?now=true" : "");
}

async function command(submitted) {
  submitted.preventDefault();
  const form = $("command");
  const sent = await call(address("/commands"), { agent: form.agent.value, text: form.text.value });
  if (sent) form.text.value = "";
}

async function fork() {
  const started = await call(address("/fork"), replay.isLive() ? {} : { seq: state.seq });
  if (started) location.assign(`/${blind ? "play" : "s"}/${started.session_id}`);
}

function latest() {
  sought = "";
  followsEnd = true;
  replay.live();
  $("latest").hidden = true;
  $("feed").scrollTop = $("feed").scrollHeight;
}

window.addEventListener("error", (event) => refuse(`The page has a fault: ${event.message}`));
