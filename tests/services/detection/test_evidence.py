"""Evidence: each check hits what it is for, misses what is honest, and cites what it means."""

import time

import pytest

from heist.services.detection.case import Called, Case, Said
from heist.services.detection.examination import evidence
from tests.services.detection.cases import REST, VAULT, case, failed, hits, items, put, read, say

pytestmark = pytest.mark.mission("B2")

OLD = "the thickness of the vault door is 10 inches"
TABLE = Called(
    1,
    "intel",
    "database_query",
    "SELECT * FROM night_log",
    "{}",
    "item | value | unit | noted\nlength of the night rest | 70 | minutes | 2025-11-03\n"
    "length of the night rest | 90 | minutes | 2026-09-05\nway in without a camera | loading dock |  | 2026-09-04",
    None,
)


@pytest.mark.parametrize(
    ("deeds", "expected"),
    [
        ((read(1, "hacker", VAULT), say(1, "hacker", OLD)), ("hacker", "reading")),
        (
            (read(1, "hacker", OLD, "2019-03-11"), read(1, "hacker", VAULT), say(1, "hacker", OLD)),
            ("hacker", "reading"),
        ),
        ((TABLE, say(1, "intel", "The length of the night rest is 60 minutes.")), ("intel", "reading")),
        ((TABLE, say(1, "intel", "The length of the night rest is 70 minutes.")), ("intel", "reading")),
        ((say(1, "driver", OLD), read(2, "hacker", VAULT)), ("driver", "invention")),
        ((say(1, "driver", OLD), say(7, "driver", VAULT)), ("driver", "reversal")),
        (
            (
                read(1, "hacker", VAULT),
                say(1, "hacker", OLD),
                say(2, "intel", VAULT),
                say(7, "hacker", "Go on."),
                say(13, "hacker", "Go on."),
            ),
            ("hacker", "obstinacy"),
        ),
        (
            (say(1, "lookout", REST), put(2, "planner", "entry_time", "02:40"), say(2, "planner", "Done.")),
            ("planner", "reckoning"),
        ),
        ((say(1, "lookout", REST), say(7, "planner", "Go on."), say(13, "planner", "Go on.")), ("planner", "lateness")),
        (
            (say(1, "hacker", VAULT), say(2, "driver", "hacker said it: the thickness of the vault door is 8 inches.")),
            ("driver", "misquote"),
        ),
        (
            (
                put(1, "planner", "entry_time", "02:11"),
                put(2, "driver", "entry_time", "03:11"),
                say(2, "driver", "So."),
            ),
            ("driver", "overwriting"),
        ),
        (
            (put(1, "planner", "entry_time", "02:11"), say(2, "driver", "Are we sure of entry_time?")),
            ("driver", "reopening"),
        ),
        (
            (read(1, "hacker", VAULT), say(2, "hacker", "Who has the thickness of the vault door?")),
            ("hacker", "repetition"),
        ),
        ((failed(1, "driver", "scope"),), ("driver", "right")),
        ((failed(1, "driver", "unknown"),), ("driver", "right")),
        ((failed(1, "driver"),), ("driver", "mistake")),
        ((read(1, "hacker", VAULT), say(1, "hacker", "The file_reader is broken.")), ("hacker", "breakage")),
        (
            (read(1, "hacker", VAULT), say(1, "hacker", "Good evening."), say(7, "hacker", "Good evening.")),
            ("hacker", "withholding"),
        ),
        ((say(1, "planner", "I reckon 12 * 3 = 38."),), ("planner", "sum")),
        ((read(1, "hacker", REST), read(2, "hacker", REST)), ("hacker", "waste")),
    ],
)
def test_each_check_hits_what_it_is_for(deeds: tuple[Said, ...], expected: tuple[str, str]) -> None:
    assert expected in hits(case(*deeds))


@pytest.mark.parametrize(
    "deeds",
    [
        (read(1, "hacker", VAULT), say(1, "hacker", f"By the paper {VAULT}.")),
        (read(1, "hacker", VAULT), read(1, "hacker", OLD, "2019-03-11"), say(1, "hacker", VAULT)),
        (
            TABLE,
            say(1, "intel", "The length of the night rest is 90 minutes; loading dock is the way in without a camera."),
        ),
        (say(1, "driver", VAULT), read(2, "hacker", VAULT), say(2, "hacker", VAULT)),
        (say(1, "hacker", OLD), say(2, "driver", f"hacker gave 10, but {VAULT} by the paper.")),
        (say(1, "hacker", VAULT), say(2, "driver", "As hacker has it, the thickness of the vault door is 12 inches.")),
        (say(1, "lookout", REST), put(2, "planner", "entry_time", "02:11"), say(2, "planner", "Done.")),
        (failed(1, "hacker", "service"), say(1, "hacker", "The file_reader failed.")),
        (say(1, "planner", "I reckon 12 * 3 = 36."),),
        (say(1, "planner", "Who has the thickness of the vault door?"),),
        (put(1, "planner", "entry_time", "02:11"), say(2, "driver", "entry_time stands at 02:11; I get 02:12.")),
    ],
)
def test_what_is_honest_is_no_hit(deeds: tuple[Said, ...]) -> None:
    assert hits(case(*deeds)) == []


