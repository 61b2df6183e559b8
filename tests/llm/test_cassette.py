"""What was recorded is played back, in its order, piece by piece; what was not is missed aloud."""

import json
import os
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist import errors
from heist.errors import CassetteMiss, ConfigError, ModelBusy, ModelError, ModelTimeout
from heist.llm.cassette import Cassette, Recording, key
from heist.llm.model import Ability, Call, Completion, Form, Message, Prompt, ToolSpec, Usage, guess
from heist.llm.simulated import Simulated

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S19")]
HELLO = Prompt((Message("system", "You are Nox."), Message("user", "Who was late?")), seed=3)
Outcome = tuple[list[str], Completion | tuple[type[ModelError], str]]


class Scripted:
    """Answers each call with the next of its takes: pieces, and how it ends."""

    name, server, simulated, warm = "scripted", "the test", False, False
    ability = Ability("the test", context=512, slots=2, tools=False, schemas=True, tokenizer=True)

    def __init__(self, takes: Sequence[tuple[list[str], Completion | ModelError]]) -> None:
        self.takes = list(takes)
        self.form: Form = "native"

    async def ready(self) -> None: ...

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return [len(text) * 3 for text in texts], False

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        pieces, end = self.takes.pop(0)
        for piece in pieces:
            yield piece
        if isinstance(end, ModelError):
            raise end
        yield end


async def outcome(model: Recording | Cassette, prompt: Prompt) -> Outcome:
    pieces: list[str] = []
    try:
        async with aclosing(model.complete(prompt)) as answer:
            async for chunk in answer:
                if isinstance(chunk, Completion):
                    return pieces, chunk
                pieces.append(chunk)
    except ModelError as error:
        return pieces, (type(error), str(error))
    raise AssertionError("the completion is missing")


words = st.text(max_size=12)
calls = st.lists(st.builds(Call, words, words, words), max_size=2).map(tuple)
counts = st.integers(0, 2**31)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), words, calls, words)
schemas = st.dictionaries(words, st.one_of(words, st.booleans(), st.none(), st.lists(st.integers(), max_size=2)))
prompts = st.builds(
    Prompt,
    st.lists(messages, max_size=3).map(tuple),
    st.lists(st.builds(ToolSpec, words, words, schemas), max_size=2).map(tuple),
    st.floats(0, 2),
    st.integers(1, 1000),
    st.integers(0, 2**62),
    st.none() | schemas,
    st.lists(words, max_size=2).map(tuple),
)
usages = st.builds(Usage, counts, counts, st.booleans(), st.none() | counts)
ends = st.builds(Completion, words, calls, usages, words) | st.one_of(
    st.builds(ModelError, words),
    st.builds(ModelTimeout, words),
    st.builds(ModelBusy, words, st.none() | st.floats(0, 9)),
)
takes = st.tuples(st.lists(words, max_size=4), ends)
EXAMPLE = Completion("It was Vale.", (Call("c", "look", "{}"),), Usage(9, 4, False, 5), "other")


