// The lab: all sessions with what came of them, and two of them side by side.

import { table } from "./charts.js";
import { call, h, page, refuse, toSession } from "./dom.js";
import { article } from "./feed.js";
import { figures } from "./figures.js";
import { fold } from "./fold.js";
import { read } from "./log.js";
import { behind, interval, quality } from "./quality.js";

const STEERED = ["session.paused", "session.stepped", "session.resumed"]; // how people went through it
const DIFFERENT = ["seq", "at", "session_id", "milliseconds", "process", "fork"]; // in any two sessions

export async function open() {
  const main = page("lab"), wanted = [...new URLSearchParams(location.search)];
  const rows = [];
  for (let before = ""; before !== null;) {
    const some = await call(`/api/sessions?limit=500${before && `&before=${before}`}`);
    if (!some) return;
    rows.push(...some.sessions.map((session) => ({ ...session, ...some.results[session.session_id] })));
    before = some.sessions.length === 500 ? some.sessions.at(-1).session_id : null;
  }
  const shown = rows.filter((row) => wanted.every(([field, values]) => values.split(",").includes(String(row[field] ?? ""))));
  const over = shown.filter((row) => row.result), right = over.filter((row) => row.result === "SUCCESS").length;
  const pick = (id, name) => h.input({ type: "radio", name, value: id, "aria-label": `${id} as ${name}`, required: "" });
  const narrow = (field, value) => value && behind(value, { [field]: value });
  const form = h.form({ action: "/lab/compare" },
    table("All sessions", ["a", "b", "session", "status", "turns", "crew", "model", "arm", "strategy", "guess", "result", "plan", "score"], shown.map((row) => [
      pick(row.session_id, "a"), pick(row.session_id, "b"), toSession(row.session_id),
      narrow("status", row.status), row.num_turns, row.crew, row.simulated ? "simulated" : row.model,
      narrow("arm", row.arm), narrow("strategy", row.strategy), row.result ? row.guess ?? "nobody" : "", narrow("result", row.result), narrow("outcome", row.outcome),
      row.result ? `${row.score} of ${row.reference}` : ""])),
    h.button({ class: "main" }, "Compare a with b"));
  main.append(h.section(h.h1(wanted.length ? `Sessions: ${wanted.map((one) => one.join(" ")).join(", ")}` : "All sessions"),
    h.p(`${shown.length} sessions, ${over.length} games over`,
        ...over.length ? ["; ", behind(right, { result: "SUCCESS" }), ` ended in SUCCESS, ${interval(right, over.length)}.`] : ["."],
      wanted.length ? h.a({ href: "/lab" }, " Show all") : null), form));
  if (!wanted.length) main.append(await quality("How right the rules were", false), await figures(rows));
}

export async function compare() {
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

// The index of the first event that is not told the same way in both logs, or null.
export function divergence(one, other) {
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
