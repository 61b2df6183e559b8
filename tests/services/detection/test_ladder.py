"""The ladder: every detector judges what it can, abstains with a reason from what it cannot, and plugs in."""

import asyncio
import json
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from heist.errors import ConfigError
from heist.services import plugins
from heist.services.detection import detector
from heist.services.detection.calibration import Calibration, Calibrations
from heist.services.detection.case import Case, Ended, Member, Team
from heist.services.detection.detector import Detector, find
from heist.services.detection.ladder import null, text
from heist.services.detection.ladder.audit import Audit, saboteurs
from heist.services.detection.ladder.text import Labelled
from heist.services.detection.verdict import Verdict
from tests.services.detection.cases import CREW, KEYWORDS, RULES, SETTINGS, judged, say, talk

pytestmark = pytest.mark.mission("S11", "B10")

FIVE = ("Alice", "Bob", "Charlie", "Diana", "Eve")


def spoken(number: int, mole: str) -> Labelled:
    """A game in which the mole says "perhaps" and the others "surely"; what it is about changes."""
    deeds = tuple(
        say(turn, name, f"{'Perhaps' if name == mole else 'Surely'} we talk about topic{number} now, {CREW[turn % 6]}.")
        for turn, name in enumerate(CREW, 1)
    )
    return Labelled(Case(f"g{number}", tuple(Member(name, name) for name in CREW), deeds), frozenset({mole}))


GAMES = [spoken(number, CREW[number % 6]) for number in range(24)]


@pytest.mark.parametrize(
    "rung", [null.chance(SETTINGS), null.length(SETTINGS), null.role_prior(SETTINGS, Calibrations())]
)
def test_a_null_detector_gives_shares_and_leaves_the_rest_to_nobody(rung: Detector) -> None:
    told = judged(talk("a", "b", "c", "d", "e", "f"), rung)
    assert told.nobody == pytest.approx(0.4)
    assert sum(told.posterior.values()) == pytest.approx(0.6)
    assert told.suggested_mole is None
    assert judged(Case("s", (), ()), rung).abstained


def test_length_goes_by_length_and_role_by_roles() -> None:
    longer = judged(talk("A long and winding message.", *["Short."] * 5), null.length(SETTINGS))
    assert max(longer.posterior, key=longer.posterior.__getitem__) == "planner"
    known = Calibrations((Calibration(source="test", holders={"driver": 3.0}),))
    role = judged(talk(*["x"] * 6), null.role_prior(SETTINGS, known))
    assert max(role.posterior, key=role.posterior.__getitem__) == "driver"


@pytest.mark.parametrize("kind", ["bag", "text"])
def test_a_text_model_learns_saves_and_finds_again(kind: text.Kind, tmp_path: Path) -> None:
    fitted = text.fit(kind, GAMES[:18], "test")
    assert text.fit(kind, GAMES[:18], "test") == fitted
    text.save(fitted, tmp_path)
    again = text.Text(kind, text.read(tmp_path, kind), SETTINGS)
    for game in GAMES[18:]:
        told = judged(game.case, again)
        assert max(told.posterior, key=told.posterior.__getitem__) in game.moles
    assert not {word for word in fitted.words for name in CREW if name in word.split()}


def test_a_text_model_without_a_fit_abstains() -> None:
    told = judged(GAMES[0].case, text.Text("bag", None, SETTINGS))
    assert "heist detect calibrate" in told.abstained
    assert told.posterior == {}
    silent = Case("s", GAMES[0].case.members, ())
    assert judged(silent, text.Text("bag", text.fit("bag", GAMES, "test"), SETTINGS)).abstained


def test_a_text_model_learns_nothing_from_innocents_alone() -> None:
    with pytest.raises(ConfigError, match="with moles and with innocents"):
        text.fit("bag", [Labelled(game.case, frozenset()) for game in GAMES], "test")


def test_a_wrong_text_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "text_models").mkdir()
    (tmp_path / "text_models" / "bag.json").write_text('{"kind": "bag"}')
    with pytest.raises(ConfigError, match=r"bag\.json: source"):
        text.read(tmp_path, "bag")
    assert text.read(tmp_path, "text") is None


