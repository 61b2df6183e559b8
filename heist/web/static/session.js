// One session: the fold drawn on the page, and the controls.

import { $, call, element, refuse, time } from "./dom.js";
import { apply, empty } from "./fold.js";
import * as game from "./game.js";
import { follow } from "./stream.js";

const drawn = new Map(); // turn -> its article
const OVER = ["completed", "stopped", "failed"];
let state = empty(), id = "", dirty = new Set(), scheduled = false;
let sought = location.hash.slice(1); // an address of a message leads to it, and holds it in view until the reader moves
let followsEnd = !sought;

export async function open(sessionId, link) {
  id = sessionId;
  document.title = `heist: ${id}`;
  if (!await call(`/api/sessions/${encodeURIComponent(id)}`)) return;
  $("session").hidden = false;
  $("pause").addEventListener("click", pause);
  $("step").addEventListener("click", () => order("step"));
  $("stop").addEventListener("click", stop);
  $("command").addEventListener("submit", command);
  $("command").text.addEventListener("keydown", (key) => {
    if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) $("command").requestSubmit();
  });
  for (const moved of ["wheel", "touchmove", "pointerdown", "keydown"]) {
    $("feed").addEventListener(moved, () => { sought = ""; }, { passive: true });
  }
  $("feed").addEventListener("scroll", () => {
    const feed = $("feed");
    if (sought) return;
    followsEnd = feed.scrollHeight - feed.scrollTop - feed.clientHeight < 60;
    $("latest").hidden = followsEnd;
  });
  $("latest").addEventListener("click", latest);
  game.open(id);
  follow({ session: id }, hear, link);
}

export const keys = {
  " ": pause,
  n: () => !$("step").disabled && order("step"),
  c: () => $("command").text.focus(),
  l: latest,
};

function hear(event) {
  const turn = apply(state, event);
  if (turn !== undefined) dirty.add(turn);
  if (event.kind === "message.completed" && !document.hidden) $("announcer").textContent = `${event.agent}: ${event.text}`;
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  scheduled = false;
  [...dirty].sort((one, other) => one - other).forEach((turn) => drawTurn(state.turns.get(turn)));
  dirty = new Set();
  drawHead();
  drawCrew();
  drawCommands();
  drawActivity();
  game.draw(state, OVER.includes(state.status));
  if (sought) document.getElementById(sought)?.scrollIntoView();
  if (followsEnd && !sought) $("feed").scrollTop = $("feed").scrollHeight;
  else $("latest").hidden = false;
}

function drawHead() {
  const { started, status } = state;
  if (!started) return;
  const total = started.rounds * started.seats.length;
  const over = OVER.includes(status);
  $("headline").replaceChildren(
    element("strong", {}, started.title), ` ${id} `,
    started.simulated ? element("span", { class: "pill simulated" }, "simulated") : element("span", { class: "pill" }, started.model),
  );
  const speaking = [...state.agents.values()].some((agent) => agent.speaking);
  const closed = over || state.stopping;
  $("goal").textContent = started.goal;
  $("status").textContent = over ? status : state.stopping ? "stopping" : status === "paused" && speaking ? "pausing" : status;
  $("status").className = `pill ${status}`;
  const done = [...state.turns.values()].filter((turn) => ["done", "failed"].includes(turn.status)).length;
  $("progress").textContent = `round ${state.round}/${started.rounds} · turn ${done}/${total} · ` +
    `${state.estimated ? "about " : ""}${state.tokens.toLocaleString()} tokens · ${state.calls} tool calls, ${state.refused} refused or failed`;
  $("pause").firstChild.textContent = status === "paused" ? "Resume " : "Pause ";
  $("pause").disabled = closed;
  $("step").disabled = closed || speaking || status !== "paused";
  $("stop").disabled = over;
  $("stop").textContent = state.stopping && !over ? "Stop now" : "Stop";
  for (const control of $("command").elements) control.disabled = closed;
}

function drawCrew() {
  $("agents").replaceChildren(...[...state.agents.values()].map((agent) => element("li",
    { class: `agent c${agent.colour}${agent.speaking ? " speaking" : ""}` },
    element("span", { class: "shape", "aria-hidden": "true" }, agent.shape),
    element("span", {}, element("strong", {}, agent.name),
      agent.speaking ? element("span", { class: "typing" }, "speaking") : null, element("small", {}, agent.role),
      element("small", {}, `${count(agent.turns, "message")} · ${count(agent.calls, "tool call")}${agent.refused ? ` · ${agent.refused} failed` : ""}`),
      element("small", { class: "scopes" }, agent.quarantined ? "in quarantine: no tools" : agent.scopes.join(", ") || "no tools")),
  )));
  const select = $("command").agent;
  if (!select.options.length) select.append(...[...state.agents.keys()].map((name) => element("option", { value: name }, name)));
}

