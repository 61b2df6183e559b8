// The state of a session as a fold over its events: live, replayed or tested, it is this one function.
// Pure data: nothing in here knows of the page.

export const OVER = ["completed", "stopped", "failed"];
export const SHAPES = ["●", "■", "▲", "◆", "✚", "★"];

export function empty() {
  return {
    started: null, status: "", why: "", stopping: false, round: 0, turns: new Map(), agents: new Map(), commands: new Map(), activity: [],
    tokens: 0, estimated: false, calls: 0, refused: 0, plan: new Map(), edits: new Map(), guess: null, steps: [], outcome: null, revealed: null,
    seq: 0, before: "", follows: new Map(), names: new Map(), tools: new Map(), pulse: [], money: null, suspicions: [], stated: [], evidence: [],
  };
}

// The state after some events: what a replay, a report and a comparison begin with.
export function fold(events) {
  const state = empty();
  events.forEach((event) => apply(state, event));
  return state;
}

// Changes `state` by one event; answers the number of the turn that it touched, if any.
export function apply(state, event) {
  state.seq = event.seq ?? state.seq;
  const touched = CHANGES[event.kind]?.(state, event);
  const said = [SAYS[event.kind]?.(event, state)].flat().filter(Boolean);
  said.forEach((text) => state.activity.push({ at: event.at, text }));
  return touched?.turn;
}

// What an event does to the state; the turn that it touches, if it is of one.
const CHANGES = {
  "session.started": (state, event) => {
    Object.assign(state, { started: event, status: "running" });
    event.seats.forEach((seat, i) => state.agents.set(seat.name, {
      ...seat, shape: SHAPES[i % SHAPES.length], colour: i % SHAPES.length, turns: 0, calls: 0, refused: 0, speaking: false,
    }));
  },
  "session.paused": (state, event) => { Object.assign(state, { status: "paused", why: `by ${event.by}${because(event)}` }); },
  "session.resumed": (state) => { Object.assign(state, { status: "running", why: "" }); },
  "session.recovered": (state) => { Object.assign(state, { status: "paused", why: "after its server was gone" }); },
  "session.stopping": (state) => { state.stopping = true; },
  "session.stopped": (state) => { state.status = "stopped"; },
  "session.completed": (state) => { state.status = "completed"; },
  "session.failed": (state) => { state.status = "failed"; },
  "round.started": (state, event) => { state.round = event.round; },
  "message.started": (state, event) => {
    agent(state, event.agent).speaking = true;
    return Object.assign(begin(turn(state, event)), { round: event.round });
  },
  "message.delta": (state, event) => {
    const spoken = begin(turn(state, event));
    if (spoken.status === "speaking") spoken.text = spoken.text.slice(0, event.offset) + event.text;
    return spoken;
  },
  "message.completed": (state, event) => {
    hear(state, event);
    if (event.standing) stand(state, event.standing);
    return Object.assign(quiet(state, event, "done"), {
      round: event.round, text: event.text, tokens: event.completion_tokens, estimated: event.estimated, ms: event.milliseconds, model: event.model,
    });
  },
  "message.failed": (state, event) => quiet(state, event, "failed", event.detail),
  "message.interrupted": (state, event) => quiet(state, event, "interrupted", event.reason),
  "tool.called": (state, event) => {
    const caller = agent(state, event.agent), use = state.tools.get(event.tool) ?? { ok: 0, failed: 0 };
    state.tools.set(event.tool, use);
    use[event.success ? "ok" : "failed"] += 1;
    for (const one of [state, caller]) {
      one.calls += 1;
      one.refused += event.success ? 0 : 1;
    }
    if (event.turn === null) return undefined;
    const its = turn(state, event);
    its.tools.push(event);
    return its;
  },
  "agent.quarantined": (state, event) => { agent(state, event.agent).quarantined = true; },
  "agent.released": (state, event) => { agent(state, event.agent).quarantined = false; },
  "command.issued": (state, event) => { state.commands.set(event.command, { ...event, delivered: null }); },
  "command.delivered": (state, event) => { state.commands.get(event.command).delivered = event.turn; },
  "plan.changed": (state, event) => {
    state.plan.set(event.slot, event);
    state.edits.set(event.slot, [...state.edits.get(event.slot) ?? [], event]);
  },
  "suspicion.updated": (state, event) => { stand(state, event); },
  "suspicion.stated": (state, event) => { state.stated.push({ turn: event.turns, agents: event.suspicions, nobody: event.nobody }); },
  "guess.made": (state, event) => { state.guess = event; },
  "outcome.step": (state, event) => { state.steps.push(event); },
  "outcome.decided": (state, event) => { state.outcome = event; },
  "mole.revealed": (state, event) => { state.revealed = event; },
};

const because = ({ reason }) => reason ? `: ${reason}` : "";

