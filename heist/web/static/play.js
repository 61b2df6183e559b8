// Blind play: a session without the detector, and what came of the games so far.

import { table } from "./charts.js";
import { button, call, h, page } from "./dom.js";
import { behind, interval, quality } from "./quality.js";

export async function open() {
  const shown = page("play");
  shown.append(h.section(
    h.h1("Find the mole"),
    h.p("One of the crew may be working against it, or nobody. You hear what they say and see what they look up; the detector says nothing until the end."),
    h.p("After each round, note how much you suspect each of them: the server keeps it. Say who it is, once. Then the plan is played out, and you see who was nearer to the truth, you or the detector."),
    h.p(button("Start a blind game", start, { class: "main" }))));
  const tally = await call("/api/games");
  if (!tally) return;
  const sum = (field) => tally.reduce((total, one) => total + one[field], 0);
  const games = sum("games"), right = sum("success");
  const of = ({ arm, strategy }, number, more) => number && behind(number, { arm, ...(strategy && { strategy }), ...more });
  shown.append(h.section(
    h.h2("Games so far"),
    h.p(...games ? [behind(right, { result: "SUCCESS" }), ` of ${games} games ended in SUCCESS, ${interval(right, games)}. Who says nothing accuses nobody.`] : ["None yet."]),
    table("Games by arm and strategy", ["arm", "strategy", "games", "right", "wrong", "busted", "plan clean", "score", "of"], tally.map((one) => [
      one.arm, one.strategy, of(one, one.games, {}), of(one, one.success, { result: "SUCCESS" }), of(one, one.failure, { result: "FAILURE" }),
      of(one, one.busted, { result: "BUSTED" }), of(one, one.clean, { outcome: "clean" }), Number(one.score.toFixed(1)), Number(one.reference.toFixed(1))]))),
  await quality("You and the rules", true));
}

async function start() {
  const started = await call("/api/sessions", { words_per_second: 12 });
  if (started) location.assign(`/play/${started.session_id}`);
}
