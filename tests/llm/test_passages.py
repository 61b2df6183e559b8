"""Marked passages are cut out of a stream, however it is cut into pieces."""

import re

from hypothesis import given
from hypothesis import strategies as st

from heist.llm.passages import Passages

PIECES = st.lists(st.sampled_from(["[TOOL:", "]", "[", "T", "OOL:", "a b", "\n", "[TOOL:x:1]", "so "]), max_size=12)


def heard(pieces: list[str]) -> tuple[str, list[str]]:
    passages = Passages("[TOOL:", "]")
    text = "".join(passages.feed(piece) for piece in pieces) + passages.end()
    return text, passages.cut


@given(PIECES)
def test_the_size_of_the_pieces_changes_nothing(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert heard(pieces) == heard([whole]) == heard(list(whole))


@given(PIECES)
def test_what_is_heard_is_the_text_without_its_passages(pieces: list[str]) -> None:
    whole = "".join(pieces)
    text, cut = heard(pieces)
    assert text == re.sub(r"\[TOOL:[^\]]*(\]|$)", "", whole)
    assert cut == [found[1] for found in re.finditer(r"\[TOOL:([^\]]*)(?:\]|$)", whole)]


@given(st.text(alphabet="abc \n"))
def test_text_without_a_mark_comes_out_at_once(text: str) -> None:
    passages = Passages("<think>", "</think>")
    assert passages.feed(text) == text
    assert (passages.end(), passages.cut) == ("", [])
