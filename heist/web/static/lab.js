// The lab: all sessions with what came of them.

import { table } from "./charts.js";
import { call, h, page, toSession } from "./dom.js";
import { figures } from "./figures.js";
import { behind, interval, quality } from "./quality.js";

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
    h.p(`Sessions: ${shown.length}; games over: ${over.length}`,
      ...over.length ? ["; ", behind(right, { result: "SUCCESS" }), ` ended in SUCCESS, ${interval(right, over.length)}.`] : ["."],
      wanted.length ? h.a({ href: "/lab" }, " Show all") : null), form));
  if (!wanted.length) main.append(await quality("How right the rules were", false), await figures(rows));
}
