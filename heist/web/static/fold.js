// The state of a session as a fold over its events: live, replayed or tested, it is this one function.
// Pure data: nothing in here knows of the page.

export const SHAPES = ["●", "■", "▲", "◆", "✚", "★"];

export function empty() {
  return {
    started: null, status: "", why: "", stopping: false, round: 0, turns: new Map(), agents: new Map(), commands: new Map(), activity: [],
    tokens: 0, estimated: false, calls: 0, refused: 0, failed: 0, end: "",
    plan: new Map(), edits: new Map(), guess: null, steps: [], outcome: null, revealed: null,
    seq: 0, before: "", follows: new Map(), names: new Map(), tools: new Map(), pulse: [], money: null,
    suspicions: [], stated: [], evidence: [], models: new Map(),
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
  switch (event.kind) {
    case "session.started": {
      Object.assign(state, { started: event, status: "running" });
      event.seats.forEach((seat, i) => state.agents.set(seat.name, {
        ...seat, shape: SHAPES[i % SHAPES.length], colour: i % SHAPES.length, turns: 0, calls: 0, refused: 0, speaking: false,
      }));
      return note(state, event, `started by ${event.by}`);
    }
    case "session.paused":
      state.status = "paused";
      state.why = `by ${event.by}${event.reason ? `: ${event.reason}` : ""}`;
      return note(state, event, `paused ${state.why}`);
    case "session.stepped":
      return note(state, event, `one turn let through by ${event.by}`);
    case "session.resumed":
      state.status = "running";
      state.why = "";
      return note(state, event, `resumed by ${event.by}`);
    case "session.recovered":
      state.status = "paused";
      state.why = "after its server was gone";
      return note(state, event, "brought back by the server, paused");
    case "session.stopping":
      state.stopping = true;
      return note(state, event, `to be stopped by ${event.by} after the turn in hand`);
    case "session.stopped":
      return end(state, event, "stopped", `stopped by ${event.by} after ${event.turns} turns`);
    case "session.completed":
      return end(state, event, "completed", `completed: ${event.turns} turns, ${event.failed} without a word`);
    case "session.failed":
      return end(state, event, "failed", `failed: ${event.error}`);
    case "round.started":
      state.round = event.round;
      return undefined;
    case "message.started": {
      agent(state, event.agent).speaking = true;
      begin(turn(state, event)).round = event.round;
      return event.turn;
    }
    case "message.delta": {
      const spoken = begin(turn(state, event));
      if (spoken.status === "speaking") spoken.text = spoken.text.slice(0, event.offset) + event.text;
      return event.turn;
    }
    case "message.completed": {
      const done = quiet(state, event, "done");
      Object.assign(done, {
        text: event.text, tokens: event.completion_tokens, estimated: event.estimated, ms: event.milliseconds, model: event.model,
      });
      hear(state, event);
      state.tokens += event.prompt_tokens + event.completion_tokens;
      state.estimated ||= event.estimated;
      if (event.standing) stand(state, event.standing);
      return event.turn;
    }
    case "message.failed": {
      const failed = quiet(state, event, "failed");
      failed.error = event.detail;
      state.failed += 1;
      note(state, event, `${event.agent} could not speak: ${event.detail}`);
      return event.turn;
    }
    case "message.interrupted": {
      const cut = quiet(state, event, "interrupted");
      cut.error = event.reason;
      note(state, event, `${event.agent} was cut off: ${event.reason}`);
      return event.turn;
    }
    case "tool.called": {
      state.calls += 1;
      const use = state.tools.get(event.tool) ?? { ok: 0, failed: 0 };
      use[event.success ? "ok" : "failed"] += 1;
      state.tools.set(event.tool, use);
      const caller = agent(state, event.agent);
      caller.calls += 1;
      if (!event.success) {
        state.refused += 1;
        caller.refused += 1;
        note(state, event, `${event.tool} of ${event.agent} failed (${event.fault}): ${event.result}`);
      }
      if (event.turn === null) return note(state, event, `${event.agent} called ${event.tool} over ${event.form === "mcp" ? "MCP" : "HTTP"}`);
      turn(state, event).tools.push(event);
      return event.turn;
    }
    case "service.missing":
      return note(state, event, `${event.part} missing: ${event.why}`);
    case "model.warmed":
      return note(state, event, event.error ? `${event.model} did not warm up: ${event.error}` : `${event.model} is warm after ${Math.round(event.milliseconds)} ms`);
    case "memory.compressed":
      return note(state, event, `turns ${event.first} to ${event.last} told in short for ${event.owner || "all"} (${event.by})`);
    case "budget.reached":
      return note(state, event, `the budget of ${event.limit} ${event.of} is reached`);
    case "tool.added":
      return note(state, event, `${event.by} switched ${event.tool} on`);
    case "tool.removed":
      return note(state, event, `${event.by} switched ${event.tool} off`);
    case "agent.quarantined":
      agent(state, event.agent).quarantined = true;
      return note(state, event, `${event.agent} put in quarantine by ${event.by}${event.reason ? `: ${event.reason}` : ""}`);
    case "agent.released":
      agent(state, event.agent).quarantined = false;
      return note(state, event, `${event.agent} released from quarantine by ${event.by}`);
    case "access.refused":
      return note(state, event, `${event.client} was refused at ${event.path}: ${event.detail}`);
    case "command.issued":
      state.commands.set(event.command, { ...event, delivered: null });
      return note(state, event, `command ${event.command} to ${event.agent} by ${event.by}`);
    case "command.delivered":
      state.commands.get(event.command).delivered = event.turn;
      return note(state, event, `command ${event.command} delivered to ${event.agent}`);
    case "plan.changed":
      state.plan.set(event.slot, event);
      state.edits.set(event.slot, [...state.edits.get(event.slot) ?? [], event]);
      return note(state, event, `${event.agent} set ${event.slot} to ${event.value}${event.before === null ? "" : `, it was ${event.before}`}`);
    case "suspicion.updated":
      return stand(state, event);
    case "model.degraded":
      state.models.set(event.server, event.reason);
      return note(state, event, `${event.server} is given up on for a while: ${event.reason}`);
    case "model.restored":
      state.models.delete(event.server);
      return note(state, event, `${event.server} answers again`);
    case "suspicion.stated":
      state.stated.push({ turn: event.turns, agents: event.suspicions, nobody: event.nobody });
      return note(state, event, `${event.by} suspects somebody`);
    case "guess.made":
      state.guess = event;
      return note(state, event, `${event.by} says: ${event.agent ?? "nobody"}`);
    case "outcome.step":
      state.steps.push(event);
      return undefined;
    case "outcome.decided":
      state.outcome = event;
      return note(state, event, `the plan was played out: ${event.outcome}, ${event.score} points of ${event.reference}`);
    case "mole.revealed":
      state.revealed = event;
      return note(state, event, event.mole ? `the mole was ${event.mole}` : "there was no mole");
    default:
      return undefined;
  }
}

// How a detector sees the session; of its evidence the numbers alone are told live.
function stand(state, told) {
  state.suspicions.push({ turn: told.turn, agents: told.posterior, nobody: told.nobody });
  if (typeof told.evidence?.[0] === "object") state.evidence = told.evidence;
  return undefined;
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

function quiet(state, event, status) {
  agent(state, event.agent).speaking = false;
  return Object.assign(turn(state, event), { status, error: "" });
}

// What a message adds to who follows whom, who names whom, and what it took.
function hear(state, event) {
  agent(state, event.agent).turns += 1;
  if (state.before) count(state.follows, state.before, event.agent);
  state.before = event.agent;
  for (const name of state.agents.keys()) {
    if (name !== event.agent && named(event.text, name)) count(state.names, event.agent, name);
  }
  const [prompt, completion] = state.started?.budget?.prices?.[event.model] ?? [];
  if (prompt !== undefined) state.money = (state.money ?? 0) + (event.prompt_tokens * prompt + event.completion_tokens * completion) / 1e6;
  state.pulse.push({ turn: event.turn, agent: event.agent, ms: event.milliseconds, tokens: event.completion_tokens, prompt: event.prompt_tokens });
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

function agent(state, name) {
  return state.agents.get(name) ?? { turns: 0, calls: 0, refused: 0 };
}

function end(state, event, status, text) {
  state.status = status;
  state.end = event.at;
  return note(state, event, text);
}

function note(state, event, text) {
  state.activity.push({ at: event.at, text });
  return undefined;
}
