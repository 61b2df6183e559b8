// Two sessions side by side, and where they part.

import { table } from "./charts.js";
import { h, page, refuse } from "./dom.js";
import { article } from "./feed.js";
import { fold } from "./fold.js";
import { read } from "./log.js";

const STEERED = ["session.paused", "session.stepped", "session.resumed"]; // how people went through it
const DIFFERENT = ["seq", "at", "session_id", "milliseconds", "process", "fork"]; // in any two sessions

export async function open() {
  const main = page("compare"), asked = new URLSearchParams(location.search), ids = [asked.get("a") ?? "", asked.get("b") ?? ""];
  if (!ids.every(Boolean)) return refuse("Choose two sessions in the lab, a and b.");
  const logs = [[], []];
  for (const side of [0, 1]) if (!await read(ids[side], 0, true, (event) => logs[side].push(event))) return;
  const states = logs.map(fold), story = logs.map((log) => log.filter((event) => !STEERED.includes(event.kind)));
  const at = divergence(...story);
  const link = (side, seq, words) => h.a({ href: `/s/${ids[side]}${seq ? `?at=${seq}` : ""}` }, words);
  const first = [0, 1].map((side) => story[side][at]);
  const told = (event) => event ? `${event.kind}${event.agent ? ` of ${event.agent}` : ""}` : "the end of its log";
  const figures = (state) => [state.started?.crew, state.status, state.turns.size, state.tokens, state.calls, state.refused, state.plan.size,
    state.outcome ? `${state.outcome.outcome}, ${state.outcome.score}` : "", state.revealed?.result ?? "", state.revealed ? state.revealed.mole ?? "nobody" : ""];
  const names = ["crew", "status", "turns", "tokens", "tool calls", "of them failed", "slots set", "outcome", "result", "mole"];
  const [one, other] = states.map(figures);
  const word = [...states[0].turns.keys()].find((turn) => states[0].turns.get(turn).text !== states[1].turns.get(turn)?.text);
  main.append(
    h.section(h.h1("Two sessions"),
      h.p({ id: "divergence" }, at === null ? "They tell the same from the first event to the last." : `They part at event ${at + 1}: `,
        ...at === null ? [] : [link(0, first[0]?.seq, told(first[0])), " and ", link(1, first[1]?.seq, told(first[1])), ". "],
        word ? `The first word that differs is in turn ${word}.` : ""),
      table("Figures", ["of", ...ids], names.map((name, i) => [name, one[i], other[i]]))),
    h.section(h.h2("Plans"),
      table("Slots of both plans", ["slot", ...ids], [...new Set(states.flatMap((state) => [...state.plan.keys()]))].map((slot) => [
        slot, ...states.map((state) => state.plan.get(slot)?.value ?? "not set")]))),
    h.section(h.h2("Conversations"), ...turns(states)));
}

// Where both logs first tell something else, or null.
function divergence(one, other) {
  const plain = (event) => event && JSON.stringify(event, (key, value) => DIFFERENT.includes(key) ? undefined : value);
  for (let i = 0; i < Math.max(one.length, other.length); i += 1) if (plain(one[i]) !== plain(other[i])) return i;
  return null;
}

function turns(states) {
  const last = Math.max(0, ...states.flatMap((state) => [...state.turns.keys()]));
  return Array.from({ length: last }, (_, i) => {
    const both = states.map((state) => state.turns.get(i + 1));
    const differs = both[0]?.text !== both[1]?.text;
    return h.div({ class: "pair" }, ...both.map((turn, side) => {
      const made = turn ? article(turn, states[side].agents.get(turn.agent), null) : h.p("–");
      made.removeAttribute("id");
      made.querySelectorAll("a").forEach((link) => { link.href = `/s/${states[side].started.session_id}#m${i + 1}`; });
      if (differs) made.classList.add("differs");
      return made;
    }));
  });
}
