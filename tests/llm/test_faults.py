"""Each fault does on the wire what its sentence says, and whatever it does, our endpoint ends with an answer or one
sentence."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from heist.clock import SystemClock
from heist.errors import ConfigError, ModelBroke, ModelBusy, ModelError, ModelOverflow, ModelTimeout
from heist.llm import faults, server
from heist.llm.endpoint import Patience
from heist.llm.faults import FAULTS, HABITS, KINDS, PROFILES, THOUGHT, Chosen, choose
from heist.llm.model import Message, Prompt
from tests.llm.test_server import TOOL, USER, Parrot, answer, asking, serving
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S18", "S19")]
QUICK = {"cold": "cold=0.05", "usage-late": "usage-late=0.05", "truncate": "truncate=1"}
"""Numbers that a test has the time for."""
FOREVER = ("hang", "stall", "flood")
TOOLS = [{"type": "function", "function": {"name": "look"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
NO_OBJECT = {"error": "'response_format.type' must be 'json_schema' or 'text'"}
NO_MODEL = {
    "object": "error",
    "message": "The model `llama3` does not exist.",
    "type": "NotFoundError",
    "param": None,
    "code": 404,
}
SAID = "Who was late?"
ASK = Prompt((Message("system", "You are Nox."), Message("user", SAID)), seed=3)


def chosen(name: str) -> Chosen:
    return choose(QUICK.get(name, name))


def ask(*names: str, **given: Any) -> httpx2.Response:
    """What the server with these faults answers to one request."""
    messages = [{"role": "system", "content": "You are Nox."}, {"role": "user", "content": SAID}]
    with TestClient(server.create(Parrot(), faults=[chosen(name) for name in names])) as client:
        return client.post("/v1/chat/completions", json={"model": "parrot-1", "messages": messages, **given})


def events(response: httpx2.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def stream(*names: str, **given: Any) -> list[Any]:
    response = ask(*names, stream=True, stream_options={"include_usage": True}, **given)
    assert response.status_code == 200
    return events(response)


def deltas(*names: str, **given: Any) -> list[dict[str, Any]]:
    return [choice["delta"] for event in stream(*names, **given) for choice in event["choices"]]


def text(*names: str, **given: Any) -> str:
    return "".join(delta.get("content", "") for delta in deltas(*names, **given))


def finish(*names: str, **given: Any) -> list[str]:
    choices = [choice for event in stream(*names, **given) for choice in event["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


@pytest.mark.parametrize(
    ("name", "asked", "status", "body"),
    [
        ("no-json-object", {"response_format": {"type": "json_object"}}, 400, NO_OBJECT),
        ("no-schema", {"response_format": SCHEMA}, 400, "failed to parse grammar"),
        ("no-tools-vllm", {"tools": TOOLS}, 400, '"auto" tool choice requires --enable-auto-tool-choice'),
        ("no-tools-llamacpp", {"tools": TOOLS}, 500, "tools param requires --jinja flag"),
        ("no-tools-ollama", {"tools": TOOLS}, 400, "does not support tools"),
        ("loading", {}, 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        ("busy", {}, 429, "Too many requests"),
        ("queue-full", {}, 503, "server busy, please try again."),
        ("overflow-llamacpp", {}, 400, "exceeds the available context size (1 tokens)"),
        ("overflow-vllm", {}, 400, "This model's maximum context length is 1 tokens."),
        ("error-nested", {}, 404, "model 'llama3' not found"),
        ("error-object", {}, 404, NO_MODEL),
        ("server-error", {}, 500, "llama runner process has terminated"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [True, False])
def test_a_refusal_is_in_the_servers_own_words(
    name: str, asked: dict[str, Any], status: int, body: Any, streamed: bool
) -> None:
    response = ask(name, stream=streamed, **asked)
    assert response.status_code == status
    if isinstance(body, str):
        assert body in response.json()["error"]["message"]
    else:
        assert response.json() == body


@pytest.mark.parametrize(
    "name", ["no-json-object", "no-schema", "no-tools-vllm", "no-tools-llamacpp", "no-tools-ollama"]
)
def test_what_is_not_asked_for_is_not_refused(name: str) -> None:
    assert text(name).strip() == SAID


@pytest.mark.parametrize("name", ["overflow-lmstudio", "error-text"])
def test_lm_studio_says_an_error_without_an_object_around_it(name: str) -> None:
    assert isinstance(ask(name).json()["error"], str)
    assert ask(name).status_code == 400


def test_a_prompt_that_fits_is_no_overflow() -> None:
    for name in ("overflow-llamacpp", "overflow-lmstudio", "overflow-vllm"):
        asked = {"model": "parrot-1", "messages": [{"role": "user", "content": "x" * 400}]}
        for number, status in ((100, 200), (99, 400)):
            with TestClient(server.create(Parrot(), faults=[choose(f"{name}={number}")])) as client:
                assert client.post("/v1/chat/completions", json=asked).status_code == status


def test_busy_says_when_to_come_back() -> None:
    assert ask("busy").headers["retry-after"] == "1"
    with TestClient(server.create(Parrot(), faults=[choose("busy=30")])) as client:
        response = client.post("/v1/chat/completions", json={"model": "parrot-1", "messages": [USER]})
    assert response.headers["retry-after"] == "30"


def test_loading_ends_with_its_seconds_or_its_calls() -> None:
    body = {"model": "parrot-1", "messages": [USER]}
    clock = HandClock()
    with TestClient(server.create(Parrot(), "llamacpp", [choose("loading=5")], clock)) as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 503
        clock.advance(6)
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    with TestClient(server.create(Parrot(), "llamacpp", [choose("loading", first=2)], SystemClock())) as client:
        assert [client.post("/v1/chat/completions", json=body).status_code for _ in range(3)] == [503, 503, 200]


def test_every_so_manyeth_call_is_struck() -> None:
    body = {"model": "parrot-1", "messages": [USER]}
    with TestClient(server.create(Parrot(), faults=[choose("server-error", first=5, every=2)])) as client:
        told = [client.post("/v1/chat/completions", json=body).status_code for _ in range(6)]
    assert told == [200, 500, 200, 500, 200, 200]


def test_another_model_answers() -> None:
    assert {event["model"] for event in stream("other-model")} == {"another-model"}
    assert ask("other-model").json()["model"] == "another-model"


def test_nothing_is_said() -> None:
    for tools in ({}, {"tools": TOOLS}):
        assert (text("empty", **tools), finish("empty", **tools)) == ("", ["stop"])
        assert (text("length", **tools), finish("length", **tools)) == ("", ["length"])
    assert ask("empty").json()["choices"][0]["message"]["content"] == ""


def test_an_overflow_comes_inside_the_stream() -> None:
    *_, last = stream("overflow-stream")
    assert "greater than the context length" in last["error"]["message"]
    assert ask("overflow-stream").status_code == 500


def test_the_oldest_messages_are_dropped_without_a_word() -> None:
    parrot = Parrot()
    told = [("system", "s" * 40), ("user", "a" * 40), ("user", "b" * 40), ("user", "c" * 40)]
    body = {"model": "parrot-1", "messages": [{"role": role, "content": content} for role, content in told]}
    with TestClient(server.create(parrot, faults=[choose("truncate=30")])) as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert [message.content[0] for message in parrot.seen[0].messages] == ["s", "b", "c"]


exchanges = st.lists(st.sampled_from(["system", "user", "assistant", "called"]), min_size=1, max_size=8)


@given(exchanges, st.lists(st.integers(0, 60), min_size=8, max_size=8), st.integers(0, 60))
def test_what_is_left_of_a_prompt_is_its_system_and_its_end(kinds: list[str], sizes: list[int], context: int) -> None:
    messages: list[Message] = []
    for kind, size in zip(kinds, sizes, strict=False):
        if kind == "called":
            messages += [Message("assistant", "", ()), Message("tool", "t" * size, (), "a")]
        else:
            messages.append(Message(kind, kind[0] * size))  # type: ignore[arg-type]
    bent = faults.FAULTS["truncate"].bend(Prompt(tuple(messages)), context).messages
    assert [m for m in bent if m.role == "system"] == [m for m in messages if m.role == "system"]
    rest = [message for message in bent if message.role != "system"]
    whole = [message for message in messages if message.role != "system"]
    assert rest == whole[len(whole) - len(rest) :]
    assert bool(rest) == bool(whole)
    assert not rest or rest[0].role != "tool"
    if sum(len(message.content) // 4 for message in messages) <= context:
        assert len(bent) == len(messages)


def test_usage_is_missing_or_late() -> None:
    assert not any("usage" in event for event in stream("no-usage"))
    assert "usage" not in ask("no-usage").json()
    begun = time.monotonic()
    *before, last = stream("usage-late")
    assert time.monotonic() - begun > 0.05
    assert last["choices"] == []
    assert not any("usage" in event for event in before)
    assert finish("usage-late") == ["stop"]


@pytest.mark.parametrize(("name", "field"), [("thinks", "reasoning_content"), ("thinks-reasoning", "reasoning")])
def test_thoughts_come_beside_the_text(name: str, field: str) -> None:
    told = deltas(name)
    assert "".join(delta.get(field, "") for delta in told).strip() == THOUGHT
    assert text(name).strip() == SAID
    assert ask(name).json()["choices"][0]["message"][field].strip() == THOUGHT


def test_thoughts_come_in_the_text() -> None:
    assert text("think-tags").strip() == f"<think>{THOUGHT}</think>\n\n{SAID}"
    assert not any("<think>" in delta.get("content", "") for delta in deltas("think-tags"))


def test_thoughts_have_an_end_and_no_beginning() -> None:
    assert text("think-end").strip() == f"{THOUGHT}</think>\n\n{SAID}"


def test_two_calls_have_one_index() -> None:
    pieces = [call for delta in deltas("tool-index", tools=TOOLS) for call in delta.get("tool_calls", ())]
    assert [(piece["index"], piece["id"]) for piece in pieces] == [(0, "call_0_0"), (0, "call_0_1")]
    calls = ask("tool-index", tools=TOOLS).json()["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"where": SAID}] * 2


def test_an_error_is_a_page() -> None:
    response = ask("error-html")
    assert (response.status_code, response.headers["content-type"]) == (502, "text/html")
    assert response.text.count("\n") > 2


def test_two_calls_come_in_turns() -> None:
    pieces = [call for delta in deltas("tool-pieces", tools=TOOLS) for call in delta.get("tool_calls", ())]
    order = [piece["index"] for piece in pieces]
    assert order[:6] == [0, 1, 0, 1, 0, 1]
    for index in (0, 1):
        mine = [piece["function"]["arguments"] for piece in pieces if piece["index"] == index]
        assert json.loads("".join(mine)) == {"where": SAID}
        assert len(mine) > 3
    calls = ask("tool-pieces", tools=TOOLS).json()["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"where": SAID}] * 2


def test_arguments_are_an_object() -> None:
    [call] = [call for delta in deltas("tool-object", tools=TOOLS) for call in delta.get("tool_calls", ())]
    assert call["function"]["arguments"] == {"where": SAID}
    [call] = ask("tool-object", tools=TOOLS).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"where": SAID}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("text-tools-tag", '<tool_call>\n{"name": "look", "arguments": {"where": "Who was late?"}}\n</tool_call>'),
        ("text-tools-fenced", '```json\n{"name": "look", "arguments": {"where": "Who was late?"}}\n```'),
        (
            "text-tools-request",
            '[TOOL_REQUEST]{"name": "look", "arguments": {"where": "Who was late?"}}[END_TOOL_REQUEST]',
        ),
        ("text-tools-bracket", "[TOOL:look:Who was late?]"),
    ],
)
def test_calls_come_as_text(name: str, written: str) -> None:
    assert text(name, tools=TOOLS) == written
    assert finish(name, tools=TOOLS) == ["stop"]
    message = ask(name, tools=TOOLS).json()["choices"][0]["message"]
    assert (message["content"], "tool_calls" in message) == (written, False)


@pytest.mark.parametrize("streamed", [True, False])
def test_rubbish_is_no_json(streamed: bool) -> None:
    response = ask("rubbish", stream=streamed)
    assert response.status_code == 200
    with pytest.raises(ValueError):
        json.loads(response.text.removeprefix("data: "))


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_connection_is_closed_in_the_middle(streamed: bool) -> None:
    async with serving(Parrot(), None, chosen("cut")) as url, httpx2.AsyncClient() as http:
        body = {"model": "parrot-1", "messages": [USER], "stream": streamed}
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post(f"{url}/chat/completions", json=body)


async def test_the_first_byte_comes_late_or_never() -> None:
    body = {"model": "parrot-1", "messages": [USER]}
    async with serving(Parrot(), None, choose("cold=0.2")) as url, httpx2.AsyncClient() as http:
        begun = time.monotonic()
        assert (await http.post(f"{url}/chat/completions", json=body)).status_code == 200
        assert time.monotonic() - begun > 0.15
    async with serving(Parrot(), None, chosen("hang")) as url, httpx2.AsyncClient() as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{url}/chat/completions", json=body, timeout=0.2)


@pytest.mark.parametrize(("name", "least"), [("stall", 1), ("flood", 50)])
async def test_an_answer_stops_for_ever_or_never(name: str, least: int) -> None:
    body = {"model": "parrot-1", "messages": [{"role": "user", "content": "one two"}], "stream": True}
    lines: list[str] = []
    async with serving(Parrot(), None, chosen(name)) as url, httpx2.AsyncClient(timeout=0.3) as http:
        with pytest.raises((httpx2.ReadTimeout, TimeoutError)):  # noqa: PT012 - one statement after the other ends it
            async with asyncio.timeout(0.6), http.stream("POST", f"{url}/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    lines.append(line)  # noqa: PERF401 - what came before the end counts
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    spoken = [chunk["choices"][0]["delta"].get("content") for chunk in told]
    assert spoken[1] == "one"
    assert len(spoken) > least


# What our endpoint makes of it

HURRY = Patience(first=0.4, chunk=0.4, answer=3.0)


async def outcome(name: str, prompt: Prompt) -> tuple[str, tuple[Any, ...]]:
    """(what was said, the calls) or (an error's class, its sentence)."""
    async with serving(Parrot(), None, chosen(name)) as url, asking(url, patience=HURRY) as model:
        try:
            async with asyncio.timeout(5):
                _, completion = await answer(model, prompt)
        except ModelError as error:
            return type(error).__name__, (str(error),)
    return completion.text.strip(), completion.calls


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("asked", [ASK, ASK.with_tools((TOOL,))], ids=["words", "tools"])
async def test_whatever_happens_there_is_an_answer_or_one_sentence(name: str, asked: Prompt) -> None:
    said, more = await outcome(name, asked)
    if said.startswith("Model"):
        assert more[0]
        assert "\n" not in more[0]
    else:
        assert SAID in said or more


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("loading", ModelBusy, "answered 503: Loading model"),
        ("busy", ModelBusy, "answered 429: Too many requests"),
        ("queue-full", ModelBusy, "answered 503: server busy"),
        ("hang", ModelTimeout, r"sent nothing for 0\.4 s"),
        ("stall", ModelTimeout, r"stopped in the middle for 0\.4 s"),
        ("cut", ModelBroke, "broke off in the middle"),
        ("empty", ModelError, "answered with nothing"),
        ("length", ModelError, "raise max_tokens"),
        ("overflow-llamacpp", ModelOverflow, "answered 400: request "),
        ("overflow-lmstudio", ModelOverflow, "answered 400: Trying to keep"),
        ("overflow-vllm", ModelOverflow, "answered 400: This model's maximum"),
        ("overflow-stream", ModelOverflow, "failed while it spoke: The number of tokens to keep"),
        ("error-nested", ModelError, "answered 404: model 'llama3' not found"),
        ("error-text", ModelError, "answered 400: The model has crashed"),
        ("error-object", ModelError, "answered 404: The model `llama3` does not exist"),
        ("server-error", ModelBroke, "answered 500: llama runner process"),
        ("error-html", ModelBroke, "answered 502: .*502 Bad Gateway"),
        ("rubbish", ModelBroke, "sent what cannot be read"),
        ("flood", ModelError, "does not stop"),
    ],
)
async def test_our_endpoint_says_what_is_wrong(name: str, error: type[ModelError], sentence: str) -> None:
    async with serving(Parrot(), None, chosen(name)) as url, asking(url, patience=HURRY) as model:
        with pytest.raises(error, match=sentence):
            await answer(model, ASK)


