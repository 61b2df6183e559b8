"""A session that can be had again: nothing around it is left to chance, and what comes of it goes to files."""

import secrets
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from heist import settings
from heist.agents.sessions import SEEDS, Order
from heist.cli.console import check_new
from heist.clock import SteppedClock
from heist.errors import CassetteMiss, ConfigError
from heist.events import placed
from heist.llm.network import Live, Network, parted
from heist.llm.tape import Label, Taped, Taping
from heist.runtime import Runtime, World, wanted
from heist.seeds import by_seed
from heist.settings import Settings

OPTIONS = {"turn_order": "order", "words_per_second": "pace", "tools": "tool"}
"""Fields of an order whose option has another name."""
NOBODY = 0
"""The number of a process that is the same each time."""
Missed = Callable[[CassetteMiss], None]


class Files(NamedTuple):
    """Where the log goes, and the tape; which tape is played."""

    log: Path | None = None
    record: Path | None = None
    replay: Path | None = None


@contextmanager
def house(files: Files, order: Order, missed: Missed) -> Generator[tuple[Runtime, Order]]:
    """The house for a session, and the order to begin it with. Without files it is the house as it is; with any of them
    one with a database, a clock and names of its own. `missed` hears of calls that a tape lacks. Raises
    `ConfigError`."""
    chosen = settings.read()
    if not any(files):
        yield Runtime(chosen), order
        return
    _check(files)
    chosen, order, network = _around(files, chosen, order, missed)
    if files.log:
        _write(files.log, "")
    with tempfile.TemporaryDirectory() as folder:
        chosen = chosen.model_copy(update={"database_url": f"sqlite:///{folder}/heist.db"})
        yield Runtime(chosen, World(SteppedClock(), by_seed, NOBODY, network, watched=False)), order


def _check(files: Files) -> None:
    if files.record and files.replay:
        raise ConfigError("--record or --replay, not both")
    for (one, path), (other, same) in combinations(files._asdict().items(), 2):
        if path and same and path.resolve() == same.resolve():
            raise ConfigError(f"--{one} and --{other} are the same file, {path}")
    if files.log:
        check_new("--log", files.log)


def _around(files: Files, chosen: Settings, order: Order, missed: Missed) -> tuple[Settings, Order, Network]:
    if files.replay:
        taped = Taped(files.replay, missed)
        return _again(files.replay, taped.label, chosen), _same(files.replay, taped.label, order), taped
    live = Live(wanted(chosen))
    if not files.record:
        return chosen, order, live
    if order.seed is None:
        order = order.model_copy(update={"seed": secrets.randbelow(SEEDS)})
    asked = order.model_dump(mode="json", exclude_unset=True)
    return chosen, order, Taping(live, files.record, Label(order=asked, llm=_public(chosen.llm), model=chosen.model))


def _again(tape: Path, label: Label, chosen: Settings) -> Settings:
    """The settings with who spoke then. Raises when they name somebody else."""
    for field, then in (("llm", label.llm), ("model", label.model)):
        now = getattr(chosen, field) and _public(getattr(chosen, field))
        if field in chosen.model_fields_set and now != then:
            name = f"HEIST_{field.upper()}"
            raise ConfigError(f"{tape} was recorded with {name}={then or ''}, and now it is {now}; a replay needs none")
    return chosen.model_copy(update={"llm": label.llm, "model": label.model})


def _public(llm: str) -> str:
    """Who speaks, without the password that an address may hold: a tape is for others to play."""
    return parted(llm).base_url


def _same(tape: Path, label: Label, order: Order) -> Order:
    """The order of then. Raises when anything is ordered now that is not the same."""
    try:
        then = Order.model_validate(label.order)
    except ValidationError:
        raise ConfigError(f"{tape}, line 1: what was ordered then is no order to this version of heist") from None
    for field in order.model_fields_set:
        was, now = getattr(then, field), getattr(order, field)
        if was != now:
            told = "the crew's own" if was is None else repr(was)
            raise ConfigError(f"--{OPTIONS.get(field, field)}: {tape} was recorded with {told}, found {now!r}")
    return then


def write_log(files: Files, runtime: Runtime, session_id: str) -> None:
    """The session's log as JSON lines, as the audit has it. Raises `ConfigError`."""
    if files.log:
        rows = runtime.queries.log(0, session_id)
        _write(files.log, "".join(f"{placed(row.seq, row.at, row.body)}\n" for row in rows))


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the log cannot be written: {error.strerror or error}") from None
