"""Cases as tests need them: a crew of six over the shipped bank, told deed by deed."""

import asyncio
from collections.abc import Sequence

from heist.services.detection import case as cases
from heist.services.detection import config
from heist.services.detection.calibration import Calibrations
from heist.services.detection.case import Called, Case, Deed, Member, Put, Said
from heist.services.detection.detector import Detector
from heist.services.detection.evidence import Item
from heist.services.detection.examination import evidence
from heist.services.detection.ladder.keywords import Keywords
from heist.services.detection.ladder.rules import Rules
from heist.services.detection.verdict import Verdict
from heist.settings import shipped
from heist.world import scenario

CREW = ("planner", "hacker", "safecracker", "intel", "driver", "lookout")
SETTINGS = config.read(shipped("config"))
SCHEMA = cases.schema(scenario.read(shipped("config"), "first_national_bank"))
RULES = Rules(SETTINGS, Calibrations())
KEYWORDS = Keywords(SETTINGS)
VAULT = "the thickness of the vault door is 12 inches"
REST = "the start of the night rest is 02:10"


def case(*deeds: Deed, names: Sequence[str] = CREW) -> Case:
    return Case("s1", tuple(Member(name, name) for name in names), deeds, SCHEMA, "m", "first_national_bank")


def read(turn: int, agent: str, text: str, date: str = "2026-09-14", tool: str = "file_reader") -> Called:
    """A paper that states `text`."""
    return Called(turn, agent, tool, "paper", f'{{"name": "paper of {date}"}}', f"A paper, dated {date}\n{text}.", None)


def failed(turn: int, agent: str, fault: str = "arguments", tool: str = "file_reader") -> Called:
    return Called(turn, agent, tool, "papper", '{"filename": "papper"}', "there is no paper 'papper'", fault)


def say(turn: int, agent: str, text: str) -> Said:
    return Said(turn, agent, text)


def put(turn: int, agent: str, slot: str, value: str | int, before: str | int | None = None) -> Put:
    return Put(turn, agent, slot, value, before)


def hits(told: Case, agent: str | None = None) -> list[tuple[str, str]]:
    """(agent, check) of what speaks against anybody, or against one."""
    return [(item.agent, item.check) for item in evidence(told) if item.hit and agent in (None, item.agent)]


def items(told: Case, check: str) -> list[Item]:
    return [item for item in evidence(told) if item.check == check]


def judged(told: Case, detector: Detector = RULES) -> Verdict:
    return asyncio.run(detector.assess(told))


def talk(*texts: str, names: Sequence[str] = CREW) -> Case:
    """The crew in turn, one text each, around the table as often as it takes."""
    return case(*(Said(turn, names[(turn - 1) % len(names)], text) for turn, text in enumerate(texts, 1)), names=names)
