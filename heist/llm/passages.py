"""Marked passages cut out of a text while it streams."""


class Passages:
    """Lets a stream of text through without what stands between `opening` and `closing`, and keeps what it cut out.

    A piece is held back as long as it may still turn out to be the beginning of a mark, so the pieces may be of any
    size: cutting "a[TOOL:x]b" in one piece or in nine gives the same text.
    """

    def __init__(self, opening: str, closing: str) -> None:
        self._marks = (opening, closing)
        self._inside = False
        self._held = ""
        self._passage = ""
        self.cut: list[str] = []

    def feed(self, piece: str) -> str:
        """What of the text so far is certain to be outside, beyond what was answered before."""
        if not self._inside and not self._held and self._marks[0][0] not in piece:
            return piece
        outside = ""
        text = self._held + piece
        while True:
            mark = self._marks[self._inside]
            before, found, after = text.partition(mark)
            if not found:
                break
            outside += self._take(before)
            if self._inside:
                self.cut.append(self._passage)
                self._passage = ""
            self._inside = not self._inside
            text = after
        held = _overlap(text, mark)
        self._held = text[len(text) - held :]
        return outside + self._take(text[: len(text) - held])

    def end(self) -> str:
        """What was held back when the text is over; a passage without an end is cut out all the same."""
        rest, self._held = self._take(self._held), ""
        if self._inside:
            self.cut.append(self._passage)
        return rest

    def _take(self, text: str) -> str:
        if not self._inside:
            return text
        self._passage += text
        return ""


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` are a beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
