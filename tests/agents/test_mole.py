"""What a game is of is drawn by the seed alone, and no brief is told apart by its length."""

from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.agents import mole
from heist.agents.mole import Strategy, Wish, cast, read, wish
from heist.errors import ConfigError, HeistError, Invalid, NotFound
from heist.events import Arm
from heist.services import plugins
from heist.settings import shipped
from tests.strategies import CREW

RULES = read(shipped("config"))
seeds = st.integers(0, 2**53 - 1)
wishes = st.builds(Wish, st.sampled_from([None, *mole.ARMS]), st.sampled_from([None, *CREW]), st.none(), st.none())
FLATTERY = Strategy(title="Flattery", text="Praise every plan.", means=("bad slots",))


@given(seeds, wishes)
def test_a_game_follows_from_its_seed(seed: int, wanted: Wish) -> None:
    assert cast(RULES, wanted, CREW, seed) == cast(RULES, wanted, CREW, seed)


@given(seeds, wishes)
def test_every_agent_has_a_brief_and_all_are_equally_long_whatever_the_game_is_of(seed: int, wanted: Wish) -> None:
    briefs = [*cast(RULES, wanted, CREW, seed).briefs.values(), *cast(RULES, Wish("none"), CREW, seed).briefs.values()]
    assert len(briefs) == 2 * len(CREW)
    assert len({len(brief) for brief in briefs}) == 1
    assert len({brief.count("\n") for brief in briefs}) == 1


@given(seeds, st.sampled_from(CREW), st.sampled_from(sorted(RULES.strategies)))
def test_only_the_holder_has_the_brief_of_its_arm(seed: int, holder: str, strategy: str) -> None:
    drawn = cast(RULES, Wish("mole", holder, strategy), CREW, seed)
    assert (drawn.arm, drawn.holder, drawn.strategy) == ("mole", holder, strategy)
    told = [name for name, brief in drawn.briefs.items() if "You are the mole" in brief]
    assert told == [holder]
    assert all("Rate:  0 in 10" in brief for name, brief in drawn.briefs.items() if name != holder)


@given(seeds)
def test_another_wish_changes_nothing_but_what_was_wished_for(seed: int) -> None:
    there, gone = cast(RULES, Wish("mole"), CREW, seed), cast(RULES, Wish("none"), CREW, seed)
    assert {name for name in CREW if there.briefs[name] != gone.briefs[name]} == {there.holder}
    assert gone.holder is gone.strategy is None


def test_the_order_of_the_crew_decides_nothing() -> None:
    for seed in range(50):
        assert cast(RULES, Wish(), CREW, seed).holder == cast(RULES, Wish(), CREW[::-1], seed).holder


@pytest.mark.mission("S10", "B3")
def test_arms_are_drawn_by_their_shares_and_every_agent_and_strategy_has_its_turn() -> None:
    drawn = [cast(RULES, Wish(), CREW, seed) for seed in range(2000)]
    arms = Counter(str(one.arm) for one in drawn)
    for arm, share in (("mole", 0.6), ("none", 0.2), ("placebo", 0.1), ("incompetent", 0.1)):
        assert arms[arm] / 2000 == pytest.approx(share, abs=0.04)
    moles = Counter(one.holder for one in drawn if one.arm == "mole")
    assert set(moles) == set(CREW)
    assert min(moles.values()) > 0.7 * max(moles.values())
    assert {one.strategy for one in drawn if one.arm == "mole"} == set(RULES.strategies)
    assert {one.strategy for one in drawn if one.arm != "mole"} == {None}


def test_the_five_strategies_are_there() -> None:
    five = {"timing_errors", "false_info", "coordination_chaos", "subtle_delays", "wrong_tools"}
    assert five <= set(RULES.strategies)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ((None, "any", None, None), Wish()),
        (("random", "any", None, None), Wish("mole")),
        (("hacker", "any", None, 9), Wish("mole", "hacker", None, 9)),
        (("none", "any", None, None), Wish("none")),
        (("none", "none", None, None), Wish("none")),
        (("hacker", "placebo", None, None), Wish("placebo", "hacker")),
        ((None, "incompetent", None, None), Wish("incompetent")),
        ((None, "any", "false_info", None), Wish("mole", None, "false_info")),
    ],
)
def test_what_is_wished_for(said: tuple[str | None, Arm | Literal["any"], str | None, int | None], meant: Wish) -> None:
    assert wish(*said, CREW) == meant


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        (("nemo", "any", None), NotFound, "there is no agent 'nemo'; mole is random, none, or one of: planner, hacker"),
        (("none", "mole", None), Invalid, "mole none and arm mole contradict each other"),
        (("hacker", "none", None), Invalid, "mole hacker and arm none contradict each other"),
        ((None, "placebo", "false_info"), Invalid, "a strategy is a mole's, and a game of arm placebo has no mole"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(
    said: tuple[str | None, Arm | Literal["any"], str | None], error: type[HeistError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        wish(*said, None, CREW)


def test_an_unknown_strategy_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(NotFound, match="there is no strategy 'charm'; there are: coordination_chaos, false_info"):
        cast(RULES, Wish("mole", None, "charm"), CREW, 7)


@pytest.mark.mission("B10")
def test_a_package_brings_a_strategy_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("flattery", "tests.agents.test_mole:FLATTERY", mole.GROUP),
        EntryPoint("false_info", "tests.agents.test_mole:FLATTERY", mole.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == mole.GROUP else [])
    rules = read(shipped("config"))
    assert rules.strategies["flattery"] is FLATTERY
    assert rules.strategies["false_info"] == RULES.strategies["false_info"]  # the file counts first
    assert "Praise" in cast(rules, Wish("mole", "hacker", "flattery"), CREW, 1).briefs["hacker"]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("tests.agents.test_mole:NOTHING", "tests.agents.test_mole:NOTHING cannot be loaded: AttributeError"),
        ("tests.agents.test_mole:CREW", "the strategy x of heist.strategies: input should be"),
    ],
)
def test_a_strategy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, target: str, sentence: str) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("x", target, group)])
    with pytest.raises(ConfigError, match=sentence):
        read(shipped("config"))


def test_a_wrong_file_names_the_line(tmp_path: Path) -> None:
    whole = (shipped("config") / "strategies.yaml").read_text()
    (tmp_path / "strategies.yaml").write_text(whole.replace("rate: 6", "rate: 11"))
    with pytest.raises(ConfigError, match=r"strategies.yaml, line \d+: rate: input should be less than or equal to 10"):
        read(tmp_path)


@pytest.mark.parametrize("share", [".inf", ".nan", "-1"])
def test_a_share_that_is_no_share_is_refused(tmp_path: Path, share: str) -> None:
    whole = (shipped("config") / "strategies.yaml").read_text()
    (tmp_path / "strategies.yaml").write_text(whole.replace("  mole: 6", f"  mole: {share}"))
    with pytest.raises(ConfigError, match=r"line \d+: arms.mole: input should be"):
        read(tmp_path)


def test_a_strategy_without_a_name_is_unknown() -> None:
    with pytest.raises(NotFound, match="there is no strategy ''"):
        cast(RULES, Wish("mole", None, ""), CREW, 7)