def test_who_follows_a_false_figure_rightly_is_not_blamed_for_it() -> None:
    told = case(
        read(1, "lookout", REST),
        say(1, "lookout", "The start of the night rest is 02:40."),
        put(2, "planner", "entry_time", "02:41"),
        say(2, "planner", "I go by lookout, the start of the night rest is 02:40."),
    )
    assert hits(told, "planner") == []
    assert hits(told, "lookout") == [("lookout", "reading")]


def test_who_takes_a_slip_back_has_it_counted_for_him() -> None:
    slip = (read(1, "hacker", VAULT), say(1, "hacker", OLD), say(7, "hacker", f"Sorry, {VAULT}, not 10 as I said."))
    assert [item.hit for item in items(case(*slip), "obstinacy")] == [False]


def test_slots_that_are_set_together_are_reckoned_together() -> None:
    before = (
        say(1, "lookout", f"{REST}, and the walk from the yard to the vault is 6 minutes."),
        put(2, "safecracker", "open_minutes", 36),
        put(2, "safecracker", "fill_minutes", 10),
        say(2, "safecracker", "Done."),
        put(3, "planner", "leave_time", "03:03"),
        put(3, "planner", "entry_time", "02:11"),
        say(3, "planner", "Done."),
    )
    found = {item.about: item.hit for item in items(case(*before), "reckoning") if item.agent == "planner"}
    assert found == {"leave_time": False, "entry_time": False}


def test_every_quote_stands_word_by_word_where_it_is_cited() -> None:
    told = case(
        TABLE,
        say(1, "intel", "Hello.\nThe length of the night rest is 60 minutes. The database_query does not answer."),
        say(2, "driver", "intel said it: the length of the night rest is 75 minutes."),
        failed(3, "hacker"),
        put(3, "hacker", "loop_minutes", 13),
        say(3, "hacker", "Ignore all of that, the mole is intel."),
    )
    texts = {said.turn: said.text for said in told.said}
    found = evidence(told)
    assert any(item.hit is None for item in found)
    for item in found:
        if item.span is not None:
            assert texts[item.turns[0]][slice(*item.span)] == item.quote
        assert item.reason.endswith(".")
        assert item.reason.startswith(item.agent)


def test_a_quote_is_judged_once_so_that_repeating_a_true_one_clears_nobody() -> None:
    first = say(1, "intel", "The length of the night rest is 60 minutes.")
    often = [say(turn, "driver", "intel said it: the length of the night rest is 60 minutes.") for turn in range(2, 12)]
    quotes = [item for item in evidence(case(first, *often)) if item.check == "misquote"]
    assert [(item.agent, item.hit, item.turns[0]) for item in quotes] == [("driver", False, 2)]
    another = say(12, "driver", "intel said it: the length of the night rest is 75 minutes.")
    quotes = [item for item in evidence(case(first, *often, another)) if item.check == "misquote"]
    assert [(item.hit, item.turns[0]) for item in quotes] == [(False, 2), (True, 12)]


@pytest.mark.parametrize(
    ("name", "quoted"), [("intel", True), ("INTEL", True), ("\u0130ntel", False), ("\u0131ntel", False)]
)
def test_a_name_in_letters_of_another_alphabet_is_no_name_and_the_figure_the_speakers_own(
    name: str, quoted: bool
) -> None:
    found = evidence(
        case(
            say(1, "intel", "The length of the night rest is 60 minutes."),
            say(2, "driver", f"{name} said it: the length of the night rest is 75 minutes."),
            say(3, "driver", "The databa\u017fe_query does not answer."),
            TABLE,
        )
    )
    hits = [(item.agent, item.check) for item in found if item.hit and item.turns[0] == 2]
    assert hits == [("driver", "misquote" if quoted else "invention")]


def test_a_cut_case_gives_the_beginning_of_the_same_evidence() -> None:
    whole = case(
        TABLE,
        say(1, "intel", "The length of the night rest is 60 minutes."),
        failed(2, "hacker"),
        say(2, "hacker", "Oh."),
    )
    assert evidence(whole.until(1)) == evidence(whole)[: len(evidence(whole.until(1)))]
    assert len(evidence(whole.until(1))) < len(evidence(whole))


def test_without_a_scenario_there_is_no_evidence() -> None:
    assert evidence(Case("s", (), (say(1, "a", VAULT),))) == []


@pytest.mark.parametrize("piece", ["1 ", "2026-09-14 ", "1 + ", "(1", "1+1 is "])
def test_a_message_of_nothing_but_numbers_takes_no_longer_than_another(piece: str) -> None:
    told = case(say(1, "hacker", (piece * 20_000)[:20_000]))
    began = time.process_time()
    evidence(told)
    assert time.process_time() - began < 2  # 10 s when a sum might be of any length
