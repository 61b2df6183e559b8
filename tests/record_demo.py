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
KEPT = {
    "session.started": ("seats", "simulated"),
    "message.completed": ("turn", "round", "agent", "text", "completion_tokens", "estimated", "milliseconds"),
    "tool.called": ("turn", "agent", "tool", "arguments", "result", "success"),
    "plan.changed": ("agent", "slot", "value"),
    "mole.revealed": ("mole", "outcome"),
}
LONGEST = 60
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
    kept = [shortened(event) for event in events if event["kind"] in KEPT]
    return "[\n" + ",\n".join(json.dumps(event, separators=(",", ":")) for event in kept) + "\n]\n"


def shortened(event: dict[str, Any]) -> dict[str, Any]:
    kept = {key: event[key] for key in ("kind", *KEPT[event["kind"]])}
    if "result" in kept:
        kept["result"] = kept["result"][:LONGEST]
    if "seats" in kept:
        kept["seats"] = [{"name": seat["name"]} for seat in kept["seats"]]
    return kept


if __name__ == "__main__":
    DEMO.write_text(recorded(), encoding="utf-8")
    print(f"{DEMO.name}: {DEMO.stat().st_size} bytes")
