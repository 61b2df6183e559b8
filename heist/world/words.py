"""Words as patterns find them: in small letters, and many at once."""

import re
from collections.abc import Callable, Iterable

_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ’", "abcdefghijklmnopqrstuvwxyz'")
"""Keeps every character in its place, which `str.lower` does of ASCII alone."""


def lower(text: str) -> str:
    """The text in small letters, every character in its place."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def either(words: Iterable[str], written: Callable[[str], str] = re.escape) -> str:
    """A pattern of any of some words, as a whole word, the longest of those that begin in one place; of none, one that
    finds nothing. `written` makes the pattern of one. It begins with the first letters and looks at what stands before
    them afterwards: so many are found as fast as few."""
    letters: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        letters.setdefault(word[:1], []).append(written(word[1:]))
    some = "|".join(rf"{re.escape(letter)}(?<!\w.)(?:{'|'.join(rest)})" for letter, rest in letters.items())
    return rf"(?:{some or '(?!)'})(?!\w)"
