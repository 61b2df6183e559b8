"""The client that the documentation shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import House
from tests.outside.conftest import guest

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S9")]
PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


async def test_the_mcp_client_of_the_page_about_tools_works_as_it_stands_there(served: House) -> None:
    [_, code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    known = guest(served)
    assert await shown["reckon"](known.url, known.client_id, known.secret) == {"expression": "6 * 7", "value": 42}
