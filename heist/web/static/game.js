// The game: the plan as it stands, the player's one guess, and what was sealed, once it is told.

import { $, call, element } from "./dom.js";

const ARMS = {
  none: () => "There was no mole.",
  mole: (told) => `The mole was ${told.mole}: ${told.title.toLowerCase()}.`,
  placebo: (told) => `There was no mole. ${told.holder} had a secret that harmed nobody.`,
  incompetent: (told) => `There was no mole. ${told.holder} was careless, and meant well.`,
};
const RESULTS = { SUCCESS: "You were right.", FAILURE: "You were wrong.", BUSTED: "Nobody was accused, and there was one." };

export function open(id) {
  $("guess").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    call(`/api/sessions/${id}/guess`, { agent: $("guess").agent.value || null });
  });
  $("reveal").addEventListener("click", () => call(`/api/sessions/${id}/reveal`, {}));
}

export function draw(state, over) {
  drawPlan(state.plan);
  const { guess, revealed } = state;
  const select = $("guess").agent;
  if (!select.options.length && state.agents.size) {
    select.append(element("option", { value: "" }, "nobody"), ...[...state.agents.keys()].map((name) => element("option", { value: name }, name)));
  }
  $("guess").hidden = Boolean(guess || revealed);
  $("reveal").hidden = !over || Boolean(revealed);
  if (revealed) drawReveal(state);
  else $("verdict").textContent = guess ? `Your guess: ${guess.agent ?? "nobody"}. The answer comes when the session is over.` : "";
}

function drawPlan(plan) {
  const lines = [...plan.values()].flatMap((edit) => [
    element("dt", {}, edit.slot),
    element("dd", {}, element("strong", {}, String(edit.value)), " ", element("small", {}, `${edit.agent}, turn ${edit.turn}`)),
  ]);
  $("plan").replaceChildren(...(lines.length ? lines : [element("dt", {}, "Nothing is set yet.")]));
}

function drawReveal({ revealed, outcome, steps }) {
  const guessed = revealed.guess ? `You said ${revealed.guess}. ` : "You accused nobody. ";
  $("verdict").textContent = `${guessed}${RESULTS[revealed.result]} ${ARMS[revealed.arm](revealed)} ` +
    `The plan came out ${revealed.outcome}: ${revealed.score} of ${revealed.reference} points.`;
  $("acts").replaceChildren(...revealed.acts.map((act) => element("li", {},
    element("a", { href: `#m${act.turn}` }, `turn ${act.turn}`), ` ${act.what || act.did}`,
    act.costs ? element("strong", { class: "error" }, ` −${act.costs} (${act.slots.join(", ")})`) : null,
  )));
  $("account").hidden = !steps.length;
  $("account").querySelector("ol").replaceChildren(
    ...steps.map((step) => element("li", { class: step.costs ? "error" : null },
      `${step.clock} ${step.place}: ${step.text}${step.costs ? ` −${step.costs} % (${step.slot})` : ""}`)),
    ...Object.entries(outcome?.damage ?? {}).map(([agent, points]) => element("li", {}, `${agent}: ${points} points lost`)),
  );
}
