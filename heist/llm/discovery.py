"""Finds the model server: what was asked for, else a local one by its fingerprint; and what it is able to do."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

from heist.errors import ModelError, ModelUnreachable
from heist.llm.model import Ability

SECONDS = 0.5
PATIENT_SECONDS = 5.0
REACH_SECONDS = 2.0
PORTS = {"LM Studio": 1234, "Ollama": 11434, "llama.cpp": 8080, "vLLM": 8000}
VLLM_SLOTS = 256
"""What vLLM gives at once unless it was told otherwise; it does not tell."""


class Found(NamedTuple):
    """A server that answered, with the chat models that it has, the loaded ones first where it tells, and what each is
    able to do."""

    kind: str
    base_url: str
    models: Mapping[str, Ability]

    def choose(self, wanted: str | None) -> str:
        """The model to ask for: the wanted one, which must be there; else the first."""
        if wanted and self.models and wanted not in self.models:
            raise ModelError(f"{self} has no model {wanted!r}; it has: {', '.join(self.models)}")
        if not wanted and not self.models:
            raise ModelError(f"{self} names no model; set HEIST_MODEL, or load one there")
        return wanted or next(iter(self.models))

    def ability(self, model: str) -> Ability:
        return self.models.get(model, Ability(self.kind))

    def __str__(self) -> str:
        return f"{self.kind} at {self.base_url}"


async def find(http: httpx2.AsyncClient) -> Found | None:
    """The first local server that proves what it is, in the order LM Studio, Ollama, llama.cpp, vLLM. GET only, all at
    once, half a second each; a port alone proves nothing."""
    roots = {kind: f"http://127.0.0.1:{port}" for kind, port in PORTS.items()}
    searches = await asyncio.gather(*(_FINGERPRINTS[kind](http, root, SECONDS) for kind, root in roots.items()))
    return next((found for found in searches if found is not None), None)


async def ask(http: httpx2.AsyncClient, base_url: str) -> Found:
    """The server at an address that the user gave; raises `ModelError` when it does not answer like one."""
    base_url = base_url.rstrip("/")
    try:
        response = await http.get(f"{base_url}/models", timeout=PATIENT_SECONDS)
    except (httpx2.InvalidURL, ValueError) as error:
        raise ModelError(f"{base_url} is no address of a model server: {error}") from None
    except httpx2.HTTPError as error:
        raise ModelUnreachable(
            f"the model server at {base_url} cannot be reached: {error or type(error).__name__}"
        ) from None
    content = _json(response)
    if response.status_code != 200 or not isinstance(content, dict):
        raise ModelError(f"{base_url}/models answered {response.status_code} and no list of models; is the path right?")
    root = base_url.removesuffix("/v1")
    searches = await asyncio.gather(*(known(http, root, PATIENT_SECONDS) for known in _FINGERPRINTS.values()))
    proven = next((found for found in searches if found is not None), None)
    if proven is not None:
        return proven._replace(base_url=base_url)
    return Found("the model server", base_url, {name: Ability("the model server") for name in _chat_models(content)})


async def reach(http: httpx2.AsyncClient, found: Found) -> None:
    """Asks a server that was found for its models once more, and no more than that; raises `ModelUnreachable`."""
    try:
        response = await http.get(f"{found.base_url}/models", timeout=REACH_SECONDS)
    except (httpx2.HTTPError, OSError) as error:
        raise ModelUnreachable(f"{found} does not answer: {error or type(error).__name__}") from None
    if response.status_code >= 400:
        raise ModelUnreachable(f"{found} answers {response.status_code}")


def _entries(content: Any, key: str = "data") -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    return [entry for entry in entries or () if isinstance(entry, dict)]


def _chat_models(content: dict[str, Any]) -> tuple[str, ...]:
    entries = _entries(content) or _entries(content, "models")
    names = [entry.get("id") or entry.get("name") for entry in entries]
    return tuple(name for name in names if isinstance(name, str) and "embed" not in name.lower())


async def _get(http: httpx2.AsyncClient, url: str, seconds: float) -> Any:
    """The JSON at `url`; None when nobody answers, or not with JSON."""
    try:
        response = await http.get(url, timeout=seconds)
    except httpx2.HTTPError:
        return None
    return _json(response) if response.status_code == 200 else None


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


async def _lm_studio(http: httpx2.AsyncClient, root: str, seconds: float) -> Found | None:
    new, old = await asyncio.gather(
        _get(http, f"{root}/api/v1/models", seconds), _get(http, f"{root}/api/v0/models", seconds)
    )
    if isinstance(new, dict) and isinstance(new.get("models"), list):
        models = [entry for entry in _entries(new, "models") if entry.get("type", "llm") != "embedding"]
        ordered = sorted(models, key=lambda entry: not entry.get("loaded_instances"))
        named = {entry.get("key") or entry.get("id"): _lm_studio_new(entry) for entry in ordered}
        return Found("LM Studio", f"{root}/v1", _named(named))
    if isinstance(old, dict) and isinstance(old.get("data"), list):
        models = [entry for entry in _entries(old) if entry.get("type") != "embeddings"]
        ordered = sorted(models, key=lambda entry: entry.get("state") != "loaded")
        return Found("LM Studio", f"{root}/v1", _named({entry.get("id"): _lm_studio_old(entry) for entry in ordered}))
    return None


def _named(models: Mapping[Any, Ability]) -> dict[str, Ability]:
    return {name: ability for name, ability in models.items() if isinstance(name, str) and name}


def _lm_studio_new(entry: dict[str, Any]) -> Ability:
    loaded = _entries(entry, "loaded_instances")
    config = loaded[0].get("config") if loaded else None
    context = _number(config.get("context_length")) if isinstance(config, dict) else None
    able = entry.get("capabilities")
    tools = able.get("trained_for_tool_use") if isinstance(able, dict) else None
    context = context or _number(entry.get("max_context_length"))
    return Ability("LM Studio", context, 1, tools if isinstance(tools, bool) else None, True)


def _lm_studio_old(entry: dict[str, Any]) -> Ability:
    context = _number(entry.get("loaded_context_length")) or _number(entry.get("max_context_length"))
    able = entry.get("capabilities")
    return Ability("LM Studio", context, 1, "tool_use" in able if isinstance(able, list) else None, True)


async def _ollama(http: httpx2.AsyncClient, root: str, seconds: float) -> Found | None:
    version, loaded, listed = await asyncio.gather(
        _get(http, f"{root}/api/version", seconds),
        _get(http, f"{root}/api/ps", seconds),
        _get(http, f"{root}/v1/models", seconds),
    )
    if not (isinstance(version, dict) and "version" in version and isinstance(loaded, dict | None)):
        return None
    if loaded is None or not isinstance(listed, dict):
        return None
    contexts = {entry.get("name"): _number(entry.get("context_length")) for entry in _entries(loaded, "models")}
    names = dict.fromkeys((*_chat_models(loaded), *_chat_models(listed)))
    return Found("Ollama", f"{root}/v1", {name: Ability("Ollama", contexts.get(name), 1) for name in names})


async def _llama_cpp(http: httpx2.AsyncClient, root: str, seconds: float) -> Found | None:
    props, listed = await asyncio.gather(_get(http, f"{root}/props", seconds), _get(http, f"{root}/v1/models", seconds))
    if not isinstance(listed, dict):
        return None
    owned = any(entry.get("owned_by") == "llamacpp" for entry in _entries(listed))
    told = props if isinstance(props, dict) and "default_generation_settings" in props else None
    if not owned and told is None:
        return None
    ability = _llama_cpp_ability(told or {})
    return Found("llama.cpp", f"{root}/v1", dict.fromkeys(_chat_models(listed), ability))


def _llama_cpp_ability(props: dict[str, Any]) -> Ability:
    settings = props.get("default_generation_settings")
    context = _number(settings.get("n_ctx")) if isinstance(settings, dict) else None
    able = props.get("chat_template_caps")
    tools = able.get("supports_tool_calls") if isinstance(able, dict) else None
    slots = _number(props.get("total_slots"))
    return Ability("llama.cpp", context, slots or 1, tools if isinstance(tools, bool) else None, True, True)


async def _vllm(http: httpx2.AsyncClient, root: str, seconds: float) -> Found | None:
    version, listed = await asyncio.gather(
        _get(http, f"{root}/version", seconds), _get(http, f"{root}/v1/models", seconds)
    )
    entries = _entries(listed)
    if not (isinstance(version, dict) and "version" in version and any("max_model_len" in entry for entry in entries)):
        return None
    contexts = {str(entry.get("id")): _number(entry.get("max_model_len")) for entry in entries}
    able = {name: Ability("vLLM", contexts[name], VLLM_SLOTS, None, True, True) for name in _chat_models(listed)}
    return Found("vLLM", f"{root}/v1", able)


_FINGERPRINTS = {"LM Studio": _lm_studio, "Ollama": _ollama, "llama.cpp": _llama_cpp, "vLLM": _vllm}
