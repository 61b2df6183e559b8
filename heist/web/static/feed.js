// The conversation: a turn as an article, what the reader looks for in it, and the words that evidence rests on.

import { $, api, ask, button, call, h, pill } from "./dom.js";

const LONG = 300; // of more messages only those in view are laid out
const drawn = new Map(), drawnAs = new Map(); // turn -> its article, and what that shows
let words = [], lit = null, chosen = 0, state = null, id = "";

export function open(sessionId) {
  id = sessionId;
  $("filter").addEventListener("input", filter);
}

// Draws the turns of `touched`, or all when the state is another one.
export function draw(now, touched) {
  if (now !== state) {
    state = now;
    for (const [turn, article] of drawn) {
      if (state.turns.has(turn)) continue;
      article.remove();
      drawn.delete(turn);
      drawnAs.delete(turn);
    }
    touched = state.turns.keys();
  }
  $("feed").classList.toggle("long", state.turns.size > LONG);
  [...touched].filter((turn) => state.turns.has(turn)).sort((one, other) => one - other).forEach((turn) => drawTurn(state.turns.get(turn)));
}

export function article(turn, agent, opens, more = []) {
  return h.article({ class: `turn c${agent.colour} ${turn.status}`, id: `m${turn.turn}`, "data-opens": opens && `Round ${turn.round}` },
    h.header(
      h.span({ class: "shape", "aria-hidden": "true" }, agent.shape), " ",
      h.strong(turn.agent), " ",
      h.a({ class: "meta", href: `#m${turn.turn}` }, `turn ${turn.turn}, round ${turn.round}`), " ",
      h.span({ class: "meta" }, `· ${meta(turn)}`), ...more,
    ),
    ...turn.tools.map(drawTool),
    turn.text ? h.p(...marked(turn)) : null,
    turn.error ? h.p({ class: "error" }, `✕ ${turn.status === "interrupted" ? "cut off" : "no message"}: ${turn.error}`) : null,
  );
}

// All that an article shows, in short: one that is as it was need not be made again.
function as(turn) {
  return [turn.status, turn.agent, turn.text.length, turn.tools.length, turn.error, lit?.turn === turn.turn && lit.quote, fits(turn)].join();
}

function drawTurn(turn) {
  if (drawnAs.get(turn.turn) === as(turn)) return;
  const agent = state.agents.get(turn.agent) ?? { shape: "?", colour: 0, role: "" };
  const opens = (turn.turn - 1) % (state.started?.seats.length ?? 1) === 0;
  const made = article(turn, agent, opens, [
    turn.status === "done" ? button("what it saw", () => saw(turn.turn), { class: "saw", "aria-label": `what it saw: ${turn.agent} in turn ${turn.turn}` }) : null,
  ]);
  made.hidden = !fits(turn);
  drawnAs.set(turn.turn, as(turn));
  const before = drawn.get(turn.turn);
  if (before) redraw(before, made);
  else $("feed").insertBefore(made, later(turn.turn));
  drawn.set(turn.turn, before ?? made);
}

// Changes only what is new: a tool's result that somebody has opened stays open, and the focus stays where it is.
function redraw(article, made) {
  const kept = [...article.children].filter((child, i) => child.matches("details") && child.firstChild.isEqualNode(made.children[i]?.firstChild)).length;
  const [header, ...rest] = [...made.children];
  article.className = made.className;
  article.hidden = made.hidden;
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

function drawTool(call) {
  const values = call.arguments && typeof call.arguments === "object" ? Object.values(call.arguments) : [call.arguments];
  return h.details({ class: call.success ? "tool" : "tool failed" },
    h.summary(`${call.success ? "✓" : "✕"} ${call.tool}(${values.join(", ")})`,
      call.success ? null : pill(call.fault, "failed")),
    h.pre(call.result),
  );
}

function marked({ turn, text }) {
  const at = lit?.turn === turn && lit.quote ? text.indexOf(lit.quote) : -1;
  if (at < 0) return [text];
  return [text.slice(0, at), h.mark(lit.quote), text.slice(at + lit.quote.length)];
}

// Shows a message, and in it the words that something rests on.
export function show(turn, quote = "") {
  const before = lit?.turn;
  lit = { turn, quote };
  draw(state, [before, turn]);
  const article = drawn.get(turn);
  if (!article) return;
  if (article.hidden) seek("");
  go(turn);
}

function go(turn) {
  drawn.get(chosen)?.classList.remove("chosen");
  chosen = turn;
  const article = drawn.get(turn);
  article.classList.add("chosen");
  article.tabIndex = -1;
  article.focus({ preventScroll: true });
  article.scrollIntoView({ block: "nearest" });
}

// The next message, or the one before, of those that `wanted` takes.
export function step(by, wanted = () => true) {
  const turns = [...$("feed").children].filter((one) => !one.hidden).map((one) => Number(one.id.slice(1))).filter((turn) => wanted(state.turns.get(turn)));
  const next = by > 0 ? turns.find((turn) => turn > chosen) : turns.filter((turn) => turn < (chosen || Infinity)).at(-1);
  if (next) go(next);
}

export const flagged = (turn) => turn.tools.some((call) => !call.success) || turn.status === "failed" ||
  state.evidence.some((item) => item.hit !== false && item.turns?.includes(turn.turn));

// "agent:hacker tool:fail flag:yes text"
function filter() {
  words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  drawn.forEach((article, turn) => {
    article.hidden = !fits(state.turns.get(turn));
    drawnAs.set(turn, as(state.turns.get(turn)));
  });
  const left = [...drawn.values()].filter((article) => !article.hidden).length;
  $("matches").textContent = words.length ? `${left} of ${drawn.size}` : "";
}

export function seek(text) {
  $("filter").value = $("filter").value === text ? "" : text;
  filter();
}

function fits(turn) {
  return words.every((word) => {
    const [key, wanted] = word.split(/:(.*)/s);
    if (key === "agent") return turn.agent.toLowerCase().startsWith(wanted);
    if (key === "tool") return turn.tools.some((call) => (wanted === "fail" ? !call.success : call.tool.includes(wanted)));
    if (key === "flag") return flagged(turn) === (wanted !== "no");
    return turn.text.toLowerCase().includes(word);
  });
}

async function saw(turn) {
  const seen = await call(api(id, `/turns/${turn}/prompt`));
  if (!seen) return;
  ask(`What ${seen.agent} saw in turn ${turn}`,
    h.p(`About ${seen.tokens} tokens; tools: ${seen.tools.join(", ") || "none"}.` +
      (seen.in_short.length ? ` In short: turns ${seen.in_short.map((span) => span.join("–")).join(", ")}.` : "") +
      (seen.left_out.length ? ` Not heard: turns ${seen.left_out.join(", ")}.` : "")),
    ...seen.parts.map((part) => h.details({ open: part.name === "cue" ? "" : null },
      h.summary(`${part.name} · about ${part.tokens} tokens`), h.pre(part.text))));
}
