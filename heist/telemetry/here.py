"""Where a task is: in which session and turn, and inside which span."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple, Protocol

from heist.telemetry import names as n

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
Text = Literal["none", "speech", "prompts"]
"""What of the words may stand in a span: none, what is public, or whole prompts, the private briefs among them."""
NOTHING: Attributes = {}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Span(Protocol):
    """A piece of work that takes time. It begins when it is made; whoever made it ends it."""

    @property
    def ids(self) -> tuple[str, str] | None:
        """Its trace and itself, in hexadecimal; None for what is not traced."""

    def inner(self, name: str, attributes: Attributes = NOTHING) -> "Span":
        """A piece of work inside of this one."""

    def tell(self, attributes: Attributes) -> None: ...

    def quote(self, text: Text, attributes: Callable[[], Attributes]) -> None:
        """Tells attributes that hold words, if so much of the words may be told."""

    def fail(self, code: str) -> None:
        """It came to nothing; `code` is the machine's word for why."""

    def end(self) -> None: ...

    def open(self) -> AbstractContextManager["Span"]:
        """The task is inside of it until the block is left, which ends it; an error that leaves the block is its
        error."""


class Silent:
    """A span where nobody traces. It costs what an empty call costs."""

    ids = None

    def inner(self, name: str, attributes: Attributes = NOTHING) -> "Silent":
        return self

    def tell(self, attributes: Attributes) -> None: ...

    def quote(self, text: Text, attributes: Callable[[], Attributes]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...

    def open(self) -> AbstractContextManager[Span]:
        return self

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None: ...


SILENT = Silent()


class Here(NamedTuple):
    """`span` is the one that new spans belong into."""

    session_id: str | None = None
    turn: int | None = None
    span: Span = SILENT


_HERE: ContextVar[Here] = ContextVar("heist_here", default=Here())  # noqa: B039 - it is frozen


def here() -> Here:
    return _HERE.get()


def go(to: Here) -> None:
    """From now on the task, and each that it begins, is there."""
    _HERE.set(to)


@contextmanager
def within(place: Here) -> Generator[None]:
    """The task is there until the block is left."""
    token = _HERE.set(place)
    try:
        yield
    finally:
        _HERE.reset(token)


def work(name: str, attributes: Attributes = NOTHING) -> AbstractContextManager[Span]:
    """A piece of work inside of the one that the task is in: `with work("search_memory"): …`. Where no session is
    traced it is silent."""
    return here().span.inner(name, attributes).open()


def tool_work(name: str) -> AbstractContextManager[Span]:
    """The same, for a tool."""
    return work(*tool(name))


def tool(name: str) -> tuple[str, Attributes]:
    """(name, attributes) of a tool's span; what a caller made up may be a whole sentence, and is not repeated."""
    named = name if _NAME.fullmatch(name) else "unknown"
    return f"execute_tool {named}", {n.OPERATION: "execute_tool", n.TOOL: named, n.TOOL_TYPE: "function"}
