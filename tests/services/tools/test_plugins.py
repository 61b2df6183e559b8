"""Tools of other packages: one that is right works everywhere, one that is wrong is left out and harms nothing."""

import asyncio
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from heist import events as e
from heist.agents.sessions import Order
from heist.app import create_app
from heist.errors import ConfigError
from heist.runtime import Finding, Runtime
from heist.services.auth import AGENT_SCOPES, Principal, Scope
from heist.services.clients import hashed, new_credentials
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.plugins import find
from heist.settings import Settings
from heist.store.clients import Registrations
from tests.conftest import USER, Announced, announcing
from tests.strategies import Talker, calling

pytestmark = [pytest.mark.anyio, pytest.mark.mission("B10")]
PAGE = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
BUILTIN = (calculator, database_query, file_reader)
Install = Callable[..., None]
OverHttp = Callable[[str], AbstractContextManager[tuple[TestClient, Runtime]]]


def block(language: str) -> str:
    """The first example in this language on the page about tools."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


CODE = block("python")
[(ENTRY, VALUE)] = re.findall(r'^(\w+) = "([\w:]+)"$', block("toml"), re.MULTILINE)
MODULE = VALUE.partition(":")[0]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Install]:
    """Puts packages on the path: a module each, and what pip would write of their entry point."""
    folder = tmp_path / "site"
    folder.mkdir()
    modules: list[str] = []

    def installed(code: str, module: str = MODULE, entry: str = ENTRY, value: str = VALUE) -> None:
        (folder / f"{module}.py").write_text(code)
        about = folder / f"{module}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[heist.tools]\n{entry} = {value}\n")
        modules.append(module)
        monkeypatch.syspath_prepend(str(folder))

    yield installed
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a crew in which the planner may ask for the weather."""
    folder = shutil.copytree(settings.config, tmp_path / "config")
    crew = (folder / "crew.yaml").read_text()
    (folder / "sailors.yaml").write_text(crew.replace("scopes: [calculator:use,", "scopes: [weather:read,", 1))
    return settings.model_copy(update={"config": folder})


def test_the_page_says_which_group_of_entry_points_it_is() -> None:
    project = tomllib.loads(block("toml"))["project"]
    assert {"name", "version"} <= project.keys()
    assert list(project["entry-points"]) == ["heist.tools"]
    assert ENTRY == "weather"


def test_without_other_packages_there_are_the_tools_of_the_house() -> None:
    assert find(BUILTIN) == ({tool.name: tool for tool in BUILTIN}, [])


async def test_the_tool_of_the_page_works_in_python(install: Install, settings: Settings) -> None:
    install(CODE)
    house = Runtime(settings)
    assert house.plugins.refused == []
    assert "weather:read" in house.scopes
    sailor = Principal("sailor", frozenset({"weather:read"}))
    outcome = await house.registry.call(sailor, "weather", {"place": "harbour"})
    assert (outcome.text, outcome.result) == (
        "The sky over harbour is fog.",
        {"place": "harbour", "sky": "fog"},
    )
    assert (await house.registry.call(sailor, "weather", "moon")).fault == "arguments"
    assert (await house.registry.call(sailor, "weather", {"place": "x" * 41})).fault == "arguments"
    outcome = await house.registry.call(Principal("mole", frozenset(Scope)), "weather", "harbour")
    assert (outcome.fault, outcome.text) == ("scope", "mole lacks the scope 'weather:read'")
    assert [tool.name for tool in house.registry.visible(sailor)] == ["weather"]


async def test_the_tool_of_the_page_works_for_a_crew_whose_file_grants_its_scope(
    install: Install, config: Settings
) -> None:
    install(CODE)
    async with Runtime(config).opened() as house:
        model = Talker(calling("weather", '{"place": "harbour"}'))
        house.source._simulated = model
        session_id = await house.sessions.start(USER, Order(crew="sailors", rounds=1))
        await house.sessions.finished(session_id)
        events = [e.parse(entry.body) for entry in house.queries.log(0, session_id, 1000)]
        called = {event.agent: event for event in events if isinstance(event, e.ToolCalled)}
        assert (called["planner"].result, called["planner"].fault) == ("The sky over harbour is fog.", None)
        assert {called[name].fault for name in called if name != "planner"} == {"scope"}
        assert [tool.name for tool in model.last("planner").tools] == ["plan", "plan_board", "weather"]
        assert "weather(place): Tells what the sky does." in model.last("planner").messages[-1].content
        [said] = [event.text for event in events if isinstance(event, e.MessageCompleted) and event.turn == 1]
        assert said == "I heard: The sky over harbour is fog."
        assert isinstance(events[-1], e.SessionCompleted)


