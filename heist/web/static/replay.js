// Replay: any moment of a log, by its place: the same fold over the log up to there.

import { $, svg } from "./dom.js";

const WAITS = { "message.completed": 1000, "outcome.step": 900, "plan.changed": 300, "tool.called": 300 };
const JUMP = 0.15; // a change of suspicion that deserves a mark
let log = [], show = () => {}, at = null, timer = 0; // `at` events are shown; null is all, as they come
let marks = [], scanned = 0, before = null;

export const isLive = () => at === null;

export function open(events, shown) {
  [log, show] = [events, shown];
  $("seek").addEventListener("input", () => { halt(); seek(Number($("seek").value)); });
  $("play").addEventListener("click", play);
  $("live").addEventListener("click", live);
}

export function seek(count) {
  at = Math.max(1, Math.min(count, log.length));
  history.replaceState(null, "", `${location.pathname}?at=${log[at - 1]?.seq ?? 0}${location.hash}`);
  show(at);
}

export function live() {
  halt();
  if (at === null) return;
  at = null;
  history.replaceState(null, "", location.pathname);
  show(null);
}

export function move(by) {
  halt();
  seek((at ?? log.length) + by);
}

export function round(by) {
  halt();
  const here = at ?? log.length, rounds = marks.filter((mark) => mark.glyph === "│").map((mark) => mark.at);
  seek(by > 0 ? rounds.find((one) => one > here) ?? log.length : rounds.filter((one) => one < here).at(-1) ?? 1);
}

export function play() {
  if (timer) return halt();
  if (at === null || at >= log.length) seek(1);
  return tick();
}

// From the first moment of the plan as it is played out.
export function night() {
  halt();
  seek(log.findIndex((event) => event.kind === "outcome.step") + 1);
  requestAnimationFrame(() => $("bank-panel").scrollIntoView({ block: "center" }));
  tick();
}

function tick() {
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Hold the replay");
  timer = setTimeout(() => {
    if (at >= log.length) return halt();
    seek(at + 1);
    return tick();
  }, (WAITS[log[at - 1]?.kind] ?? 60) / Number($("speed").value));
}

function halt() {
  clearTimeout(timer);
  timer = 0;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Replay");
}

export function draw() {
  const here = at ?? log.length, event = log[here - 1];
  Object.assign($("seek"), { max: Math.max(1, log.length), value: here });
  $("seek").setAttribute("aria-valuetext", event ? `event ${here} of ${log.length}: ${event.kind}${event.agent ? ` of ${event.agent}` : ""}` : "nothing yet");
  $("where").textContent = `${here} / ${log.length}`;
  $("live").disabled = at === null;
  document.body.classList.toggle("past", at !== null);
  $("moment").href = `?at=${event?.seq ?? 0}`;
  scan();
  const place = (mark) => `${(mark.at - 1) / Math.max(1, log.length - 1) * 100}%`;
  $("marks").replaceChildren(...marks.map((mark) => svg.text({ x: place(mark), y: 12, "text-anchor": "middle", class: `mark ${mark.name}` },
    mark.glyph, svg.title({}, mark.title))));
}

// What was scanned is not as it was.
export function rescan() {
  scanned = Infinity;
}

function scan() {
  if (scanned > log.length) [marks, scanned, before] = [[], 0, null];
  for (; scanned < log.length; scanned += 1) {
    const mark = marked(log[scanned]);
    if (mark) marks.push({ at: scanned + 1, name: mark[0], glyph: mark[1], title: mark[2] });
  }
}

function marked(event) {
  switch (event.kind) {
    case "round.started": return ["round", "│", `round ${event.round}`];
    case "tool.called": return event.success ? null : ["fail", "✕", `${event.tool} of ${event.agent} failed`];
    case "command.issued": return ["order", "◆", `command to ${event.agent}`];
    case "plan.changed": return ["edit", "▪", `${event.slot}: ${event.value}`];
    case "mole.revealed": return ["end", "★", "the reveal"];
    case "message.completed": {
      if (!event.standing) return null;
      const now = event.standing.posterior, last = before;
      before = now;
      const jumped = Object.keys(now).find((name) => Math.abs(now[name] - (last?.[name] ?? now[name])) > JUMP);
      return jumped ? ["jump", "▲", `suspicion of ${jumped}`] : null;
    }
    default: return null;
  }
}