def test_the_audit_needs_an_end() -> None:
    case = talk(*["x"] * 6)
    assert judged(case, Audit(SETTINGS)).abstained
    over = Case(
        "s", case.members, case.deeds, ended=Ended("busted", 20, 100, dict.fromkeys(CREW, 1.0) | {"driver": 60.0})
    )
    assert judged(over, Audit(SETTINGS)).suggested_mole == "driver"
    fine = Case("s", case.members, case.deeds, ended=Ended("clean", 100, 100, dict.fromkeys(CREW, 0.0)))
    assert judged(fine, Audit(SETTINGS)).suggested_mole is None
    assert judged(over.until(3), Audit(SETTINGS)).abstained


def test_missions_convict_those_who_were_on_them() -> None:
    teams = [Team(1, ("Alice", "Bob"), FIVE, 0), Team(2, ("Charlie", "Diana"), ("Charlie", "Diana", "Eve"), 2)]
    shares = saboteurs(FIVE, teams)
    assert shares["Charlie"] > 0.99
    assert shares["Diana"] > 0.99
    assert sum(shares.values()) == pytest.approx(2)
    case = Case("s", tuple(Member(name, name) for name in FIVE), tuple(teams))
    told = judged(case, Audit(SETTINGS))
    assert told.nobody == 0
    assert sum(told.posterior.values()) == pytest.approx(1)


def test_a_team_that_was_voted_down_says_something_by_its_votes_alone() -> None:
    down = saboteurs(FIVE, [Team(1, ("Alice", "Bob"), ("Alice",), -1)])
    assert 0 < min(down.values()) < max(down.values()) < 1


class Sleepy:
    """Accuses who speaks least often."""

    name = "sleepy"
    about = "Who speaks least often."

    async def assess(self, case: Case) -> Verdict:
        return Verdict(session_id=case.session_id, detector=self.name, turn=case.turns)


class Untrue(Sleepy):
    name = "rules"


class Nameless(Sleepy):
    name = "No Name"


class Mute(Sleepy):
    about = " "


class Slow:
    name = "slow"
    about = "No coroutine."

    def assess(self, case: Case) -> None: ...


class Raises(Sleepy):
    def __init__(self) -> None:
        raise RuntimeError("no\nway")


def entries(*values: str) -> list[EntryPoint]:
    return [EntryPoint(f"e{number}", value, detector.GROUP) for number, value in enumerate(values)]


def test_a_detector_of_another_package_joins_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    found = entries(f"{here}:Sleepy")

    def given(group: str) -> Sequence[EntryPoint]:
        assert group == "heist.detectors"
        return found

    monkeypatch.setattr(plugins, "entry_points", given)
    assert list(find([RULES, KEYWORDS]).parts) == ["rules", "keywords", "sleepy"]
    assert asyncio.run(find([RULES]).parts["sleepy"].assess(talk("x"))).detector == "sleepy"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Untrue", "there is already one with the name 'rules'"),
        ("Nameless", "a detector's name is small letters"),
        ("Mute", "it needs `about`"),
        ("Slow", "has no async assess"),
        ("Raises", "cannot be loaded: RuntimeError: no way"),
        ("Missing", "cannot be loaded: AttributeError"),
        ("CREW", "is tuple, which has no async assess"),
    ],
)
def test_a_wrong_detector_is_turned_away_with_the_reason(value: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries(f"{__name__}:{value}"))
    found = find([RULES])
    assert list(found.parts) == ["rules"]
    [(_, told)] = found.refused
    assert why in told


def test_calibration_files_are_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    from heist.services.detection import calibration

    folder = tmp_path / "calibration"
    folder.mkdir()
    assert calibration.read(tmp_path).known == ()
    (folder / "b.json").write_text(json.dumps({"source": "b", "model": "m"}))
    (folder / "a.json").write_text(json.dumps({"source": "a"}))
    known = calibration.read(tmp_path)
    assert known.of("m", "x").source == "b"
    assert known.of("n", "x").source == "a"
    assert known.of("m", "x").id != known.of("n", "x").id
    assert Calibrations().of("m", "x").id == ""
    (folder / "c.json").write_text('{"games": 3}')
    with pytest.raises(ConfigError, match=r"c\.json: games"):
        calibration.read(tmp_path)
    (folder / "c.json").write_text("{")
    with pytest.raises(ConfigError, match=r"c\.json: the file cannot be read"):
        calibration.read(tmp_path)