def outsider(http: TestClient, house: Runtime, *scopes: str) -> dict[str, str]:
    """The header of a new client from outside."""
    client_id, secret = new_credentials("laptop")
    at = "2026-01-01T00:00:00.000000Z"
    name = f"laptop{len(house.queries.all_clients())}"
    Registrations(house.engine).add(client_id, name, hashed(secret).hex(), " ".join(sorted(scopes)), at)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return {"Authorization": f"Bearer {http.post('/oauth/token', data=form).json()['access_token']}"}


@pytest.fixture
def over_http(install: Install, config: Settings) -> OverHttp:
    """The whole app with a tool of this code in it."""

    @contextmanager
    def opened(code: str) -> Iterator[tuple[TestClient, Runtime]]:
        install(code)
        announced: Announced = []
        with TestClient(create_app(config, announcing(announced)), "http://127.0.0.1:8008") as http:
            yield http, announced[0][0]

    return opened


def test_the_tool_of_the_page_works_over_http_and_is_switched_like_others(over_http: OverHttp) -> None:
    with over_http(CODE) as (http, house):
        laptop, admin = outsider(http, house, "weather:read"), outsider(http, house, "tools:admin")
        [card] = http.get("/tools", headers=laptop).json()
        assert (card["name"], card["arguments"]["required"]) == ("weather", ["place"])
        answer = http.post("/tools/weather", json={"place": "downtown"}, headers=laptop)
        assert answer.json()["result"] == {"place": "downtown", "sky": "clear"}
        assert http.post("/tools/weather", json={"place": "moon"}, headers=laptop).status_code == 422
        assert http.post("/tools/weather", json={"place": "downtown"}, headers=admin).status_code == 403
        assert "weather:read" in http.get("/.well-known/oauth-authorization-server").json()["scopes_supported"]
        assert http.delete("/admin/tools/weather", headers=admin).status_code == 204
        assert http.post("/tools/weather", json={"place": "downtown"}, headers=laptop).status_code == 503
        counted = {tool["name"]: tool for tool in http.get("/tools/stats", headers=admin).json()}
        assert counted["weather"]["faults"] == {"arguments": 1, "scope": 1, "service": 1}


