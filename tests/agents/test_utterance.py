"""What a model wrote is taken apart the same in one piece or in many, and nothing that was said is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.agents.utterance import Utterance

pytestmark = pytest.mark.mission("S7", "S19")


def heard(*pieces: str) -> tuple[str, list[tuple[str, str]], str | None]:
    utterance = Utterance(1)
    speech = "".join([utterance.feed(piece) for piece in pieces] + [utterance.end()])
    return speech, [(call.name, call.arguments) for call in utterance.calls], utterance.form


SUM = ("calculator", "6*7")
AS_JSON = ("calculator", '{"expression": "6*7"}')
FORMS = {
    "ours": ("Let me see. [TOOL:calculator:6*7]", "Let me see. ", SUM, "text"),
    "ours, with blanks": ("[TOOL: calculator : 6*7 ]", "", SUM, "text"),
    "a tag": ('<tool_call>{"name": "calculator", "arguments": {"expression": "6*7"}}</tool_call>', "", AS_JSON, "text"),
    "a tag, its end forgotten": ('<tool_call>{"name": "calculator", "arguments": "6*7"}', "", SUM, "text"),
    "a request": (
        'Well. [TOOL_REQUEST]{"name": "calculator", "arguments": {"expression": "6*7"}}[END_TOOL_REQUEST]',
        "Well. ",
        AS_JSON,
        "text",
    ),
    "a fence": (
        'I reckon.\n```json\n{"name": "calculator", "arguments": {"expression": "6*7"}}\n```',
        "I reckon.\n",
        AS_JSON,
        "text",
    ),
    "a fence without a language": (
        '```\n{"name": "calculator", "parameters": {"expression": "6*7"}}```',
        "",
        AS_JSON,
        "text",
    ),
    "bare": ('{"name": "calculator", "arguments": {"expression": "6*7"}}', "", AS_JSON, "text"),
    "bare, with words after it": ('{"name": "calculator", "arguments": "6*7"} Now I wait.', "Now I wait.", SUM, "text"),
    "a turn": ('{"message": "I reckon.", "tool": "calculator", "argument": "6*7"}', "I reckon.", SUM, "schema"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_call_is_found_in_whichever_form_and_pieces_it_comes(name: str, size: int) -> None:
    text, speech, call, form = FORMS[name]
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert heard(*pieces) == (speech, [call], form)


@pytest.mark.parametrize("none", ["none", "None", "", "null", None])
def test_a_turn_without_a_tool_is_speech_alone(none: str | None) -> None:
    assert heard(json.dumps({"message": "Good evening.", "tool": none, "argument": ""})) == (
        "Good evening.",
        [],
        "schema",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "It costs {12} dollars.",
        "```python\nprint(1)\n```",
        "```\n[1, 2]\n```",
        "a < b, and <tool> is a word",
        "{not JSON at all",
        '{"answer": 42}',
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_is_no_call_is_speech_to_the_last_character(text: str, size: int) -> None:
    speech, calls, _ = heard(*[text[start : start + size] for start in range(0, len(text), size)])
    assert (speech, calls) == (text, []) or (text.startswith('{"answer"') and calls == [])


def test_a_turn_that_was_cut_off_keeps_the_words_that_came() -> None:
    assert heard('{"message": "We go in at ten and')[0] == "We go in at ten and"


def test_words_come_out_while_they_are_written() -> None:
    utterance = Utterance(1)
    told = [utterance.feed(piece) for piece in ('{"mess', 'age": "We ', "go in", ' at ten.", "tool": "no', 'ne"}')]
    assert "".join(told) == "We go in at ten."
    assert told[1] == "We "
    assert utterance.end() == ""


@given(st.text(max_size=120), st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_whatever_is_said_is_taken_apart_the_same_in_any_pieces(text: str, sizes: list[int]) -> None:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(text[start : start + size])
        start += size
    assert heard(*pieces, text[start:]) == heard(text)


@given(st.text(alphabet='[]TOOL:_REQUEST<>/`{}"name:, \n\\abc', max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    heard(text)


@given(st.text("abcdefg ,.", min_size=1, max_size=80))
def test_speech_without_marks_comes_through_as_it_is(text: str) -> None:
    assert heard(text)[0] == text.lstrip()


@pytest.mark.parametrize(
    "text",
    [
        '{"message": "half \\ud800", "tool": "none"}',
        '{"message": "x", "tool": "cal\\ud800", "argument": "\\udfff"}',
        '<tool_call>{"name": "cal\\ud800", "arguments": "1"}</tool_call>',
    ],
)
def test_half_a_character_never_reaches_the_log(text: str) -> None:
    speech, calls, _ = heard(text)
    for said in (speech, *(part for call in calls for part in call)):
        assert said == said.encode().decode()
