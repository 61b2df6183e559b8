"""Mentions: whose names stand in a message."""

import re
from collections.abc import Iterable


def named(text: str, names: Iterable[str], speaker: str) -> list[str]:
    """Those of the names, but the speaker's own, that stand in the text as words of their own, in any case of letters:
    `intel` is not in "intelligence"."""
    words = text.lower()
    return [name for name in names if name != speaker and name.lower() in words and _stands(name.lower(), words)]


def _stands(name: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) is not None
