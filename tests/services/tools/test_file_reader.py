"""The file reader: papers by name, and no way to any file."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import ToolError
from heist.services.tools.file_reader import Filename, file_reader
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S3")]
BANK = Bank(scenario.read(shipped("config"), "first_national_bank"))
NAMES = ("vault_specification", "camera_plan", "alarm_manual", "guard_orders", "security_overview_2019")


async def read(filename: str) -> str:
    return await file_reader.run(Filename(filename=filename), BANK)


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


@pytest.mark.parametrize(
    "name",
    [
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
    ],
)
async def test_a_name_that_is_no_papers_answers_with_the_names_that_are(name: str) -> None:
    with pytest.raises(ToolError) as refusal:
        await read(name)
    assert str(refusal.value).endswith(f"; there are: index, {', '.join(NAMES)}")
    assert len(str(refusal.value)) < 400


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
    facts = {**shipped_one.facts, "cameras": scenario.Fact(value=99)}
    other = Bank(shipped_one.model_copy(update={"facts": facts}))
    assert "99 cameras cover" in await file_reader.run(Filename(filename="camera_plan"), other)
    assert "24 cameras cover" in await read("camera_plan")
