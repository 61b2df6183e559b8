"""What the page about analytics shows."""

import asyncio
import re
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from heist.settings import Settings
from heist.store.engine import connect
from tests.services.analytics import keep
from tests.strategies import session_started, tool_called

PAGE = (Path(__file__).parents[3] / "docs" / "analytics.md").read_text()


def test_the_program_of_the_page_works_as_it_stands_there(browser: TestClient, settings: Settings) -> None:
    engine = connect(settings.database_url)
    keep(engine, [session_started(), tool_called("s1", 1), tool_called("s1", 1, success=False, fault="scope")])
    engine.dispose()
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    assert asyncio.run(shown["success_of_tools"](settings)) == {"calculator": 0.5}


def test_every_route_is_on_the_page(browser: TestClient) -> None:
    paths = browser.get("/openapi.json").json()["paths"]
    routes = [path for path in paths if path.startswith("/analytics/")]
    assert len(routes) == 7
    assert all(f"`GET {path.replace('{session_id}', '{id}')}" in PAGE for path in routes)
