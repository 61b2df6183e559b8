"""Words: small letters in their places, and many words at once."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.world.words import either, lower

WORDS = st.lists(st.text("ab -.", min_size=1, max_size=4), min_size=1, max_size=6)


@given(st.text())
def test_every_character_keeps_its_place(text: str) -> None:
    assert len(lower(text)) == len(text)
    assert lower(lower(text)) == lower(text)


@pytest.mark.parametrize(("text", "small"), [("Vault", "vault"), ("VAULT’S Ärger", "vault's Ärger"), ("İ", "İ")])
def test_letters_become_small(text: str, small: str) -> None:
    assert lower(text) == small


@given(WORDS, st.text("abc -.", max_size=20))
def test_the_longest_of_some_words_is_found_wherever_one_stands_as_a_whole(words: list[str], text: str) -> None:
    pattern = re.compile(either(words))
    for place in range(len(text)):
        there = [
            word
            for word in words
            if text.startswith(word, place)
            and not re.match(r"\w", text[place - 1 : place])
            and not re.match(r"\w", text[place + len(word) :])
        ]
        found = pattern.match(text, place)
        assert (found[0] if found else None) == max(there, key=len, default=None)


def test_of_no_words_nothing_is_found() -> None:
    assert re.search(either([]), "anything") is None
