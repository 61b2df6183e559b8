"""Servers are known by their fingerprint, never by their port."""

import re

import httpx2
import pytest
import respx

from heist.errors import ModelError, ModelUnreachable
from heist.llm import discovery
from heist.llm.discovery import VLLM_SLOTS, Found
from heist.llm.model import Ability

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S19")]
LM, OLLAMA, LLAMA, VLLM = (f"http://127.0.0.1:{port}" for port in (1234, 11434, 8080, 8000))


async def find(answers: dict[str, object]) -> Found | None:
    with respx.mock(using="httpcore2", assert_all_called=False) as network:
        for url, content in answers.items():
            network.get(url).respond(200, json=content)
        network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
        async with httpx2.AsyncClient() as http:
            return await discovery.find(http)


@pytest.mark.parametrize(
    ("answers", "kind", "models"),
    [
        (
            {
                f"{LM}/api/v1/models": {
                    "models": [
                        {"type": "llm", "key": "cold", "loaded_instances": []},
                        {"type": "llm", "key": "warm", "loaded_instances": [{"id": "warm"}]},
                        {"type": "embedding", "key": "nomic"},
                    ]
                }
            },
            "LM Studio",
            ("warm", "cold"),
        ),
        (
            {
                f"{LM}/api/v0/models": {
                    "data": [
                        {"id": "cold", "type": "llm", "state": "not-loaded"},
                        {"id": "warm", "type": "llm", "state": "loaded"},
                        {"id": "nomic", "type": "embeddings", "state": "loaded"},
                    ]
                }
            },
            "LM Studio",
            ("warm", "cold"),
        ),
        (
            {
                f"{OLLAMA}/api/version": {"version": "0.9"},
                f"{OLLAMA}/api/ps": {"models": [{"name": "warm"}]},
                f"{OLLAMA}/v1/models": {"data": [{"id": "cold"}, {"id": "warm"}, {"id": "mxbai-embed-large"}]},
            },
            "Ollama",
            ("warm", "cold"),
        ),
        (
            {f"{LLAMA}/v1/models": {"data": [{"id": "small", "owned_by": "llamacpp"}]}},
            "llama.cpp",
            ("small",),
        ),
        (
            {
                f"{LLAMA}/props": {"default_generation_settings": {}},
                f"{LLAMA}/v1/models": {"data": [{"id": "small"}]},
            },
            "llama.cpp",
            ("small",),
        ),
        (
            {
                f"{VLLM}/version": {"version": "0.10"},
                f"{VLLM}/v1/models": {"data": [{"id": "large", "max_model_len": 4096}]},
            },
            "vLLM",
            ("large",),
        ),
    ],
)
async def test_a_server_is_known_by_its_fingerprint(
    answers: dict[str, object], kind: str, models: tuple[str, ...]
) -> None:
    found = await find(answers)
    assert found is not None
    assert (found.kind, tuple(found.models)) == (kind, models)
    assert {able.kind for able in found.models.values()} == {kind}


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {f"{LLAMA}/v1/models": {"data": [{"id": "x"}]}},
        {f"{VLLM}/v1/models": {"data": [{"id": "x"}]}, f"{VLLM}/version": {"version": "1"}},
        {f"{OLLAMA}/api/version": ["rubbish"], f"{OLLAMA}/v1/models": []},
        {f"{LM}/api/v1/models": "hello", f"{LM}/api/v0/models": {"data": 7}},
    ],
)
async def test_a_port_alone_proves_nothing(answers: dict[str, object]) -> None:
    assert await find(answers) is None


async def test_lm_studio_comes_before_the_others() -> None:
    found = await find(
        {
            f"{LLAMA}/v1/models": {"data": [{"id": "small", "owned_by": "llamacpp"}]},
            f"{LM}/api/v1/models": {"models": [{"type": "llm", "key": "one"}]},
        }
    )
    assert found is not None
    assert found.kind == "LM Studio"


async def test_a_model_is_chosen_by_name_or_is_the_first() -> None:
    found = Found("vLLM", VLLM, {"a": Ability("vLLM", 4096), "b": Ability("vLLM")})
    assert (found.choose(None), found.choose("b")) == ("a", "b")
    with pytest.raises(ModelError, match="has no model 'c'; it has: a, b"):
        found.choose("c")
    with pytest.raises(ModelError, match="names no model; set HEIST_MODEL"):
        Found("vLLM", VLLM, {}).choose(None)
    assert Found("vLLM", VLLM, {}).choose("c") == "c"
    assert (found.ability("a").context, found.ability("c")) == (4096, Ability("vLLM"))


async def test_a_given_address_must_answer_like_a_model_server() -> None:
    with respx.mock(using="httpcore2", assert_all_called=False) as network:
        network.get("http://down/v1/models").mock(side_effect=httpx2.ConnectError("refused"))
        network.get("http://web/v1/models").respond(200, html="<h1>hello</h1>")
        network.get("http://good/v1/models").respond(200, json={"data": [{"id": "m"}]})
        network.get(url__regex="http://good/.*").respond(404)
        async with httpx2.AsyncClient() as http:
            with pytest.raises(ModelUnreachable, match="http://down/v1 cannot be reached: refused"):
                await discovery.ask(http, "http://down/v1")
            with pytest.raises(ModelError, match="no list of models; is the path right"):
                await discovery.ask(http, "http://web/v1/")
            found = await discovery.ask(http, "http://good/v1/")
    assert found == Found("the model server", "http://good/v1", {"m": Ability("the model server")})


