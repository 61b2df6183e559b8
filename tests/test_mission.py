"""Every row of the mission that `docs/mission.md` calls done has a test that carries its id."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "mission.md").read_text()
ROWS = [f"S{number}" for number in range(1, 25)] + [f"B{number}" for number in range(1, 11)]


def listed(heading: str) -> list[str]:
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    part = next(part for part in section if part.startswith(heading))
    return re.findall(r"^\| (\w+) \|", part, flags=re.MULTILINE)


def carried() -> set[str]:
    """The ids in `@pytest.mark.mission("S1", …)` over all tests."""
    ids: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.mission":
                ids |= {ast.literal_eval(argument) for argument in node.args}
    return ids


def test_every_row_stands_in_one_place() -> None:
    assert sorted([*listed("Here"), *listed("Begun"), *listed("To come")]) == sorted(["id", "id", "id", *ROWS])


def test_every_row_that_is_here_or_begun_has_a_test() -> None:
    claimed = {row for row in [*listed("Here"), *listed("Begun")] if row != "id"}
    assert claimed - carried() == set()


def test_every_id_in_a_test_is_a_row() -> None:
    assert carried() - set(ROWS) == set()
