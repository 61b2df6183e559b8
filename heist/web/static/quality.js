// How right the rules were in games that are over, and you beside them.

import { lines, table } from "./charts.js";
import { h, quietly, toSession } from "./dom.js";
import { SHAPES } from "./fold.js";

const RESULTS = "SUCCESS,FAILURE,BUSTED";
const BEHIND = { all: { result: RESULTS }, "with a mole": { arm: "mole", result: RESULTS }, without: { arm: "none,placebo,incompetent", result: RESULTS } };

// A number that leads to the sessions behind it.
export const behind = (number, query) => h.a({ href: `/lab?${new URLSearchParams(query)}` }, String(number));

// Of all games, or of those in which you noted a suspicion.
export async function quality(title, own) {
  const found = await quietly("/detection/quality");
  const games = (found?.games ?? []).filter((game) => !own || game.own_brier !== null);
  const section = h.section(h.h2(title));
  if (!games.length) section.append(h.p(own ? "Note a suspicion in a blind game, and see its end." : "No game is over yet."));
  else section.append(
    h.p("By what was said last before the reveal. Brier scores go over the crew and nobody: 0 knew it, 2 was sure of somebody else."),
    table("Right and wrong, with 95 % intervals from five games on", ["measure", "value", "from", "to", "games"], found.measures.filter((one) => !own || one.of === "noted").map((one) => [
      one.name, round(one.value), round(one.low), round(one.high),
      BEHIND[one.of] ? behind(one.n, BEHIND[one.of]) : h.a({ href: "#games" }, String(one.n))])),
    lines("Brier score by game", "game", ".", [
      { name: "rules", shape: SHAPES[0], colour: 1, points: points(games, "brier") },
      { name: "you", shape: SHAPES[1], colour: 0, points: points(games, "own_brier") }], 2),
    h.div({ id: "games" }, table("Games that are over", ["session", "arm", "strategy", "mole", "rules gave the truth", "rules' Brier", "you gave it", "your Brier"], games.map((game) => [
      toSession(game.session_id), game.arm, game.strategy, game.mole ?? "nobody",
      round(game.share), round(game.brier), round(game.own_share), round(game.own_brier)]))));
  return section;
}

const round = (number) => number === null ? "" : Number(number.toFixed(3));

const points = (games, field) => games.map((game, i) => [i + 1, game[field]]).filter((point) => point[1] !== null);

// Wilson's interval, which is honest for few games too.
export function interval(right, of) {
  const z = 1.96, share = right / of, base = 1 + z * z / of;
  const middle = (share + z * z / (2 * of)) / base, half = z / base * Math.sqrt(share * (1 - share) / of + z * z / (4 * of * of));
  return `${Math.round((middle - half) * 100)} to ${Math.round((middle + half) * 100)} % with 95 % confidence`;
}
