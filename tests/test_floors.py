"""The house stands as its docstring says: every import falls, siblings form no ring, the walls are whole."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from shutil import copytree

import pytest

import heist

HOUSE = Path(heist.__file__).parent
WALLS = {
    ("services.detection", "world.outcome"): "a detector that can ask the evaluator would just look the truth up",
    ("services.detection", "world.game"): "a detector that holds the game holds what is true in it",
    ("agents.turn", "agents.mole"): "an agent learns its part from its prompt alone",
}


def floors(docstring: str) -> dict[str, int]:
    """Room -> floor, 0 at the bottom, from the indented lines of the plan."""
    lines = [re.split(r"\s{3,}", line.strip())[0].split() for line in docstring.splitlines() if line.startswith("    ")]
    return {room: height for height, rooms in enumerate(reversed(lines)) for room in rooms}


def modules(house: Path) -> dict[str, Path]:
    """Dotted name below the house -> file; `services.tools` stands for its `__init__`."""
    found = {}
    for path in house.rglob("*.py"):
        parts = path.relative_to(house).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the house that a file imports, as deep as a module goes; also imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(module)):
                deeper = [f"{module}.{alias.name}" for alias in node.names]
                names = [name if name.removeprefix("heist.") in known else module for name in deeper]
            case ast.ImportFrom(level=level) if level:
                names = ["heist.relative imports hide where they lead"]
        yield from (name.removeprefix("heist.") for name in names if name.startswith("heist."))


def faults(house: Path) -> list[str]:
    """Every sentence that the tree would have to be ashamed of."""
    plan = floors(ast.get_docstring(ast.parse((house / "__init__.py").read_text()), clean=False) or "")
    known = modules(house)
    rooms = {name.split(".")[0] for name in known} - {"", "__main__"}
    found = [f"the plan names {room}, which does not exist" for room in sorted(plan.keys() - rooms)]
    found += [f"{room} is not on the plan" for room in sorted(rooms - plan.keys())]
    siblings: dict[str, set[str]] = {}
    for name, path in known.items():
        for target in imports(path, known):
            room, other = name.split(".")[0], target.split(".")[0]
            if room == other:
                siblings.setdefault(name, set()).add(target)
            elif room in plan and not plan.get(other, 99) < plan[room]:
                found.append(f"{name} imports {target}, which is not below it")
            for (here, there), reason in WALLS.items():
                if f"{name}.".startswith(f"{here}.") and f"{target}.".startswith(f"{there}."):
                    found.append(f"{name} imports {target}: {reason}")
    try:
        TopologicalSorter(siblings).prepare()
    except CycleError as ring:
        found.append(f"a ring: {' -> '.join(ring.args[1])}")
    return found


def test_every_import_falls() -> None:
    assert faults(HOUSE) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("bus.py", "from heist.agents.crew import Crew", "bus imports agents.crew, which is not below it"),
        ("store/audit.py", "import heist.bus", "store.audit imports bus, which is not below it"),
        (
            "web/live.py",
            "def f():\n    from heist.app import create_app",
            "web.live imports app, which is not below it",
        ),
        ("agents/prompts.py", "from heist.agents import turn", "a ring: "),
        ("agents/turn.py", "from heist.agents.mole import brief", "agents.turn imports agents.mole: an agent learns"),
        ("llm/model.py", "from . import endpoint", "llm.model imports relative imports"),
        ("cellar.py", "", "cellar is not on the plan"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    house = copytree(HOUSE, tmp_path / "heist")
    (house / "agents" / "mole.py").write_text("brief = ''\n")
    assert faults(house) == []
    with (house / file).open("a") as source:
        source.write(f"\n{line}\n")
    assert any(complaint in fault for fault in faults(house))


def test_a_room_that_is_gone_is_missed(tmp_path: Path) -> None:
    house = copytree(HOUSE, tmp_path / "heist")
    (house / "seeds.py").unlink()
    assert "the plan names seeds, which does not exist" in faults(house)