async def test_an_address_that_is_none_is_an_error() -> None:
    async with httpx2.AsyncClient() as http:
        for address in ("http://host:port/v1", "http://[::1", "host/v1", "http://"):
            with pytest.raises(ModelError):
                await discovery.ask(http, address)


PROPS = {
    "default_generation_settings": {"n_ctx": 8192},
    "total_slots": 4,
    "chat_template_caps": {"supports_tool_calls": False},
}


def lm_studio(**entry: object) -> dict[str, object]:
    return {f"{LM}/api/v1/models": {"models": [{"type": "llm", "key": "m", **entry}]}}


def lm_studio_before(**entry: object) -> dict[str, object]:
    return {f"{LM}/api/v0/models": {"data": [{"type": "llm", "id": "m", **entry}]}}


def ollama(*loaded: dict[str, object]) -> dict[str, object]:
    return {
        f"{OLLAMA}/api/version": {"version": "0.9"},
        f"{OLLAMA}/api/ps": {"models": [*loaded]},
        f"{OLLAMA}/v1/models": {"data": [{"id": "m"}]},
    }


def llama_cpp(props: object) -> dict[str, object]:
    return {f"{LLAMA}/props": props, f"{LLAMA}/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp"}]}}


def vllm(**entry: object) -> dict[str, object]:
    return {f"{VLLM}/version": {"version": "0.10"}, f"{VLLM}/v1/models": {"data": [{"id": "m", **entry}]}}


LOADED = [{"id": "m", "config": {"context_length": 4096}}]
ABLE: list[tuple[dict[str, object], Ability]] = [
    (
        lm_studio(loaded_instances=LOADED, max_context_length=32768, capabilities={"trained_for_tool_use": True}),
        Ability("LM Studio", 4096, 1, True, True),
    ),
    (
        lm_studio(loaded_instances=[], max_context_length=32768, capabilities={"trained_for_tool_use": False}),
        Ability("LM Studio", 32768, 1, False, True),
    ),
    (lm_studio(), Ability("LM Studio", None, 1, None, True)),
    (
        lm_studio(loaded_instances=[{"config": 7}], max_context_length=True, capabilities=["x"]),
        Ability("LM Studio", None, 1, None, True),
    ),
    (
        lm_studio_before(loaded_context_length=4096, max_context_length=32768, capabilities=["tool_use"]),
        Ability("LM Studio", 4096, 1, True, True),
    ),
    (lm_studio_before(max_context_length=32768, capabilities=[]), Ability("LM Studio", 32768, 1, False, True)),
    (lm_studio_before(), Ability("LM Studio", None, 1, None, True)),
    (ollama({"name": "m", "context_length": 4096}), Ability("Ollama", 4096, 1)),
    (ollama({"name": "m", "context_length": "4096"}), Ability("Ollama", None, 1)),
    (ollama(), Ability("Ollama", None, 1)),
    (llama_cpp(PROPS), Ability("llama.cpp", 8192, 4, False, True, True)),
    (
        llama_cpp(PROPS | {"chat_template_caps": {"supports_tool_calls": True}, "total_slots": 0}),
        Ability("llama.cpp", 8192, 1, True, True, True),
    ),
    (llama_cpp({"default_generation_settings": None}), Ability("llama.cpp", None, 1, None, True, True)),
    (llama_cpp({"error": "behind a key"}), Ability("llama.cpp", None, 1, None, True, True)),
    (vllm(max_model_len=16384), Ability("vLLM", 16384, VLLM_SLOTS, None, True, True)),
    (vllm(max_model_len=None), Ability("vLLM", None, VLLM_SLOTS, None, True, True)),
]


@pytest.mark.parametrize(("answers", "able"), ABLE)
async def test_what_a_server_tells_of_a_model_is_read(answers: dict[str, object], able: Ability) -> None:
    found = await find(answers)
    assert found is not None
    assert found.models == {"m": able}


@pytest.mark.parametrize(("answers", "able"), ABLE)
async def test_a_given_address_is_fingerprinted_too(answers: dict[str, object], able: Ability) -> None:
    """Behind any port, and with the address that was given."""
    with respx.mock(using="httpcore2", assert_all_called=False) as network:
        listed = {f"http://box:9/{path}": {"data": [{"id": "other"}]} for path in ("v1/models", "models")}
        moved = {re.sub(r"127\.0\.0\.1:\d+", "box:9", url): content for url, content in answers.items()}
        for url, content in (listed | moved).items():
            network.get(url).respond(200, json=content)
        network.get(url__regex=".*").respond(404)
        async with httpx2.AsyncClient() as http:
            for address in ("http://box:9/v1", "http://box:9/v1/", "http://box:9"):
                found = await discovery.ask(http, address)
                assert found == Found(able.kind, address.rstrip("/"), {"m": able})


async def test_a_loaded_embedding_model_is_never_chosen() -> None:
    found = await find(ollama({"name": "nomic-embed-text:latest", "context_length": 2048}))
    assert found is not None
    assert found.choose(None) == "m"


@pytest.mark.parametrize("answers", [lm_studio(key=None), lm_studio_before(id=None), ollama({"context_length": 1})])
async def test_a_model_without_a_name_is_none(answers: dict[str, object]) -> None:
    found = await find(answers)
    assert found is not None
    assert "None" not in found.models
