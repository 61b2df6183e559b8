"""Marked passages cut out of a text while it streams."""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Passage(NamedTuple):
    opening: str
    text: str


def _nothing(_: Passage) -> str:
    return ""


class Passages:
    """Lets a stream of text through without what stands between an opening mark and its closing one, and keeps what it
    cut out. `instead` says what to let through in place of a passage: nothing, unless it says otherwise.

    A piece is held back as long as it may still turn out to be the beginning of a mark, so the pieces may be of any
    size: cutting "a[TOOL:x]b" in one piece or in nine gives the same text.
    """

    def __init__(self, marks: Mapping[str, str], instead: Callable[[Passage], str] = _nothing) -> None:
        self._marks = marks
        self._firsts = {opening[0] for opening in marks}
        self._instead = instead
        self._opening = ""
        self._held = ""
        self._passage = ""
        self.cut: list[Passage] = []

    def feed(self, piece: str) -> str:
        """What of the text so far is certain to be outside, beyond what was answered before."""
        if not self._opening and not self._held and self._firsts.isdisjoint(piece):
            return piece
        outside = ""
        text = self._held + piece
        while found := self._next(text):
            before, mark, text = found
            outside += self._take(before)
            outside += self._close() if self._opening else self._open(mark)
        held = max(_overlap(text, mark) for mark in self._sought())
        self._held = text[len(text) - held :]
        return outside + self._take(text[: len(text) - held])

    def end(self) -> str:
        """What was held back when the text is over; a passage without an end is one all the same."""
        rest, self._held = self._take(self._held), ""
        return rest + (self._close() if self._opening else "")

    def _sought(self) -> tuple[str, ...]:
        return (self._marks[self._opening],) if self._opening else tuple(self._marks)

    def _next(self, text: str) -> tuple[str, str, str] | None:
        """(before, the mark, after) for the first mark that counts now; of two at one place the longer one."""
        places = [(text.find(mark), -len(mark), mark) for mark in self._sought() if mark in text]
        if not places:
            return None
        place, _, mark = min(places)
        rest = text[place:]
        if any(longer.startswith(rest) and len(longer) > len(rest) for longer in self._sought()):
            return None  # it may still become another mark, that begins like this one
        return text[:place], mark, text[place + len(mark) :]

    @property
    def unclosed(self) -> str | None:
        """What stands in a passage that has not come to its end; None outside of one."""
        return self._passage + self._held if self._opening else None

    def _open(self, mark: str) -> str:
        self._opening = mark
        return ""

    def _close(self) -> str:
        passage = Passage(self._opening, self._passage)
        self._opening = self._passage = ""
        instead = self._instead(passage)
        if not instead:
            self.cut.append(passage)
        return instead

    def _take(self, text: str) -> str:
        if not self._opening:
            return text
        self._passage += text
        return ""


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` are a beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
