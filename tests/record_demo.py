"""Records the short game that plays on an empty lobby: a real session of the simulated crew, as far as it is drawn."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from heist.web.pages import STATIC

DEMO = STATIC / "demo.json"
ORDER = ("--seed", "11", "--rounds", "1", "--mole", "random", "--strategy", "false_info", "--rate", "9")
KINDS = ("session.started", "round.started", "message.completed", "tool.called", "plan.changed", "mole.revealed")
DROPPED = {
    "session.started": ("goal", "memory", "budget", "process", "server", "llm", "tools", "context", "crew"),
    "message.completed": ("role", "form", "model_calls", "cached_tokens", "model"),
    "tool.called": ("form", "fault"),
    "mole.revealed": ("briefs", "facts", "seed", "acts", "by", "strategy", "damage"),
}
LONGEST = 160
"""Characters of a tool's result: the rest is in the bank's papers, which a visitor has not asked for."""


def recorded() -> str:
    """The game as JSON, the same each time."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        command = (sys.executable, "-m", "heist", "run", *ORDER, "--log", str(log))
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "HEIST_LLM": "simulated"}, cwd=folder
        )
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    kept = [shortened(event) for event in events if event["kind"] in KINDS]
    return "[\n" + ",\n".join(json.dumps(event, separators=(",", ":")) for event in kept) + "\n]\n"


def shortened(event: dict[str, Any]) -> dict[str, Any]:
    dropped = {"session_id", "at", *DROPPED.get(event["kind"], ())}
    kept = {key: value for key, value in event.items() if key not in dropped}
    if "result" in kept and event["kind"] == "tool.called":
        kept["result"] = kept["result"][:LONGEST]
    if "seats" in kept:
        kept["seats"] = [{key: seat[key] for key in ("name", "role", "scopes")} for seat in kept["seats"]]
    return kept


if __name__ == "__main__":
    DEMO.write_text(recorded(), encoding="utf-8")
    print(f"{DEMO.name}: {DEMO.stat().st_size} bytes")
