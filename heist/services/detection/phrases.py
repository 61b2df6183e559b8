"""Phrases: whether a text holds one of some, as whole words, and which names it holds."""

import re

from heist.world.words import either


class Phrases:
    """Looked for in texts of small letters. Most hold none, which is known without a pattern."""

    def __init__(self, *phrases: str) -> None:
        self._phrases = phrases
        self._pattern = re.compile(either(phrases))

    def search(self, low: str) -> re.Match[str] | None:
        for phrase in self._phrases:
            if phrase in low:
                return self._pattern.search(low)
        return None


class Names:
    """Many names, each found wherever it stands in a text of small letters; of those that begin in one place, the
    longest."""

    def __init__(self, *names: str) -> None:
        self._pattern = re.compile(either(names))

    def find(self, low: str) -> list[tuple[int, str]]:
        """(place, name) in their order."""
        return [(found.start(), found[0]) for found in self._pattern.finditer(low)]
