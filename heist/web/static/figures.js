// All sessions in figures: when they were, which tools failed, who spoke how much, and who with whom.

import { bars, matrix, table } from "./charts.js";
import { h, quietly } from "./dom.js";

const MOST = 6; // names that a matrix has room for

export async function figures(rows) {
  const [stats, activity, pairs] = await Promise.all(["tool-stats", "agent-activity", "interactions"].map((name) => quietly(`/analytics/${name}`)));
  const tools = stats?.tools ?? [], agents = activity?.agents ?? [];
  const names = agents.slice(0, MOST).map((one) => one.agent);
  return h.section(h.h2("All sessions in figures"),
    bars("Sessions by day, completed and not", days(rows), ["completed", "not"]),
    bars("Tool calls of all sessions, ok and failed", tools.map((one) => ({ name: one.tool, ok: one.successes, failed: one.calls - one.successes }))),
    bars("Messages of all sessions, and turns without a word", agents.map((one) => ({ name: one.agent, ok: one.messages, failed: one.failed_turns })), ["messages", "without a word"]),
    matrix("Who follows whom in all sessions", names, counted(pairs?.follows ?? [], "next", "times")),
    matrix("Who names whom in all sessions", names, counted(pairs?.names ?? [], "named", "messages")),
    table("Tools in all sessions", ["tool", "calls", "ok %", "ms", "whose fault"], tools.map((one) => [
      one.tool, one.calls, percent(one.success_rate), Math.round(one.milliseconds ?? 0), Object.entries(one.faults).map((fault) => fault.join(" ")).join(", ")])),
    table("Agents in all sessions", ["agent", "messages", "share %", "tokens", "ms", "tool calls", "ok %"], agents.map((one) => [
      one.agent, one.messages, percent(one.share), one.completion_tokens, Math.round(one.milliseconds ?? 0), one.tool_calls, percent(one.tool_success_rate)])));
}

const percent = (share) => share === null ? "" : Math.round(share * 100);

const counted = (pairs, other, field) => new Map(pairs.map((pair) => [`${pair.agent} ${pair[other]}`, pair[field]]));

function days(rows) {
  const found = new Map();
  for (const { start_time: began, status } of rows) {
    const day = found.get(began.slice(0, 10)) ?? { name: began.slice(0, 10), ok: 0, failed: 0 };
    found.set(day.name, day);
    day[status === "completed" ? "ok" : "failed"] += 1;
  }
  return [...found.values()].slice(0, 14).reverse();
}
