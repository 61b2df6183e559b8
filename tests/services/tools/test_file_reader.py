"""The file reader: papers by name, and no way to any file."""

import asyncio
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import ToolError
from heist.services.auth import Principal, Scope
from heist.services.tools.file_reader import Filename, file_reader
from heist.services.tools.registry import Caller, Registry
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank
from heist.world.game import Game, draw
from tests.strategies import no_lobby
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S3")]
BANK = Bank(draw(scenario.read(shipped("config"), "first_national_bank"), None))
NAMES = ("vault_specification", "camera_plan", "alarm_manual", "guard_orders", "security_overview_2019")


HACKER = Principal("hacker", frozenset({Scope.FILES}), "heist_1")
OPENED: list[tuple[str, object]] = []
WATCHING = [False]


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHING[0] and event in ("open", "os.listdir", "os.scandir", "subprocess.Popen", "socket.connect", "import"):
        OPENED.append((event, arguments))


sys.addaudithook(_watch)  # a hook stays for the life of the process, so it must be able to look away


async def read(filename: str, bank: Bank = BANK) -> str:
    return (await file_reader.run(Filename(filename=filename), Caller(HACKER, lambda _: bank))).text()


async def test_the_index_lists_every_paper_with_its_title_and_date() -> None:
    lines = (await read("index")).splitlines()
    assert [line.partition(":")[0] for line in lines] == list(NAMES)
    assert lines[1] == "camera_plan: Camera plan (2026-08-30)"


@pytest.mark.parametrize("name", NAMES)
async def test_a_paper_begins_with_its_title_and_date_and_holds_its_text(name: str) -> None:
    paper = BANK.papers[name]
    first, _, rest = (await read(name)).partition("\n")
    assert (first, rest) == (f"{paper.title}, dated {paper.date}", paper.text)


@pytest.mark.parametrize("name", [" camera_plan ", "CAMERA_PLAN", "Camera_Plan\n"])
async def test_a_name_may_be_written_in_capitals_or_with_blanks_around_it(name: str) -> None:
    assert await read(name) == await read("camera_plan")


HOSTILE = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "file:///etc/passwd",
    "http://127.0.0.1:8008/login",
    "/proc/self/environ",
    "~/.ssh/id_rsa",
    "./camera_plan",
    "camera_plan/",
    "camera_plan\0",
    "camera_plan\0.txt",
    "camera_plan.txt",
    "camera%5fplan",
    "config/crew.yaml",
    "heist.db",
    "__class__",
    "__init__.py",
    "*",
    "camera*",
    "$HOME",
    "`id`",
    "camera_plan; cat /etc/passwd",
    "camera plan",
    "{cameras}",
    "ｃamera_plan",
    "indexes",
    "a" * 200,
    "../" * 66,
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%c0%af..%c0%afetc/passwd",
    "%00",
    "camera_plan%00",
    "camera_plan::$DATA",
    "C:\\Windows\\win.ini",
    "\\\\127.0.0.1\\share",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/fd/0",
    "php://filter/resource=/etc/passwd",
    "data:text/plain,x",
    "camera_plan\n/etc/passwd",
    "camera_plan\u200b",
    "\u202ecamera_plan",
    "camera_plan\u0301",
    "ＣＡＭＥＲＡ＿ＰＬＡＮ",
    "．．／etc／passwd",
    "ındex",
    "{0.__class__}",
    "{{7*7}}",
    "%s%s%n",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "\x1b[2J",
    "|id",
    "$(id)",
    "\ufeffcamera_plan",
    "camera_plan#",
    "camera_plan?x",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_that_is_no_papers_opens_nothing_and_answers_with_the_names_that_are(name: str) -> None:
    OPENED.clear()
    WATCHING[0] = True
    try:
        with pytest.raises(ToolError) as refusal:
            await read(name)
    finally:
        WATCHING[0] = False
    assert OPENED == []
    assert str(refusal.value).endswith(f"; there are: index, {', '.join(NAMES)}")
    assert len(str(refusal.value)) < 400


def test_the_watch_over_opened_files_sees_one() -> None:
    OPENED.clear()
    WATCHING[0] = True
    with open("/dev/null"):
        WATCHING[0] = False
    assert [event for event, _ in OPENED] == ["open"]


@pytest.mark.parametrize(
    "name", ["a" * 201, "a" * 1_000_000, "\ud800", None, 5, ["camera_plan"], {"name": "camera_plan"}]
)
async def test_a_name_that_is_no_name_at_all_is_the_callers_fault(name: object) -> None:
    registry = Registry((file_reader,), HandClock(), no_lobby)
    registry.furnish("heist_1", Bank(draw(scenario.read(shipped("config"), "first_national_bank"), None)))
    outcome = await registry.call(HACKER, "file_reader", {"filename": name})
    assert (outcome.fault, outcome.result) == ("arguments", None)
    assert outcome.text.startswith("file_reader: filename: ")
    assert len(outcome.text) < 200


@pytest.mark.parametrize("name", [*NAMES, "index"])
async def test_what_a_program_gets_is_what_an_agent_reads(name: str) -> None:
    registry = Registry((file_reader,), HandClock(), no_lobby)
    registry.furnish("heist_1", Bank(draw(scenario.read(shipped("config"), "first_national_bank"), None)))
    outcome = await registry.call(HACKER, "file_reader", json.dumps({"filename": name}))
    assert outcome.result is not None
    title, date, content = (outcome.result[key] for key in ("title", "date", "content"))
    assert outcome.text == (f"{title}, dated {date}\n{content}" if date else content)
    assert (outcome.result["name"], date is None) == (name, name == "index")


def test_a_name_of_more_than_200_characters_is_no_argument() -> None:
    with pytest.raises(ValueError, match="at most 200 characters"):
        Filename(filename="a" * 201)


@given(name=st.text(max_size=200) | st.sampled_from(NAMES).flatmap(lambda name: st.text(name, max_size=40)))
def test_no_name_ever_opens_anything_but_the_papers(name: str) -> None:
    papers = {f"{paper.title}, dated {paper.date}\n{paper.text}" for paper in BANK.papers.values()}
    try:
        text = asyncio.run(read(name))
    except ToolError:
        return
    assert text in papers or name.strip().lower() == "index"


async def test_what_one_session_reads_comes_from_its_own_bank() -> None:
    shipped_one = scenario.read(shipped("config"), "first_national_bank")
    other = Bank(Game(shipped_one, {**draw(shipped_one, None).values, "cameras": 99}))
    assert "99 cameras cover" in await read("camera_plan", other)
    assert "24 cameras cover" in await read("camera_plan")