function drawTurn(turn) {
  const agent = state.agents.get(turn.agent) ?? { shape: "?", colour: 0, role: "" };
  const opens = (turn.turn - 1) % (state.started?.seats.length ?? 1) === 0;
  const made = element("article",
    { class: `turn c${agent.colour} ${turn.status}`, id: `m${turn.turn}`, "data-opens": opens && `Round ${turn.round}` },
    element("header", {},
      element("span", { class: "shape", "aria-hidden": "true" }, agent.shape), " ",
      element("strong", {}, turn.agent), " ",
      element("a", { class: "meta", href: `#m${turn.turn}` }, `turn ${turn.turn}, round ${turn.round}`), " ",
      element("span", { class: "meta" }, `· ${meta(turn)}`),
    ),
    ...turn.tools.map(drawTool),
    turn.text ? element("p", {}, turn.text) : null,
    turn.error ? element("p", { class: "error" }, `✕ ${turn.status === "interrupted" ? "cut off" : "no message"}: ${turn.error}`) : null,
  );
  const before = drawn.get(turn.turn);
  if (before) redraw(before, made);
  else $("feed").insertBefore(made, later(turn.turn));
  drawn.set(turn.turn, before ?? made);
}

// Changes only what is new: a tool's result that somebody has opened stays open, and the focus stays where it is.
function redraw(article, made) {
  const kept = article.querySelectorAll("details").length;
  const [header, ...rest] = [...made.children];
  article.className = made.className;
  if (!article.firstElementChild.isEqualNode(header)) article.firstElementChild.replaceWith(header);
  [...article.children].slice(1 + kept).forEach((child) => child.remove());
  article.append(...rest.slice(kept));
}

// The article that a turn's own must stand before. At full speed a turn's first words can overtake the turn before.
function later(turn) {
  let found = null;
  for (let one = $("feed").lastElementChild; one && Number(one.id.slice(1)) > turn; one = one.previousElementSibling) found = one;
  return found;
}

function meta(turn) {
  if (turn.status === "speaking") return "speaking…";
  if (turn.status !== "done") return turn.status;
  return `${turn.estimated ? "about " : ""}${turn.tokens} tokens, ${(turn.ms / 1000).toFixed(1)} s`;
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function drawTool(call) {
  const values = call.arguments && typeof call.arguments === "object" ? Object.values(call.arguments) : [call.arguments];
  return element("details", { class: call.success ? "tool" : "tool failed" },
    element("summary", {}, `${call.success ? "✓" : "✕"} ${call.tool}(${values.join(", ")})`,
      call.success ? null : element("span", { class: "pill failed" }, call.fault)),
    element("pre", {}, call.result),
  );
}

function drawCommands() {
  const over = OVER.includes(state.status);
  $("commands").replaceChildren(...[...state.commands.values()].reverse().map((command) => element("li", {},
    element("span", { class: `pill ${command.delivered ? "completed" : "queued"}` },
      command.delivered ? `delivered in turn ${command.delivered}` : over ? "never delivered" : "queued"),
    ` ${command.agent}: ${command.text}`,
  )));
}

function drawActivity() {
  const list = $("activity");
  for (const entry of state.activity.slice(list.children.length)) {
    list.prepend(element("li", {}, time(entry.at), ` ${entry.text}`));
  }
}

async function order(verb, query = "") {
  return call(`/api/sessions/${id}/${verb}${query}`, {});
}

function pause() {
  if (!$("pause").disabled) order(state.status === "paused" ? "resume" : "pause");
}

async function stop() {
  await order("stop", state.stopping ? "?now=true" : "");
}

async function command(submitted) {
  submitted.preventDefault();
  const form = $("command");
  const sent = await call(`/api/sessions/${id}/commands`, { agent: form.agent.value, text: form.text.value });
  if (sent) form.text.value = "";
}

function latest() {
  sought = "";
  followsEnd = true;
  $("latest").hidden = true;
  $("feed").scrollTop = $("feed").scrollHeight;
}

window.addEventListener("error", (event) => refuse(`The page has a fault: ${event.message}`));