@pytest.mark.parametrize(
    "name",
    [
        *"other-model no-json-object no-schema no-tools-vllm no-tools-llamacpp no-tools-ollama cold truncate".split(),
        *"no-usage usage-late thinks thinks-reasoning think-tags".split(),
    ],
)
async def test_our_endpoint_gets_the_whole_text_all_the_same(name: str) -> None:
    async with serving(Parrot(), None, chosen(name)) as url, asking(url, patience=HURRY) as model:
        pieces, completion = await answer(model, Prompt(ASK.messages, schema={"type": "object"}))
    assert completion.text.strip() == "".join(pieces).strip() == SAID
    assert completion.model == ("another-model" if name == "other-model" else "parrot-1")
    assert completion.usage.estimated == (name == "no-usage")


@pytest.mark.parametrize("name", ["no-tools-vllm", "no-tools-llamacpp", "no-tools-ollama"])
async def test_our_endpoint_goes_on_without_tools(name: str) -> None:
    assert await outcome(name, ASK.with_tools((TOOL,))) == (SAID, ())


@pytest.mark.parametrize("name", ["tool-pieces", "tool-index", "tool-object", "thinks", "no-usage"])
async def test_our_endpoint_gets_the_calls(name: str) -> None:
    number = 2 if name in ("tool-pieces", "tool-index") else 1
    said, calls = await outcome(name, ASK.with_tools((TOOL,)))
    assert said == ""
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("look", {"where": SAID})] * number


