// The log of a session as the server has it, with the detector's word. No log holds that, because whoever has the log can
// work it out again; so the server is asked.

import { api, call, quietly } from "./dom.js";
import { without } from "./flags.js";

// What the log holds after a place, in order to `hear`, each message with how the detector saw the session after it as
// its `standing`, unless it is read blind; answers whether all of it came.
export async function read(id, after, blind, hear) {
  const told = [];
  for (let next = after; next !== null;) {
    const page = await call(api(id, `/log?after=${next}${blind ? "&blind=true" : ""}`));
    if (!page) return false;
    told.push(...page.events);
    next = page.next;
  }
  if (!blind) await judge(id, told);
  told.forEach(hear);
  return true;
}

// Gives each message its `standing`; answers the evidence.
export async function judge(id, events) {
  const messages = events.filter((event) => event.kind === "message.completed");
  if (without("detection") || !messages.length) return [];
  const [moments, evidence] = await Promise.all([quietly(`/detection/sessions/${encodeURIComponent(id)}/verdicts`), cited(id)]);
  const standing = new Map((moments ?? []).filter((moment) => moment.nobody !== null).map((moment) => [moment.turn, moment]));
  for (const event of messages) {
    const moment = standing.get(event.turn);
    if (moment) event.standing = { ...moment, evidence: evidence.filter((item) => item.turns.every((turn) => turn <= event.turn)) };
  }
  return evidence;
}

// The evidence as it stands now, the weightiest first.
export async function cited(id) {
  const verdict = without("detection") ? null : await quietly("/detection/analyze", { session_id: id });
  return (verdict?.evidence ?? []).filter((item) => item.hit !== null && item.quote)
    .sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight));
}
