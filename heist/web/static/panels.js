// What a session shows beside its conversation: suspicion and evidence, the plan, the bank, who with whom, and figures.

import { bars, draw as redraw, lines, matrix } from "./charts.js";
import { floor } from "./bank.js";
import { $, button, fill, h, quietly } from "./dom.js";
import { show } from "./feed.js";
import { SHAPES } from "./fold.js";

const NOBODY = { name: "nobody", shape: "○", colour: "n", dashed: true };
let known = null; // the job: its places and the plan's slots

export async function job(name) {
  known = await quietly(`/api/scenarios/${encodeURIComponent(name)}`);
}

// Where a session comes from, if it goes on from a moment of another.
export const origin = ({ fork }) => fork ? [" This is a fork of ",
  h.a({ href: `/s/${fork.session_id}?at=${fork.seq}` }, fork.session_id), ` at turn ${fork.turn}, a re-execution.`] : [];

export function draw(state) {
  const curves = $("suspicion"), evidence = $("evidence");
  $("suspicion-panel").hidden = !state.suspicions.length;
  if (state.suspicions.length) redraw(curves, curve("Suspicion by turn", "turn", state, state.suspicions));
  $("evidence-panel").hidden = !state.evidence.length;
  fill(evidence, ...state.evidence.slice(0, 12).map(item));
  plan(state);
  bank(state);
  const names = [...state.agents.keys()];
  redraw($("whom"), matrix("Who follows whom", names, state.follows), matrix("Who names whom", names, state.names));
  redraw($("tools"), bars("Tool calls, ok and failed", [...state.tools].map(([name, use]) => ({ name, ...use }))));
  redraw($("figures"), pulse("Tokens per message", state, "tokens"), pulse("Milliseconds per message", state, "ms"));
}

// How suspicion went, of each agent and of nobody: the detector's, or a player's.
export function curve(label, x, state, told) {
  const series = [...state.agents.values()].map((agent) => ({
    name: agent.name, shape: agent.shape, colour: agent.colour, points: told.map((one) => [one.turn, one.agents[agent.name] ?? 0]),
  }));
  return lines(label, x, "%", [...series, { ...NOBODY, points: told.map((one) => [one.turn, one.nobody]) }], 1);
}

function pulse(label, state, field) {
  return lines(label, "turn", "", [{ name: field, shape: SHAPES[0], colour: 2, points: state.pulse.map((one) => [one.turn, one[field]]) }]);
}

function item(told) {
  const turn = told.turns?.[0] ?? told.turn, sign = told.hit === false ? "−" : "+";
  return h.li(button(`${sign} ${told.agent}: ${told.quote ? `“${told.quote}”` : told.check ?? "noted"}`, () => show(turn, told.quote)),
    h.small(` ${told.reason ?? told.why ?? ""} (turn ${turn}${told.weight === undefined ? "" : `, ${told.weight.toFixed(2)} nats`})`));
}

// Every slot, also those that nobody has set; who set it before is told when it is opened, or pointed at.
function plan(state) {
  const slots = Object.entries(known?.slots ?? Object.fromEntries([...state.plan.keys()].map((slot) => [slot, { label: slot, role: "" }])));
  const set = slots.filter(([slot]) => state.plan.has(slot)).length;
  $("plan-count").textContent = `${set} of ${slots.length} set`;
  fill($("plan"), ...slots.map(([slot, { label, role, among }]) => {
    const edit = state.plan.get(slot), edits = state.edits.get(slot) ?? [];
    const told = edits.map((one) => `turn ${one.turn}: ${one.agent} set ${one.value}`);
    return h.details({ "data-key": slot, class: edit ? null : "unset", title: told.join("\n") || null },
      h.summary(h.span(label), " ", h.strong(edit ? String(edit.value) : "not set"), " ",
        h.small(edit ? `${edit.agent}, turn ${edit.turn}${edits.length > 1 ? `, ${edits.length}×` : ""}` : role)),
      h.ol(...edits.map((one, i) => h.li(button(told[i], () => show(one.turn)))),
        among?.length ? h.li(`One of: ${among.join(", ")}`) : null));
  }));
}

function bank(state) {
  const step = state.steps.at(-1), here = step?.place ?? "outside";
  $("bank-panel").hidden = !known;
  $("bank-panel").classList.toggle("night", Boolean(step));
  if (!known) return;
  const chosen = new Map([...state.plan.values()].filter((edit) => known.places[edit.value]).map((edit) => [edit.value, edit.slot]));
  const drawing = floor(known.places, here, chosen);
  if (!$("bank").firstChild?.isEqualNode(drawing)) $("bank").replaceChildren(drawing);
  $("clock").textContent = step ? `${step.clock} · ${step.place}: ${step.text}${step.costs ? ` −${step.costs} % (${step.slot})` : ""}` : "The crew is outside; the plan is not played yet.";
  $("clock").className = step?.costs ? "error" : "";
}