// What the activity says of an event.
const SAYS = {
  "session.started": ({ by, fork }) => `started by ${by}${fork ? `, a fork of ${fork.session_id} at turn ${fork.turn}` : ""}`,
  "session.paused": (event, state) => `paused ${state.why}`,
  "session.stepped": ({ by }) => `one turn let through by ${by}`,
  "session.resumed": ({ by }) => `resumed by ${by}`,
  "session.recovered": () => "brought back by the server, paused",
  "session.stopping": ({ by }) => `to be stopped by ${by} after the turn in hand`,
  "session.stopped": ({ by, turns }) => `stopped by ${by} after ${turns} turns`,
  "session.completed": ({ turns, failed }) => `completed: ${turns} turns, ${failed} without a word`,
  "session.failed": ({ error }) => `failed: ${error}`,
  "message.failed": ({ agent: who, detail }) => `${who} could not speak: ${detail}`,
  "message.interrupted": ({ agent: who, reason }) => `${who} was cut off: ${reason}`,
  "tool.called": ({ agent: who, tool, success, fault, result, turn: at, form }) => [
    !success && `${tool} of ${who} failed (${fault}): ${result}`, at === null && `${who} called ${tool} over ${form === "mcp" ? "MCP" : "HTTP"}`],
  "service.missing": ({ part, why }) => `${part} missing: ${why}`,
  "model.warmed": ({ model, error, milliseconds }) => error ? `${model} did not warm up: ${error}` : `${model} is warm after ${Math.round(milliseconds)} ms`,
  "model.degraded": ({ server, reason }) => `${server} is given up on for a while: ${reason}`,
  "model.restored": ({ server }) => `${server} answers again`,
  "memory.compressed": ({ first, last, owner, by }) => `turns ${first} to ${last} told in short for ${owner || "all"} (${by})`,
  "budget.reached": ({ limit, of }) => `the budget of ${limit} ${of} is reached`,
  "tool.added": ({ by, tool }) => `${by} switched ${tool} on`,
  "tool.removed": ({ by, tool }) => `${by} switched ${tool} off`,
  "agent.quarantined": (event) => `${event.agent} put in quarantine by ${event.by}${because(event)}`,
  "agent.released": (event) => `${event.agent} released from quarantine by ${event.by}`,
  "access.refused": ({ client, path, detail }) => `${client} was refused at ${path}: ${detail}`,
  "command.issued": (event) => `command ${event.command} to ${event.agent} by ${event.by}`,
  "command.delivered": (event) => `command ${event.command} delivered to ${event.agent}`,
  "plan.changed": ({ agent: who, slot, value, before }) => `${who} set ${slot} to ${value}${before === null ? "" : `, it was ${before}`}`,
  "suspicion.stated": ({ by }) => `${by} suspects somebody`,
  "guess.made": (event) => `${event.by} says: ${event.agent ?? "nobody"}`,
  "outcome.decided": ({ outcome, score, reference }) => `the plan was played out: ${outcome}, ${score} points of ${reference}`,
  "mole.revealed": ({ mole }) => mole ? `the mole was ${mole}` : "there was no mole",
};

// How a detector sees the session; of its evidence the numbers alone are told live.
export function stand(state, told) {
  state.suspicions.push({ turn: told.turn, agents: told.posterior, nobody: told.nobody });
  if (typeof told.evidence?.[0] === "object") state.evidence = told.evidence;
}

function turn(state, event) {
  let found = state.turns.get(event.turn);
  if (!found) {
    found = { turn: event.turn, agent: event.agent, round: event.round ?? state.round, text: "", tools: [], status: "speaking", error: "" };
    state.turns.set(event.turn, found);
  }
  return found;
}

// A turn that was cut off is taken again from its first word. Words are told at once and what is stored a moment later,
// so the first word may come before `message.started`.
function begin(turn) {
  return turn.status === "interrupted" ? Object.assign(turn, { status: "speaking", text: "", error: "" }) : turn;
}

function quiet(state, event, status, error = "") {
  agent(state, event.agent).speaking = false;
  return Object.assign(turn(state, event), { status, error });
}

// What a message adds to who follows whom, who names whom, and what it took.
function hear(state, event) {
  const { prompt_tokens: asked, completion_tokens: answered } = event;
  agent(state, event.agent).turns += 1;
  if (state.before) count(state.follows, state.before, event.agent);
  state.before = event.agent;
  for (const name of state.agents.keys()) {
    if (name !== event.agent && named(event.text, name)) count(state.names, event.agent, name);
  }
  const price = state.started?.budget?.prices?.[event.model];
  if (price) state.money = (state.money ?? 0) + (asked * price[0] + answered * price[1]) / 1e6;
  state.tokens += asked + answered;
  state.estimated ||= event.estimated;
  state.pulse.push({ turn: event.turn, ms: event.milliseconds, tokens: answered });
}

function count(pairs, one, other) {
  const key = `${one} ${other}`;
  pairs.set(key, (pairs.get(key) ?? 0) + 1);
}

// The name as a word of its own: "intel" is not in "intelligence".
function named(text, name) {
  const words = text.toLowerCase(), sought = name.toLowerCase();
  for (let at = words.indexOf(sought); at >= 0; at = words.indexOf(sought, at + 1)) {
    if (![words[at - 1], words[at + sought.length]].some((beside) => beside && /[\p{L}\p{N}_]/u.test(beside))) return true;
  }
  return false;
}

const agent = (state, name) => state.agents.get(name) ?? { turns: 0, calls: 0, refused: 0 };
