"""The file reader: papers by name, and no way to any file."""

import asyncio
import json
import subprocess
import sys

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


def watched() -> str:
    """For each hostile name, what was opened while it was asked for and what was answered; for a file, as a check, too.

    For a process of its own: an audit hook stays for the life of a process, and lets other threads in wherever the
    interpreter trusts that none comes, such as while the coverage of a new thread is switched on.
    """
    opened: list[str] = []
    looked_for = ("open", "os.listdir", "os.scandir", "subprocess.Popen", "socket.connect", "import")

    async def answers() -> dict[str, tuple[list[str], str]]:
        found = {}
        for name in HOSTILE:
            opened.clear()
            with pytest.raises(ToolError) as refusal:
                await read(name)
            found[name] = (list(opened), str(refusal.value))
        return found

    sys.addaudithook(lambda event, _: opened.append(event) if event in looked_for else None)
    found = asyncio.run(answers())
    opened.clear()
    with open("/dev/null"):
        seen = list(opened)
    return json.dumps({"of a file": seen, "of names": found})


def test_a_name_that_is_no_papers_opens_nothing_and_answers_with_the_names_that_are() -> None:
    code = "from tests.services.tools.test_file_reader import watched; print(watched())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    watch = json.loads(told.stdout)
    assert watch["of a file"] == ["open"]
    assert list(watch["of names"]) == HOSTILE
    for opened, answer in watch["of names"].values():
        assert opened == []
        assert answer.endswith(f"; there are: index, {', '.join(NAMES)}")
        assert len(answer) < 400


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
