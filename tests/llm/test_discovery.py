"""Servers are known by their fingerprint, never by their port."""

import httpx2
import pytest
import respx

from heist.errors import ModelError, ModelUnreachable
from heist.llm import discovery
from heist.llm.discovery import Found

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
    assert (found.kind, found.models) == (kind, models)


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
    found = Found("vLLM", VLLM, ("a", "b"))
    assert (found.choose(None), found.choose("b")) == ("a", "b")
    with pytest.raises(ModelError, match="has no model 'c'; it has: a, b"):
        found.choose("c")
    with pytest.raises(ModelError, match="names no model; set HEIST_MODEL"):
        Found("vLLM", VLLM, ()).choose(None)
    assert Found("vLLM", VLLM, ()).choose("c") == "c"


async def test_a_given_address_must_answer_like_a_model_server() -> None:
    with respx.mock(using="httpcore2") as network:
        network.get("http://down/v1/models").mock(side_effect=httpx2.ConnectError("refused"))
        network.get("http://web/v1/models").respond(200, html="<h1>hello</h1>")
        network.get("http://good/v1/models").respond(200, json={"data": [{"id": "m"}]})
        async with httpx2.AsyncClient() as http:
            with pytest.raises(ModelUnreachable, match="http://down/v1 cannot be reached: refused"):
                await discovery.ask(http, "http://down/v1")
            with pytest.raises(ModelError, match="no list of models; is the path right"):
                await discovery.ask(http, "http://web/v1/")
            assert (await discovery.ask(http, "http://good/v1/")).models == ("m",)
