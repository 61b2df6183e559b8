"""The plan: what is read into its slots, and who set them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.settings import shipped
from heist.world.facts import Value
from heist.world.plan import MOST, Board, Edit, read_entries
from heist.world.scenario import names, read

pytestmark = pytest.mark.mission("B1")

SLOTS = read(shipped("config"), "first_national_bank").slots
ALL = [(name, slot) for one in names(shipped("config")) for name, slot in read(shipped("config"), one).slots.items()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("entry_time = 2:11; entry_point = loading dock", [("entry_time", "02:11"), ("entry_point", "loading dock")]),
        ("Entry_Time: 02:11", [("entry_time", "02:11")]),
        ("entry time = 2.11\nopen_minutes = about 12 minutes", [("entry_time", "02:11"), ("open_minutes", 12)]),
        ("when the crew goes in = 02:11", [("entry_time", "02:11")]),
        ("set nothing", None),
        ("`entry_time` = 02:11;", [("entry_time", "02:11")]),
        ("entry_point := the Coal Chute", [("entry_point", "coal chute")]),
        ("entry_time to 02:11", [("entry_time", "02:11")]),
    ],
)
def test_entries_are_read_from_what_people_write(text: str, expected: list[tuple[str, Value]] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="expected an entry such as 'entry_time = 00:30'"):
            read_entries(SLOTS, text)
    else:
        assert read_entries(SLOTS, text) == expected


@given(one=st.sampled_from(ALL), data=st.data())
def test_every_value_of_a_slot_is_always_read_back(one: tuple[str, object], data: st.DataObject) -> None:
    for scenario in names(shipped("config")):
        slots = read(shipped("config"), scenario).slots
        plan = {
            name: data.draw(st.sampled_from(slot.among)) if slot.among else slot.unset for name, slot in slots.items()
        }
        assert read_entries(slots, "; ".join(f"{name} = {value}" for name, value in plan.items())) == list(plan.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found nothing"),
        (" ;\n; ", "found nothing"),
        ("entry_time", "expected an entry such as"),
        ("= 02:11", "there is no slot ''"),
        ("exit = 02:11", "there is no slot 'exit'; there are: entry_time"),
        ("entry_time = soon", "entry_time: expected a clock time such as 02:10, found 'soon'"),
        ("open_minutes = 02:11", "open_minutes: expected a number of minutes such as 12"),
        ("entry_point = roof", "expected one of: loading dock | coal chute"),
        ("entry_time = 02:11; entry_time = 02:12", "entry_time stands twice"),
        ("entry_time = 02:11; " * 10_000, f"expected at most {MOST} entries, found 10000"),
        ("entry_time = \ud800", "expected a clock time"),
        ("\ud800 = 02:11", "there is no slot"),
        ("entry_time = " + "9" * 100_000, "expected a clock time"),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_in_one_sentence_that_can_be_written_down(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        read_entries(SLOTS, text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    str(error.value).encode()


@given(
    text=st.text(max_size=200) | st.lists(st.sampled_from([*SLOTS, "=", ":", ";", "02:10", "12", "\n"])).map(" ".join)
)
def test_whatever_is_written_the_answer_is_entries_or_a_sentence(text: str) -> None:
    try:
        entries = read_entries(SLOTS, text)
    except ValueError:
        return
    assert entries
    assert {slot for slot, _ in entries} <= set(SLOTS)


def test_the_board_shows_the_last_edit_of_each_slot_and_keeps_all() -> None:
    board = Board(SLOTS)
    first = Edit("entry_time", "02:11", None, "planner", 3)
    second = Edit("entry_time", "02:41", "02:11", "lookout", 5)
    board.put(first)
    board.put(second)
    assert board.values() == dict.fromkeys(SLOTS) | {"entry_time": "02:41"}
    assert board.entries == {"entry_time": second}
    assert board.history == [first, second]
    with pytest.raises(KeyError):
        board.put(first._replace(slot="exit"))
