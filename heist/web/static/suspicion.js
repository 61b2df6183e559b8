// The detector's word. No log holds it, because whoever has the log can work it out again; so the server is asked.

import { without } from "./flags.js";

// The events of a log, each message with how the detector saw the session after it as its `standing`.
export async function judged(id, events) {
  if (!events.some((event) => event.kind === "message.completed")) return events;
  const [moments, evidence] = await Promise.all([quietly(`/detection/sessions/${encodeURIComponent(id)}/verdicts`), cited(id)]);
  const standing = new Map((moments ?? []).filter((moment) => moment.nobody !== null).map((moment) => [moment.turn, moment]));
  return events.map((event) => {
    const moment = event.kind === "message.completed" && standing.get(event.turn);
    if (!moment) return event;
    const seen = evidence.filter((item) => item.turns.every((turn) => turn <= event.turn));
    return { ...event, standing: { ...moment, evidence: seen } };
  });
}

// The evidence as it stands now, the weightiest first.
export async function cited(id) {
  const verdict = await quietly("/detection/analyze", { session_id: id });
  return (verdict?.evidence ?? []).filter((item) => item.hit !== null && item.quote)
    .sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight));
}

// Without a complaint on the page: a session that cannot be judged is no fault of its reader's.
async function quietly(path, body) {
  if (without("detection")) return null;
  const answer = await fetch(path, body && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => null);
  return answer?.ok ? answer.json() : null;
}
