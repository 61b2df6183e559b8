"""The detector that the documentation shows."""

import asyncio
import re
from pathlib import Path
from typing import Any

from heist.services.detection.detector import check
from heist.services.detection.evidence import COUNTED
from tests.services.detection.cases import talk

PAGE = (Path(__file__).parents[3] / "docs" / "detection.md").read_text()


def test_the_detector_of_the_page_works_as_it_stands_there() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    quiet = shown["Quiet"]()
    check(quiet, "my_package:Quiet")
    told = asyncio.run(quiet.assess(talk("a", "b", "c", "d", "e", "f", "g")))
    assert min(told.posterior, key=told.posterior.__getitem__) == "planner"


def test_every_check_is_on_the_page() -> None:
    assert all(check in PAGE for check in COUNTED)
