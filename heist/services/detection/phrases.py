"""Phrases: whether a text holds one of some, as whole words."""

import re
from collections.abc import Mapping

_WORD = re.compile(r"\w")


class Phrases:
    """Looked for in texts of small letters. Most hold none, which is known without a pattern."""

    def __init__(self, *phrases: str) -> None:
        self._phrases = phrases
        self._pattern = re.compile(rf"(?<!\w)(?:{longest_first(phrases)})(?!\w)")

    def search(self, low: str) -> re.Match[str] | None:
        for phrase in self._phrases:
            if phrase in low:
                return self._pattern.search(low)
        return None


class Names:
    """Many names, each found wherever it stands in a text of small letters; of those that begin in one place, the
    longest."""

    def __init__(self, *names: str) -> None:
        self._pattern = re.compile(rf"(?:{longest_first(names)})(?!\w)")  # begins with letters, which is found fast

    def find(self, low: str) -> list[tuple[int, str]]:
        """(place, name) in their order."""
        return [
            (found.start(), found[0])
            for found in self._pattern.finditer(low)
            if not (found.start() and _WORD.match(low, found.start() - 1))
        ]


def meant(found: str, names: Mapping[str, str]) -> str:
    """What stands for a name, in small letters, that a pattern has found whatever its capitals; nothing if none does.
    Such a pattern takes the dotless ı and the dotted İ for an i and the long ſ for an s, which `lower` does not."""
    if found.lower() in names:
        return names[found.lower()]
    return next((what for name, what in names.items() if re.fullmatch(re.escape(name), found, re.IGNORECASE)), "")


def longest_first(phrases: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))
