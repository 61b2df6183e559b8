"""Finds the model server: what was asked for, else a local one by its fingerprint, else the simulated crew."""

import asyncio
from typing import Any, NamedTuple

import httpx2

from heist.errors import ModelError, ModelUnreachable

SECONDS = 0.5
PATIENT_SECONDS = 5.0


class Found(NamedTuple):
    """A server that answered, with the chat models that it has, the loaded ones first where it tells."""

    kind: str
    base_url: str
    models: tuple[str, ...]

    def choose(self, wanted: str | None) -> str:
        """The model to ask for: the wanted one, which must be there; else the first."""
        if wanted and self.models and wanted not in self.models:
            raise ModelError(f"{self} has no model {wanted!r}; it has: {', '.join(self.models)}")
        if not wanted and not self.models:
            raise ModelError(f"{self} names no model; set HEIST_MODEL, or load one there")
        return wanted or self.models[0]

    def __str__(self) -> str:
        return f"{self.kind} at {self.base_url}"


async def find(http: httpx2.AsyncClient) -> Found | None:
    """The first local server that proves what it is, in the order LM Studio, Ollama, llama.cpp, vLLM. GET only, all at
    once, half a second each; a port alone proves nothing."""
    searches = await asyncio.gather(_lm_studio(http), _ollama(http), _llama_cpp(http), _vllm(http))
    return next((found for found in searches if found is not None), None)


async def ask(http: httpx2.AsyncClient, base_url: str) -> Found:
    """The server at an address that the user gave; raises `ModelError` when it does not answer like one."""
    base_url = base_url.rstrip("/")
    try:
        response = await http.get(f"{base_url}/models", timeout=PATIENT_SECONDS)
    except httpx2.HTTPError as error:
        raise ModelUnreachable(
            f"the model server at {base_url} cannot be reached: {error or type(error).__name__}"
        ) from None
    content = _json(response)
    if response.status_code != 200 or not isinstance(content, dict):
        raise ModelError(f"{base_url}/models answered {response.status_code} and no list of models; is the path right?")
    return Found("the model server", base_url, _chat_models(content))


def _chat_models(content: dict[str, Any]) -> tuple[str, ...]:
    entries = content.get("data") or content.get("models") or []
    names = [entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict)]
    return tuple(name for name in names if isinstance(name, str) and "embed" not in name.lower())


async def _get(http: httpx2.AsyncClient, url: str) -> Any:
    """The JSON at `url`; None when nobody answers, or not with JSON."""
    try:
        response = await http.get(url, timeout=SECONDS)
    except httpx2.HTTPError:
        return None
    return _json(response) if response.status_code == 200 else None


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


async def _lm_studio(http: httpx2.AsyncClient) -> Found | None:
    root = "http://127.0.0.1:1234"
    new, old = await asyncio.gather(_get(http, f"{root}/api/v1/models"), _get(http, f"{root}/api/v0/models"))
    if isinstance(new, dict) and isinstance(new.get("models"), list):
        models = [
            entry for entry in new["models"] if isinstance(entry, dict) and entry.get("type", "llm") != "embedding"
        ]
        ordered = sorted(models, key=lambda entry: not entry.get("loaded_instances"))
        return Found("LM Studio", f"{root}/v1", tuple(str(entry.get("key") or entry.get("id")) for entry in ordered))
    if isinstance(old, dict) and isinstance(old.get("data"), list):
        models = [entry for entry in old["data"] if isinstance(entry, dict) and entry.get("type") != "embeddings"]
        ordered = sorted(models, key=lambda entry: entry.get("state") != "loaded")
        return Found("LM Studio", f"{root}/v1", tuple(str(entry.get("id")) for entry in ordered))
    return None


async def _ollama(http: httpx2.AsyncClient) -> Found | None:
    root = "http://127.0.0.1:11434"
    version, loaded, listed = await asyncio.gather(
        _get(http, f"{root}/api/version"), _get(http, f"{root}/api/ps"), _get(http, f"{root}/v1/models")
    )
    if not (isinstance(version, dict) and "version" in version and isinstance(listed, dict)):
        return None
    running = _chat_models(loaded) if isinstance(loaded, dict) else ()
    rest = tuple(name for name in _chat_models(listed) if name not in running)
    return Found("Ollama", f"{root}/v1", running + rest)


async def _llama_cpp(http: httpx2.AsyncClient) -> Found | None:
    root = "http://127.0.0.1:8080"
    props, listed = await asyncio.gather(_get(http, f"{root}/props"), _get(http, f"{root}/v1/models"))
    if not isinstance(listed, dict):
        return None
    owners = {entry.get("owned_by") for entry in listed.get("data") or () if isinstance(entry, dict)}
    proven = "llamacpp" in owners or (isinstance(props, dict) and "default_generation_settings" in props)
    return Found("llama.cpp", f"{root}/v1", _chat_models(listed)) if proven else None


async def _vllm(http: httpx2.AsyncClient) -> Found | None:
    root = "http://127.0.0.1:8000"
    version, listed = await asyncio.gather(_get(http, f"{root}/version"), _get(http, f"{root}/v1/models"))
    if not (isinstance(version, dict) and "version" in version and isinstance(listed, dict)):
        return None
    entries = [entry for entry in listed.get("data") or () if isinstance(entry, dict)]
    return (
        Found("vLLM", f"{root}/v1", _chat_models(listed))
        if any("max_model_len" in entry for entry in entries)
        else None
    )
