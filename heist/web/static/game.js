// The game: the player's suspicion and one guess, and what was sealed, once it is told.

import { draw as redraw, losses, table } from "./charts.js";
import { $, button, call, h, options, percent } from "./dom.js";
import { show } from "./feed.js";
import { OVER } from "./fold.js";
import { curve } from "./panels.js";

const ARMS = {
  none: () => "There was no mole.",
  mole: (told) => `The mole was ${told.mole}: ${told.title.toLowerCase()}.`,
  placebo: (told) => `There was no mole. ${told.holder} had a secret that harmed nobody.`,
  incompetent: (told) => `There was no mole. ${told.holder} was careless, and meant well.`,
};
const RESULTS = { SUCCESS: "You were right.", FAILURE: "You were wrong.", BUSTED: "Nobody was accused, and there was one." };
let address = "", plays = false;

export function open(session, blind) {
  [address, plays] = [session, blind];
  $("guess").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    call(`${address}/guess`, { agent: $("guess").agent.value || null });
  });
  $("reveal").addEventListener("click", () => call(`${address}/reveal`, {}));
  $("suspect").addEventListener("submit", state);
  $("suspect").addEventListener("input", share);
}

// `now` is the moment that is looked at, `present` how things stand.
export function draw(now, present, night) {
  const { guess, revealed, agents } = now, over = OVER.includes(present.status), ended = Boolean(present.revealed);
  const select = $("guess").agent;
  if (!select.options.length && agents.size) {
    options(select, [["", "nobody"], ...[...agents.keys()].map((name) => [name, name])]);
  }
  $("guess").hidden = Boolean(guess) || ended;
  $("reveal").hidden = !over || ended;
  if (plays) sliders(now, ended);
  const told = $("told");
  told.hidden = !revealed;
  if (revealed) drawReveal(now, night);
  else if (ended) $("verdict").textContent = "You look at an earlier moment. The answer stands at the end.";
  else $("verdict").textContent = guess ? `Your guess: ${guess.agent ?? "nobody"}. ${over ? "Ask for the answer." : "The answer comes when the session is over."}` : "";
}

// One slider for each agent and for nobody; what is noted stays on the server's record.
function sliders({ agents, stated, round }, ended) {
  const form = $("suspect"), fields = $("shares");
  form.hidden = ended;
  if (!fields.children.length) {
    const last = stated.at(-1);
    fields.append(...[...[...agents.keys()].map((name) => [name, last?.agents[name]]), ["", last?.nobody]].map(([name, before]) => h.label(
      h.span(name || "nobody", " ", h.output()), h.input({ type: "range", name: `of ${name}`, min: 0, max: 100, value: Math.round((before ?? 1 / (agents.size + 1)) * 100) }))));
    share();
  }
  $("noted").textContent = stated.length ? `Noted ${stated.length} times, last after turn ${stated.at(-1).turn}.` : `Round ${round}: nothing noted yet.`;
}

const inputs = () => [...$("shares").querySelectorAll("input")];

function share() {
  const sum = inputs().reduce((total, input) => total + Number(input.value), 0) || 1;
  inputs().forEach((input) => { input.parentElement.querySelector("output").textContent = percent(input.value / sum); });
}

function state(submitted) {
  submitted.preventDefault();
  const agents = Object.fromEntries(inputs().map((input) => [input.name.slice(3), Number(input.value)]));
  const { "": nobody, ...others } = agents;
  call(`${address}/suspicions`, { agents: others, nobody });
}

// The sum over all, nobody among them, of the squared distance from the truth: 0 knew it, 2 was sure of somebody else.
export function brier(told, mole) {
  const shares = { ...told.agents, "": told.nobody };
  return Object.entries(shares).reduce((sum, [name, given]) => sum + (given - Number(name === (mole ?? ""))) ** 2, 0);
}

function drawReveal(now, night) {
  const { revealed, outcome, steps, stated, suspicions } = now;
  const guessed = revealed.guess ? `You said ${revealed.guess}. ` : "You accused nobody. ";
  $("verdict").textContent = `${guessed}${RESULTS[revealed.result]} ${ARMS[revealed.arm](revealed)} ` +
    `The plan came out ${revealed.outcome}: ${revealed.score} of ${revealed.reference} points.`;
  const scores = [["you", stated], ["the detector", suspicions]].filter(([, told]) => told.length)
    .map(([who, told]) => [who, Number(brier(told.at(-1), revealed.mole).toFixed(3))]);
  redraw($("told"),
    h.p(button("▶ Play the night", night)),
    ...stated.length ? [curve("Your suspicion by turn", "turn", now, stated)] : [],
    ...scores.length ? [table("Brier scores, 0 is best and 2 worst", ["who", "score"], scores)] : [],
    losses(outcome?.damage ?? {}),
    h.ol({ class: "acts" }, ...revealed.acts.map((act) => h.li(
      button(`turn ${act.turn}`, () => show(act.turn)), ` ${act.what || act.did}`,
      act.costs ? h.strong({ class: "error" }, ` −${act.costs} (${act.slots.join(", ")})`) : null))),
    h.details({ "data-key": "account" }, h.summary("How the plan went, minute by minute"),
      h.ol(...steps.map((step) => h.li({ class: step.costs ? "error" : null },
        `${step.clock} ${step.place}: ${step.text}${step.costs ? ` −${step.costs} % (${step.slot})` : ""}`)))));
}
