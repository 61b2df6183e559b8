// The case file of a session, to be printed.

import { bars, losses, matrix, table } from "./charts.js";
import { button, h, page, speaker, time, toSession } from "./dom.js";
import { article } from "./feed.js";
import { fold } from "./fold.js";
import { read } from "./log.js";
import { curve, origin } from "./panels.js";

export async function open(id) {
  const log = [];
  if (!await read(id, 0, false, (event) => log.push(event))) return;
  const state = fold(log), { started, revealed, outcome } = state;
  const names = [...state.agents.keys()];
  const section = (title, ...children) => h.section(h.h2(title), ...children);
  page(`case file ${id}`).append(
    h.section(
      h.h1(`Case file: ${started.title}`),
      h.p(toSession(id), `, begun ${new Date(started.at).toLocaleString([], { timeZoneName: "short" })}, ${state.status}. `,
        speaker(started), " ", button("Print", () => print(), { class: "saw" })),
      h.p(started.goal, ...origin(started)),
      table("Crew", ["agent", "role", "scopes", "messages", "tool calls", "failed"], [...state.agents.values()].map((agent) => [
        agent.name, agent.role, agent.scopes.join(" "), agent.turns, agent.calls, agent.refused]))),
    section("What came of it", revealed
      ? h.p(`${revealed.result}: ${revealed.guess ?? "nobody"} was accused. ${revealed.mole ? `The mole was ${revealed.mole} (${revealed.title}).` : `There was no mole (${revealed.arm}).`} The plan came out ${revealed.outcome}, ${revealed.score} of ${revealed.reference} points.`)
      : h.p("The game is not over: who the mole is, and whether there is one, is sealed."),
    outcome ? losses(outcome.damage) : null,
    state.steps.length ? table("The night, minute by minute", ["clock", "place", "what happened", "slot", "costs %"], state.steps.map((step) => [step.clock, step.place, step.text, step.slot, step.costs || ""])) : null,
    revealed?.acts.length ? table("What the mole did", ["turn", "by the record", "by its own word", "slots", "points"], revealed.acts.map((act) => [act.turn, act.what, act.did, act.slots.join(" "), act.costs])) : null),
    section("The plan", table("Every edit of the plan", ["turn", "agent", "slot", "value", "before"], [...state.edits.values()].flat().sort((one, other) => one.seq - other.seq)
      .map((edit) => [edit.turn, edit.agent, edit.slot, edit.value, edit.before ?? ""]))),
    section("Suspicion", ...state.suspicions.length ? [curve("The detector's suspicion by turn", "turn", state, state.suspicions)] : [h.p("No detector has spoken.")],
      ...state.stated.length ? [curve("The player's suspicion by turn", "turn", state, state.stated)] : [],
      state.evidence.length ? table(`Evidence, the ${Math.min(30, state.evidence.length)} weightiest of ${state.evidence.length}`, ["agent", "turn", "quote", "reason"], state.evidence.slice(0, 30).map((item) => [item.agent, item.turns?.[0] ?? "", item.quote, item.reason ?? ""])) : null),
    section("Who with whom", matrix("Who follows whom", names, state.follows), matrix("Who names whom", names, state.names),
      bars("Tool calls, ok and failed", [...state.tools].map(([name, use]) => ({ name, ...use })))),
    section("Conversation", ...[...state.turns.values()].map((turn) => article(turn, state.agents.get(turn.agent), null))),
    section("Activity", h.ol(...state.activity.map((entry) => h.li(time(entry.at), ` ${entry.text}`)))));
}
