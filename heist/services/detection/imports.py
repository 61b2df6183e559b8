"""Imports: public transcripts of games of hidden roles, as cases, with what their players could see and no more.

A file holds one game a line: `{"dataset", "game_id", "agents", "saboteurs", "models", "messages": [{"turn", "agent",
"text", "tool_calls": [{"name", "args", "visibility"}]}]}`. Who the saboteurs were goes beside the case, never into it;
of roles, winners and private calls nothing is read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from heist.configfile import first_error, sentence
from heist.errors import ConfigError
from heist.services.detection.case import Case, Deed, Member, Said, Team
from heist.services.detection.ladder.text import Labelled

_FAILS = re.compile(r"\((\d+) fail")


class _Call(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    args: dict[str, Any] = {}
    visibility: Literal["public", "private"] = "private"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)
    turn: int
    agent: str
    text: str = ""
    tool_calls: tuple[_Call, ...] = ()


class _Game(BaseModel):
    model_config = ConfigDict(frozen=True)
    dataset: str
    game_id: str
    agents: tuple[str, ...]
    saboteurs: tuple[str, ...]
    models: dict[str, str] = {}
    messages: tuple[_Message, ...]


class Dataset(NamedTuple):
    name: str
    games: tuple[Labelled, ...]


def datasets(folder: Path) -> Iterator[Dataset]:
    """Every `.jsonl` of a folder, or that one file. Raises `ConfigError` that names the file and the line."""
    paths = [folder] if folder.is_file() else sorted(folder.glob("*.jsonl"))
    if not paths:
        raise ConfigError(f"{folder}: there is no .jsonl file here")
    for path in paths:
        yield Dataset(path.stem, tuple(_games(path)))


def _games(path: Path) -> Iterator[Labelled]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _labelled(line, f"{path}, line {number}")


def _labelled(line: str, place: str) -> Labelled:
    try:
        game = _Game.model_validate(json.loads(line))
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{place}: {sentence(first['loc'], first['msg'])}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not JSON: {error}") from None
    names = set(game.models.values())
    case = Case(
        session_id=f"{game.dataset}/{game.game_id}",
        members=tuple(Member(name, name) for name in game.agents),
        deeds=tuple(_deeds(game)),
        model=names.pop() if len(names) == 1 else "several",
    )
    return Labelled(case, frozenset(game.saboteurs))


def _deeds(game: _Game) -> Iterator[Deed]:
    """What was said, and each team that was voted on, with what came of it. A team is whole when the next is proposed
    or its mission is over."""
    team: Team | None = None
    for message in game.messages:
        for call in message.tool_calls:
            if call.visibility != "public":
                continue
            if call.name == "propose_team":
                if team is not None:
                    yield team
                team = Team(message.turn, tuple(map(str, call.args.get("team", ()))), (), -1)
            elif call.name == "vote_team" and team is not None and call.args.get("vote") == "approve":
                team = team._replace(approved_by=(*team.approved_by, message.agent))
        if message.agent in game.agents:
            if message.text.strip():
                yield Said(message.turn, message.agent, message.text)
        elif team is not None and (fails := _FAILS.search(message.text)):
            yield team._replace(fails=int(fails[1]))
            team = None
    if team is not None:
        yield team
