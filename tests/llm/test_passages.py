"""Marked passages are cut out of a stream, however it is cut into pieces."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.llm.passages import Passage, Passages

PIECES = st.lists(st.sampled_from(["[TOOL:", "]", "[", "T", "OOL:", "a b", "\n", "[TOOL:x:1]", "so "]), max_size=12)


def heard(pieces: list[str]) -> tuple[str, list[str]]:
    passages = Passages({"[TOOL:": "]"})
    text = "".join(passages.feed(piece) for piece in pieces) + passages.end()
    assert all(passage.opening == "[TOOL:" for passage in passages.cut)
    return text, [passage.text for passage in passages.cut]


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
    passages = Passages({"<think>": "</think>"})
    assert passages.feed(text) == text
    assert (passages.end(), passages.cut) == ("", [])


MARKS = {"[TOOL:": "]", "[TOOL_REQUEST]": "[END_TOOL_REQUEST]", "<a>": "</a>", "```": "```"}
MANY = st.lists(
    st.sampled_from([*MARKS, *MARKS.values(), "[", "[TOOL", "_REQ", "<", "a>", "/", "`", "``", "x ", "\n"]), max_size=12
)


def fenced(passage: Passage) -> str:
    return f"({passage.text})" if passage.opening == "```" else ""


def parted(pieces: list[str]) -> tuple[str, list[Passage]]:
    passages = Passages(MARKS, fenced)
    text = "".join(passages.feed(piece) for piece in pieces) + passages.end()
    return text, passages.cut


@given(MANY)
def test_of_many_marks_too_the_size_of_the_pieces_changes_nothing(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert parted(pieces) == parted([whole]) == parted(list(whole))


@pytest.mark.parametrize(
    ("text", "left", "cut"),
    [
        ("a[TOOL:x]b", "ab", [("[TOOL:", "x")]),
        ("a[TOOL_REQUEST]x[TOOL:]y[END_TOOL_REQUEST]b", "ab", [("[TOOL_REQUEST]", "x[TOOL:]y")]),
        ("a```x [TOOL:y]```b", "a(x [TOOL:y])b", []),
        ("a```x", "a(x)", []),
        ("<a>x</a>", "", [("<a>", "x")]),
        ("]</a>", "]</a>", []),
        ("[TOOL", "[TOOL", []),
    ],
)
def test_a_passage_ends_at_its_own_mark_and_what_stands_instead_is_let_through(
    text: str, left: str, cut: list[tuple[str, str]]
) -> None:
    assert parted([text]) == parted(list(text)) == (left, cut)


def test_of_two_marks_at_one_place_the_longer_one_counts_in_pieces_too() -> None:
    for pieces in (["<a>!x!b"], list("<a>!x!b")):
        passages = Passages({"<a>": "</a>", "<a>!": "!"})
        assert "".join(map(passages.feed, pieces)) + passages.end() == "b"
