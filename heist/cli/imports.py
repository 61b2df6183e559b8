"""Import: logs that heist wrote, into the audit, so that they can be looked at like sessions of its own."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.markup import escape

from heist import events as e
from heist.cli.console import out
from heist.cli.database import opened
from heist.configfile import first_error, sentence
from heist.errors import ConfigError, Conflict
from heist.store.copies import Copies, Kept
from heist.store.figures import Chosen

MOST = 2**31 - 1
"""What a column of numbers holds in any database."""
WHAT = "an event as heist export writes it"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Logs (.jsonl) of heist export, or of heist run --log.")],
) -> None:
    """Read logs of sessions that are over into the audit."""
    sessions = [session for path in files for session in read(path)]
    ids = [session[0].event.session_id or "" for session in sessions]
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise Conflict(f"the session {twice[0]} is in two of the files")
    with opened() as engine:
        copies = Copies(engine)
        if here := copies.session_ids(Chosen(session_ids=tuple(ids))):
            raise Conflict(f"the session {here[0]} is here already, so nothing was imported")
        for session, session_id in zip(sessions, ids, strict=True):
            out.print(f"{escape(session_id)}: {copies.put(session)} events", soft_wrap=True)


def read(path: Path) -> list[list[Kept]]:
    """The sessions of a file, each from its start to its end. Raises `ConfigError` that names the file and the line,
    and says what was expected."""
    found: dict[str, _Log] = {}
    for number, line in _lines(path):
        place = f"{path}, line {number}"
        seq, kept = _kept(place, line)
        event = kept.event
        if event.session_id is None or not event.durable:
            continue  # as heist run --json prints beside the log
        if event.session_id not in found:
            found[event.session_id] = _Log(place, event)
        found[event.session_id].add(place, seq, kept)
    if not found:
        raise ConfigError(f"{path}: there is no log in this file; expected {WHAT} on each line")
    for log in found.values():
        log.check_end(path)
    return [log.kept for log in found.values()]


class _Log:
    """One session while it is read."""

    def __init__(self, place: str, first: e.Event) -> None:
        if not isinstance(first, e.SessionStarted):
            _refuse(place, "session.started at the beginning of a session", first.kind)
        if not first.seats:
            _refuse(place, "at least one of seats", "none")
        if not _ID.fullmatch(first.session_id):
            _refuse(place, "a session_id of letters, digits, _, . and -", repr(first.session_id[:64]))
        self.kept: list[Kept] = []
        self._id = first.session_id
        self._last = self._turn = 0
        self._kinds: set[str] = set()

    def add(self, place: str, seq: int | None, kept: Kept) -> None:
        event = kept.event
        if event.kind in self._kinds & {"session.started", "mole.revealed", "mole.assigned", *e.ENDS}:
            _refuse(place, f"{event.kind} once in {self._id}", "it again")
        if not event.sealed and (seq is None or seq <= self._last):
            _refuse(place, f"a seq above {self._last}", "none" if seq is None else str(seq))
        if event.kind.startswith("session.") and self._kinds & set(e.ENDS):
            _refuse(place, f"{self._id} to stay as it ended", event.kind)
        if isinstance(event, e.MessageCompleted):
            for tokens in (event.prompt_tokens, event.completion_tokens):
                if not 0 <= tokens <= MOST:
                    _refuse(place, f"0 to {MOST} tokens", str(tokens)[:64])
        turn = getattr(event, "turn", None) or 0
        if not 0 <= turn <= MOST:
            _refuse(place, f"a turn from 0 to {MOST}", str(turn)[:64])
        if isinstance(event, e.MessageCompleted | e.MessageFailed):
            if event.turn <= self._turn:
                _refuse(place, f"a turn after {self._turn}", f"turn {event.turn}")
            self._turn = event.turn
        self._last = seq or self._last
        self._kinds.add(event.kind)
        self.kept.append(kept)

    def check_end(self, path: Path) -> None:
        if not self._kinds & set(e.ENDS):
            expected = f"{', '.join(e.ENDS[:-1])} or {e.ENDS[-1]}"
            raise ConfigError(f"{path}: the session {self._id} is not over; expected {expected} in its log")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the file cannot be read: it is no text in UTF-8") from None


def _kept(place: str, line: str) -> tuple[int | None, Kept]:
    """The event of a line, and its number in the log that it comes from."""
    try:
        told: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError(f"{place}: expected {WHAT}, found what is not JSON") from None
    if not isinstance(told, dict):
        _refuse(place, WHAT, type(told).__name__)
    seq, at = told.pop("seq", None), told.pop("at", None)
    if seq is not None and (type(seq) is not int or seq < 1):
        _refuse(place, "a seq from 1", repr(seq)[:64])
    if not isinstance(at, str) or not _is_moment(at):
        _refuse(place, "at: a time as 2026-01-01T12:00:00.000000Z", repr(at)[:64])
    try:
        return seq, Kept(e.parse(json.dumps(told)), at)
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{place}: expected {WHAT}: {sentence(first['loc'], first['msg'])}") from None


def _is_moment(at: str) -> bool:
    try:
        return _MOMENT.fullmatch(at) is not None and datetime.fromisoformat(at).year > 1
    except ValueError:
        return False


def _refuse(place: str, expected: str, found: str) -> NoReturn:
    raise ConfigError(f"{place}: expected {expected}, found {found}")