@given(st.lists(prompts, min_size=1, max_size=4), st.lists(st.tuples(st.integers(0, 3), takes), max_size=8))
async def test_any_sequence_of_calls_is_played_as_it_was_recorded(
    asked: list[Prompt], script: list[tuple[int, tuple[list[str], Completion | ModelError]]]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cassette.jsonl"
        recording = Recording(Scripted([take for _, take in script]), path)
        order = [asked[index % len(asked)] for index, _ in script]
        recorded = [await outcome(recording, prompt) for prompt in order]
        cassette = Cassette(path)
        assert [await outcome(cassette, prompt) for prompt in order] == recorded
        for prompt in order:
            assert (await outcome(cassette, prompt))[1][0] is CassetteMiss


def tape(path: Path, *takes: tuple[list[str], Completion | ModelError]) -> Recording:
    return Recording(Scripted(takes), path / "tape.jsonl")


async def test_a_cassette_goes_by_the_name_of_who_was_recorded(tmp_path: Path) -> None:
    tape(tmp_path)
    cassette = Cassette(tmp_path / "tape.jsonl")
    assert (cassette.name, cassette.server, cassette.simulated) == ("scripted", "the test", False)
    assert (cassette.ability, cassette.form, cassette.warm) == (Scripted.ability, "native", False)
    await cassette.ready()
    Recording(Simulated(), tmp_path / "simulated.jsonl")
    assert Cassette(tmp_path / "simulated.jsonl").simulated


async def test_the_form_changes_where_the_model_changed_it(tmp_path: Path) -> None:
    model = Scripted([([], EXAMPLE), ([], EXAMPLE)])
    recording = Recording(model, tmp_path / "tape.jsonl")
    await outcome(recording, HELLO)
    model.form = "text"
    await outcome(recording, HELLO)
    cassette = Cassette(tmp_path / "tape.jsonl")
    forms: list[str] = []
    for _ in range(2):
        await outcome(cassette, HELLO)
        forms.append(cassette.form)
    assert forms == ["native", "text"]


async def test_tokens_are_counted_as_they_were_and_what_was_not_is_guessed(tmp_path: Path) -> None:
    recording = tape(tmp_path)
    assert await recording.count(["abc", "de", "abc"]) == ([9, 6, 9], False)
    await recording.count(["abc"])
    assert len((tmp_path / "tape.jsonl").read_text().splitlines()) == 2
    cassette = Cassette(tmp_path / "tape.jsonl")
    assert await cassette.count(["de", "abc"]) == ([6, 9], False)
    assert await cassette.count(["de", "a new text"]) == ([6, guess("a new text")], True)
    simulated = Recording(Simulated(), tmp_path / "simulated.jsonl")
    await simulated.count(["a guess is not worth a line"])
    assert len((tmp_path / "simulated.jsonl").read_text().splitlines()) == 1


async def test_a_cassette_is_for_its_owner_alone(tmp_path: Path) -> None:
    await outcome(tape(tmp_path, ([], EXAMPLE)), HELLO)
    assert stat.S_IMODE((tmp_path / "tape.jsonl").stat().st_mode) == 0o600


async def test_a_call_that_is_given_up_leaves_no_line(tmp_path: Path) -> None:
    recording = tape(tmp_path, (["It ", "was "], EXAMPLE), (["Nobody."], EXAMPLE))
    async with aclosing(recording.complete(HELLO)) as answer:
        assert await anext(answer) == "It "
    assert (await outcome(recording, HELLO))[0] == ["Nobody."]
    assert (await outcome(Cassette(tmp_path / "tape.jsonl"), HELLO))[0] == ["Nobody."]


async def test_a_recording_is_continued_and_never_mixed(tmp_path: Path) -> None:
    await outcome(tape(tmp_path, (["one"], EXAMPLE)), HELLO)
    await outcome(tape(tmp_path, (["two"], EXAMPLE)), HELLO)
    cassette = Cassette(tmp_path / "tape.jsonl")
    assert [(await outcome(cassette, HELLO))[0] for _ in range(2)] == [["one"], ["two"]]
    with pytest.raises(ConfigError, match=r"tape\.jsonl, line 1: it is a recording of 'scripted', not of 'simulated"):
        Recording(Simulated(), tmp_path / "tape.jsonl")


async def test_an_error_that_nobody_knows_is_played_as_the_nearest_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(errors, "ModelTimeout")
    assert (await outcome(tape(tmp_path, ([], ModelTimeout("slow"))), HELLO))[1] == (ModelTimeout, "slow")
    assert (await outcome(Cassette(tmp_path / "tape.jsonl"), HELLO))[1] == (ModelError, "slow")


async def test_busy_is_played_with_its_seconds(tmp_path: Path) -> None:
    await outcome(tape(tmp_path, ([], ModelBusy("later", 7.5))), HELLO)
    with pytest.raises(ModelBusy) as raised:
        [_ async for _ in Cassette(tmp_path / "tape.jsonl").complete(HELLO)]
    assert raised.value.retry_after == 7.5


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (replace(HELLO, seed=4), "its seed is 4, the nearest recorded one's 3"),
        (replace(HELLO, temperature=0.1), "its temperature is 0.1, the nearest recorded one's 0.7"),
        (replace(HELLO, max_tokens=5), "its max_tokens is 5, the nearest recorded one's 300"),
        (replace(HELLO, tools=(ToolSpec("t", "", {}),)), "its tools differs from"),
        (replace(HELLO, schema={}), "its schema differs from"),
        (replace(HELLO, stop=("\n",)), r"its stop is \('\\n',\), the nearest recorded one's \(\)"),
        (HELLO.followed_by(Message("user", "x")), "it has 3 messages, the nearest recorded one 2"),
        (
            replace(HELLO, messages=(HELLO.messages[0], Message("user", "Who was early?"))),
            r"message 2 \(user\) differs from .* from character 8 on: 'early\?' is asked, 'late\?' recorded",
        ),
        (
            replace(HELLO, messages=(HELLO.messages[0], Message("assistant", "Who was late?"))),
            r"message 2 \(assistant\) differs .* in its role or its calls",
        ),
    ],
)
async def test_a_miss_says_which_part_is_another(tmp_path: Path, asked: Prompt, sentence: str) -> None:
    recording = tape(tmp_path, ([], EXAMPLE), ([], EXAMPLE))
    await outcome(recording, HELLO)
    await outcome(recording, Prompt((Message("system", "Somebody else entirely."),)))
    with pytest.raises(CassetteMiss, match=sentence):
        [_ async for _ in Cassette(tmp_path / "tape.jsonl").complete(asked)]