async def test_our_endpoint_keeps_a_form_for_which_it_was_refused() -> None:
    async with serving(Parrot(), None, chosen("no-tools-vllm"), chosen("no-schema")) as url, asking(url) as model:
        forms = [model.form]
        for prompt in (ASK.with_tools((TOOL,)), Prompt(ASK.messages, schema={"type": "object"}), ASK):
            assert (await answer(model, prompt))[1].text.strip() == SAID
            forms.append(model.form)
    assert forms == ["native", "schema", "text", "text"]


def pieced(pieces: list[str]) -> Chosen:
    """The fault `think-end` with its thoughts in these pieces."""
    fault = FAULTS["think-end"]
    return Chosen(replace(fault, spoil=faults._each(faults._thinks_aloud(*pieces))), fault.number)


THINKS = f"{THOUGHT}</think>\n\n"


@pytest.mark.parametrize("size", range(1, len(THINKS) + 1))
async def test_thoughts_that_no_mark_opens_are_never_in_an_answer(size: int) -> None:
    fault = pieced([THINKS[start : start + size] for start in range(0, len(THINKS), size)])
    async with serving(Parrot(), None, fault) as url, asking(url, patience=HURRY) as model:
        with pytest.raises(ModelBroke, match="parrot-1 thought aloud"):
            await answer(model, ASK)
        for _ in range(2):
            pieces, completion = await answer(model, ASK)
            assert "".join(pieces) == completion.text == f"{SAID} "


