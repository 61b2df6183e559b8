// The state of a session as a fold over its events: live, replayed or tested, it is this one function.
// Pure data: nothing in here knows of the page.

export const SHAPES = ["●", "■", "▲", "◆", "✚", "★"];

export function empty() {
  return {
    started: null, status: "", stopping: false, round: 0, turns: new Map(), agents: new Map(), commands: new Map(), activity: [],
    tokens: 0, estimated: false, calls: 0, refused: 0, failed: 0, end: "",
    plan: new Map(), guess: null, steps: [], outcome: null, revealed: null,
  };
}

// Changes `state` by one event; answers the number of the turn that it touched, if any.
export function apply(state, event) {
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
      return note(state, event, `paused by ${event.by}${event.reason ? `: ${event.reason}` : ""}`);
    case "session.stepped":
      return note(state, event, `one turn let through by ${event.by}`);
    case "session.resumed":
      state.status = "running";
      return note(state, event, `resumed by ${event.by}`);
    case "session.recovered":
      state.status = "paused";
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
      agent(state, event.agent).turns += 1;
      state.tokens += event.prompt_tokens + event.completion_tokens;
      state.estimated ||= event.estimated;
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
      return note(state, event, `${event.agent} set ${event.slot} to ${event.value}${event.before === null ? "" : `, it was ${event.before}`}`);
    case "suspicion.stated":
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