async def test_a_miss_is_short_and_says_how_often_there_was_an_answer(tmp_path: Path) -> None:
    long = Prompt((Message("user", "a" * 5000),))
    await outcome(tape(tmp_path, ([], EXAMPLE)), long)
    cassette = Cassette(tmp_path / "tape.jsonl")
    await outcome(cassette, long)
    with pytest.raises(CassetteMiss, match="has one answer to this request, and it was asked once more"):
        [_ async for _ in cassette.complete(long)]
    with pytest.raises(CassetteMiss) as raised:
        [_ async for _ in cassette.complete(Prompt((Message("user", "b" * 5000),)))]
    assert len(str(raised.value)) < 250
    Recording(Scripted([]), tmp_path / "empty.jsonl")
    with pytest.raises(CassetteMiss, match="it is empty"):
        [_ async for _ in Cassette(tmp_path / "empty.jsonl").complete(long)]


def test_the_key_is_of_everything_that_is_asked() -> None:
    others = [
        replace(HELLO, seed=4),
        replace(HELLO, temperature=0.0),
        replace(HELLO, max_tokens=1),
        replace(HELLO, tools=(ToolSpec("t", "", {}),)),
        replace(HELLO, schema={}),
        replace(HELLO, stop=("\n",)),
        replace(HELLO, messages=HELLO.messages[:1]),
    ]
    keys = {key(prompt, "m") for prompt in (HELLO, *others)} | {key(HELLO, "n")}
    assert len(keys) == len(others) + 2
    assert key(replace(HELLO, temperature=1), "m") == key(replace(HELLO, temperature=1.0), "m")


GOOD = {"format": 1, "model": "m", "server": "s", "simulated": False, "ability": ["s"], "form": "text", "warm": True}
TAKE = {"prompt": {"messages": []}, "pieces": [], "end": ["", [], [1, 2, False], "m"], "form": "text"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "line 1: expected a line of JSON"),
        ("hello\n", "line 1: expected a line of JSON"),
        ("\xff\n", "line 1: expected a line of JSON"),
        ("[" * 100_000 + "\n", "line 1: expected a line of JSON"),
        (json.dumps({**GOOD, "format": 2}) + "\n", "line 1: format: input should be 1"),
        (json.dumps(GOOD), "line 1: the line is cut off"),
        (f"{json.dumps(GOOD)}\n{json.dumps(TAKE)}\n{json.dumps(TAKE)[:20]}", "line 3: the line is cut off"),
        (f"{json.dumps(GOOD)}\n{{}}\n", "line 2: prompt: field required"),
        (f"{json.dumps(GOOD)}\n{json.dumps({**TAKE, 'pieces': 7})}\n", "line 2: pieces: "),
        (
            f"{json.dumps(GOOD)}\n{json.dumps({**TAKE, 'end': {'kind': 'ConfigError', 'sentence': ''}})}\n",
            "line 2: end",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError) as raised:
        Cassette(path)
    assert str(raised.value).startswith(f"{path}, {sentence}")
    assert "\n" not in str(raised.value)


def test_a_good_file_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(TAKE)}\n")
    assert Cassette(path).name == "m"


async def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl: cannot be read: No such file or directory"):
        Cassette(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="cannot be recorded to: No such file or directory"):
        Recording(Simulated(), tmp_path / "none" / "tape.jsonl")
    recording = tape(tmp_path, ([], EXAMPLE))
    (tmp_path / "tape.jsonl").unlink()
    (tmp_path / "tape.jsonl").mkdir()
    with pytest.raises(ModelError, match="cannot be recorded to: Is a directory"):
        [_ async for _ in recording.complete(HELLO)]


async def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = tape(tmp_path, ([], EXAMPLE))
    before = (tmp_path / "tape.jsonl").read_bytes()

    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:10]))
    with pytest.raises(ModelError, match="there is no room for it"):
        [_ async for _ in recording.complete(HELLO)]
    assert (tmp_path / "tape.jsonl").read_bytes() == before