async def test_thoughts_that_no_mark_opens_and_calls_are_told_apart() -> None:
    async with serving(Parrot(), None, chosen("think-end")) as url, asking(url, patience=HURRY) as model:
        with pytest.raises(ModelBroke, match="thought aloud"):
            await answer(model, ASK.with_tools((TOOL,)))
        pieces, completion = await answer(model, ASK.with_tools((TOOL,)))
    assert (pieces, completion.text) == ([], "")
    assert [call.name for call in completion.calls] == ["look"]


async def test_an_answer_without_thoughts_is_heard_after_one_with_thoughts() -> None:
    """Who speaks the mark by chance, or because somebody orders it, must not be silent for ever after."""
    async with serving(Parrot()) as url, asking(url, patience=HURRY) as model:
        with pytest.raises(ModelBroke):
            await answer(model, Prompt((Message("user", "I say </think> aloud."),)))
        with contextlib.suppress(ModelError):  # one may be lost
            await answer(model, ASK)
        assert (await answer(model, ASK))[1].text.strip() == SAID


# The list


quiet = st.sampled_from(sorted(FAULTS.keys() - {"hang", "stall", "flood", "cut"}))


@settings(max_examples=60)
@given(st.lists(quiet, min_size=2, max_size=3), st.booleans(), st.booleans())
def test_faults_can_be_had_together(names: list[str], streamed: bool, tools: bool) -> None:
    response = ask(*names, stream=streamed, **({"tools": TOOLS} if tools else {}))
    assert response.status_code in (200, 400, 404, 429, 500, 502, 503)


def test_every_fault_is_told_in_one_sentence() -> None:
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert fault.sentence.endswith(".")
        assert "\n" not in fault.sentence
        assert set(fault.servers) <= set(KINDS)
    assert set(PROFILES) == set(HABITS) == set(KINDS)
    assert all(FAULTS[name].servers and kind in FAULTS[name].servers for kind in KINDS for name in HABITS[kind])


def test_the_page_has_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "model-server.md").read_text()
    for fault in FAULTS.values():
        assert f"| `{fault.name}` | {fault.sentence} |" in page


@pytest.mark.parametrize("text", ["ghost", "hang=1", "cold=", "cold=nan", "cold=inf", "cold=-1", "=1", ""])
def test_a_fault_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        choose(text)


def test_the_numbers_of_a_fault_are_its_own_unless_they_are_given() -> None:
    assert choose("truncate").number == 4096
    assert choose("truncate=7.5", 1, 2) == Chosen(FAULTS["truncate"], 7.5, 1, 2)