RESULTS = {
    "a field that is worked out": (
        "    @computed_field\n    @property\n    def both(self) -> str:\n        return self.place + self.sky\n",
        {"place": "harbour", "sky": "fog", "both": "harbourfog"},
    ),
    "a field that is written in its own way": (
        "    @field_serializer('sky')\n    def loud(self, sky: str) -> int:\n        return len(sky)\n",
        {"place": "harbour", "sky": 3},
    ),
    "a field with more to say": ("    more: dict[str, list[float | None]] = {'a': [1.5, None]}\n", None),
    "a moment": ("    at: datetime.datetime = datetime.datetime(2026, 1, 2)\n", None),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_whatever_a_result_holds_is_answered_over_http_as_a_turn_would_have_it(kind: str, over_http: OverHttp) -> None:
    extra, expected = RESULTS[kind]
    code = "import datetime\nfrom pydantic import computed_field, field_serializer\n" + changed(
        "    sky: str\n", "    sky: str\n" + extra
    )
    with over_http(code) as (http, house):
        answer = http.post("/tools/weather", json={"place": "harbour"}, headers=outsider(http, house, "weather:read"))
        assert answer.status_code == 200
        given = answer.json()["result"]
        sailor = Principal("sailor", frozenset({"weather:read"}))
        outcome = asyncio.run(house.registry.call(sailor, "weather", "harbour"))
        assert given == outcome.result
        assert expected in (None, given)
        assert http.get("/openapi.json").status_code == 200


def test_what_openapi_says_of_a_tool_with_arguments_within_arguments_leads_somewhere(over_http: OverHttp) -> None:
    code = changed("class Place(", "class Wind(Arguments):\n    knots: int = 1\n\n\nclass Place(")
    code = code.replace("max_length=40)\n", "max_length=40)\n    wind: Wind = Wind()\n", 1)
    with over_http(code) as (http, _):
        page = http.get("/openapi.json")
        for path in set(re.findall(r'"\$ref":\s*"#/([^"]+)"', page.text)):
            found = page.json()
            for step in path.split("/"):
                assert step in found, path
                found = found[step]


def changed(old: str, new: str) -> str:
    assert old in CODE
    return CODE.replace(old, new)


WRONG = {
    "its module does not import": ("import nothing_like_this", "ModuleNotFoundError"),
    "its module raises": ("raise ValueError('today not')", "ValueError: today not"),
    "its module is no Python": ("def def", "SyntaxError"),
    "it has not what it names": (changed("weather = Tool", "other = Tool"), "AttributeError"),
    "it is no tool": ("weather = 7", "heist_weather:weather is int, not a Tool"),
    "it is the class of tools": (CODE + "\nweather = Tool\n", "is type, not a Tool"),
    "its name is taken": (
        changed('Tool("weather"', 'Tool("calculator"'),
        "there is already one with the name 'calculator'",
    ),
    "its name is no name": (changed('Tool("weather"', 'Tool("../weather"'), "a tool's name is small letters"),
    "its name is empty": (changed('Tool("weather"', 'Tool(""'), "a tool's name is small letters"),
    "its name is no text": (changed('Tool("weather"', "Tool(7"), "a tool's name is small letters"),
    "its scope is the operator's": (changed("weather:read", "tools:admin"), "not one of the house's own"),
    "its scope steers sessions": (changed("weather:read", "session:control"), "not one of the house's own"),
    "its scope is no scope": (changed("weather:read", "weather"), "a tool's scope is like weather:read"),
    "its scope holds a blank": (changed("weather:read", "weather:read tools:admin"), "a tool's scope is like"),
    "its scope is no text": (changed('"weather:read"', "None"), "a tool's scope is like weather:read"),
    "it has no description": (changed("Tells what the sky does.", ""), "it needs a description"),
    "its description is blank": (changed("Tells what the sky does.", " \\n "), "it needs a description"),
    "its description is no text": (changed('"Tells what the sky does."', "None"), "it needs a description"),
    "its arguments are no Arguments": (changed("Place, Sky, look", "dict, Sky, look"), "must be a class of Arguments"),
    "its arguments are an object": (
        changed("Place, Sky, look", "Place(place='x'), Sky, look"),
        "must be a class of Arguments",
    ),
    "it takes nothing": (changed("Place, Sky, look", "Arguments, Sky, look"), "with at least one field"),
    "its result is no Result": (changed("Place, Sky, look", "Place, str, look"), "must be a class of Result"),
    "its arguments have no schema": (
        changed(
            "    place: str = Field(description=", "    what: type(len) = None\n    place: str = Field(description="
        ),
        "",
    ),
    "its arguments cannot be told to a model": (
        changed("class Place(Arguments):", "import typing\n\n\nclass Place(Arguments):\n    how: typing.Callable"),
        "",
    ),
    "its work is nothing that runs": (changed("Place, Sky, look", "Place, Sky, None"), ""),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_tool_that_is_wrong_is_left_out_with_a_reason_and_all_else_works(
    wrong: str, install: Install, config: Settings
) -> None:
    code, reason = WRONG[wrong]
    install(code)
    install(CODE.replace("weather", "tide"), module="heist_tide", entry="tide", value="heist_tide:tide")
    async with Runtime(config).opened() as house:
        [(name, why)] = house.plugins.refused
        assert (name, reason in why) == ("weather", True), why
        assert "\n" not in why
        assert sorted(house.registry.tools) == [
            "calculator",
            "database_query",
            "file_reader",
            "get_compressed_memory",
            "observe",
            "plan",
            "plan_board",
            "routes",
            "store_memory",
            "tide",
        ]
        assert house.registry.tools["calculator"] is calculator
        assert house.registry.scopes == AGENT_SCOPES | {"tide:read"}
        session_id = await house.sessions.start(USER, Order(rounds=1))
        await house.sessions.finished(session_id)
        row = house.queries.session(session_id)
        assert row is not None
        assert row.status == "completed"
        [finding] = [one for one in await house.examine() if one.part.startswith("tool ")]
        assert finding == Finding("tool weather", False, why, "mend or remove the package")


@pytest.mark.parametrize(
    "wrong", ["its module raises", "its arguments cannot be told to a model", "its work is nothing that runs"]
)
def test_a_tool_that_is_wrong_does_not_keep_the_server_from_opening(wrong: str, over_http: OverHttp) -> None:
    with over_http(WRONG[wrong][0]) as (http, house):
        laptop = outsider(http, house, "weather:read", "calculator:use")
        assert [card["name"] for card in http.get("/tools", headers=laptop).json()] == ["calculator"]


def test_a_module_that_leaves_the_program_when_it_is_imported_does_not_take_the_house_along(install: Install) -> None:
    install("import sys\n\nsys.exit(3)\n")
    try:
        found = find(BUILTIN)
    except SystemExit:
        pytest.fail("it did")
    assert [name for name, _ in found.refused] == ["weather"]


async def test_a_crew_that_grants_the_scope_of_a_tool_that_is_left_out_is_refused_and_the_doctor_says_both(
    install: Install, config: Settings
) -> None:
    install("import nothing_like_this")
    async with Runtime(config).opened() as house:
        with pytest.raises(ConfigError, match=r"agents\.0\.scopes: unknown scope 'weather:read'"):
            await house.sessions.start(USER, Order(crew="sailors"))
        assert [one.part for one in await house.examine() if not one.well] == ["tool weather", "sailors.yaml"]


async def test_of_two_packages_with_one_tool_the_first_by_name_is_taken(install: Install, settings: Settings) -> None:
    install(CODE.replace("fog", "ice"), module="heist_second", entry="z_weather", value="heist_second:weather")
    install(CODE)
    house = Runtime(settings)
    assert house.plugins.refused == [("z_weather", "there is already one with the name 'weather'")]
    sailor = Principal("sailor", frozenset({"weather:read"}))
    assert "fog" in (await house.registry.call(sailor, "weather", "harbour")).text


@pytest.mark.parametrize(
    "work",
    [
        "raise RuntimeError('storm')",
        "raise NotFound('no sky')",
        "raise StoreError('no sky')",
        "return None",
        "return Sky(place='x' * 100_000, sky='x')",
        "return Sky(place=chr(0xD800), sky='x')",
        "raise ToolError(chr(0xD800))",
        "raise asyncio.CancelledError",
        "await asyncio.sleep(60)",
    ],
)
async def test_whatever_a_tool_does_the_session_that_uses_it_goes_on_to_its_end(
    work: str, install: Install, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heist.services.tools.registry.SECONDS", 0.05)
    code = changed("import ToolError", "import NotFound, StoreError, ToolError")
    code = code.replace("    if arguments.place not in SKIES", f"    {work}\n    if arguments.place not in SKIES")
    install("import asyncio\n" + code)
    async with Runtime(config).opened() as house:
        house.source._simulated = Talker(calling("weather", '{"place": "harbour"}'))
        session_id = await house.sessions.start(USER, Order(crew="sailors", rounds=1))
        async with asyncio.timeout(20):
            await house.sessions.finished(session_id)
        await asyncio.sleep(0.1)
        events = [e.parse(entry.body) for entry in house.queries.log(0, session_id, 1000)]
        assert events[-1] == e.SessionCompleted(session_id=session_id, turns=6, failed=0)
        [called] = [event for event in events if isinstance(event, e.ToolCalled) and event.agent == "planner"]
        assert called.fault in ("service", "arguments" if "ToolError" in work else "service")
        assert json.loads(json.dumps(called.result)) == called.result
