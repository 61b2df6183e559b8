"""A look at every part: what was found, what is missing, what to do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from heist.agents import crew as crews
from heist.agents import mole
from heist.errors import HeistError
from heist.origins import strangers
from heist.runtime import Runtime
from heist.services.auth import Principal, Scope
from heist.store.migrate import revisions
from heist.world import scenario as scenarios

SECONDS = 3.0
"""How long a part may take to answer."""
NAME = "checkup"


class Finding(NamedTuple):
    """What a look at one part found; `advice` is what to do about it, empty when all is well."""

    part: str
    well: bool
    found: str
    advice: str = ""


async def examine(runtime: Runtime) -> list[Finding]:
    """Looks at every part, changes nothing, and says what is missing and what to do."""
    return [
        _settings(runtime),
        _address(runtime),
        await asyncio.to_thread(_database, runtime),
        _oauth(runtime),
        await asyncio.to_thread(_tools, runtime),
        *[Finding(f"tool {name}", False, why, "mend or remove the package") for name, why in runtime.plugins.refused],
        _memory(),
        await asyncio.to_thread(_detection, runtime),
        *await asyncio.to_thread(_crews, runtime),
        await asyncio.to_thread(_game, runtime),
        await _model(runtime),
        _telemetry(runtime),
    ]


async def ready(runtime: Runtime) -> Mapping[str, str]:
    """What keeps this house from serving, by part; empty for a part that answers. A sentence names nothing of the
    inside: no path, no address, no message of somebody else's."""
    parts: dict[str, Callable[[Runtime], Awaitable[str]]] = {
        "database": _database_answers,
        "model": _model_answers,
        "oauth": _oauth_answers,
        "tools": _tools_answer,
        "memory": _memory_answers,
    }
    told = await asyncio.gather(*(_answered(look, runtime) for look in parts.values()))
    return dict(zip(parts, told, strict=True))


async def _answered(look: Callable[[Runtime], Awaitable[str]], runtime: Runtime) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            return await look(runtime)
    except TimeoutError:
        return f"does not answer within {SECONDS:g} s"
    except HeistError as error:
        return f"does not answer ({error.code})"


async def _database_answers(runtime: Runtime) -> str:
    at, wanted = await asyncio.to_thread(revisions, runtime.engine)
    if at != wanted:
        return "is not at the schema of this version"
    await asyncio.to_thread(runtime.processes.beat)  # a disk that is full can still be read
    return ""


async def _model_answers(runtime: Runtime) -> str:
    await runtime.source.reach()
    return ""


async def _oauth_answers(runtime: Runtime) -> str:
    """A client comes, gets a token, is known by it, and is gone."""
    client, secret = runtime.clients.register(NAME, frozenset(), NAME)
    try:
        granted = await runtime.server.grant(client, secret)
        await runtime.auth.verify(granted.access_token)
    finally:
        runtime.clients.remove(client)
    return ""


async def _tools_answer(runtime: Runtime) -> str:
    if not any(runtime.registry.is_on(name) for name in runtime.registry.tools):
        return "are all switched off"
    if not runtime.registry.is_on("calculator"):
        return ""
    called = await runtime.registry.call(Principal(NAME, frozenset({Scope.CALCULATOR})), "calculator", "6 * 7")
    return "" if called.success else "do not answer"


async def _memory_answers(runtime: Runtime) -> str:
    await runtime.memory.recall(Principal(NAME, frozenset({Scope.MEMORY_READ}), NAME), 50, 0)
    return ""


def _settings(runtime: Runtime) -> Finding:
    chosen, switches = runtime.settings, runtime.switches
    unknown = strangers()
    off = [name for name, on in switches.flags.model_dump().items() if not on]
    told = [f"layer {chosen.env}" if chosen.env else "no layer (HEIST_ENV is not set)"]
    told += [f"switched off: {', '.join(off)}"] if off else []
    if switches.problem:
        return Finding("settings", False, switches.problem, "mend the file")
    told += [str(one) for one in unknown]
    if any(one.near for one in unknown):
        return Finding("settings", False, ", ".join(told), "mend it; heist config show tells what holds")
    return Finding("settings", True, ", ".join(told))


def _address(runtime: Runtime) -> Finding:
    chosen = runtime.settings
    kept = "HEIST_SECRET is set" if chosen.secret else "no HEIST_SECRET, so logins end when the server stops"
    return Finding("address", True, f"http://{chosen.host}:{chosen.port}, {kept}")


def _database(runtime: Runtime) -> Finding:
    engine = runtime.engine
    try:
        at, wanted = revisions(engine)
    except HeistError as error:
        return Finding("database", False, str(error), "check HEIST_DATABASE_URL")
    if at is None:
        return Finding("database", True, f"{engine.url!r} is new and will be set up at the first start")
    if at != wanted:
        return Finding("database", True, f"{engine.url!r} is at {at} and will be brought to {wanted}")
    return Finding("database", True, f"{engine.url!r} is up to date")


def _oauth(runtime: Runtime) -> Finding:
    keys = ", ".join(f"{key.algorithm} {key.kid}" for key in runtime.keys.ring.values())
    return Finding("oauth", True, f"tokens are signed by {runtime.keys.first.algorithm}; good are those of {keys}")


def _tools(runtime: Runtime) -> Finding:
    try:
        kept = runtime.queries.switched() if revisions(runtime.engine)[0] else {}
    except HeistError:
        kept = {}  # the database has a finding of its own
    off = {name for name, kind in kept.items() if kind == "tool.removed"}
    names = [f"{name} (switched off)" if name in off else name for name in runtime.registry.tools]
    if names and off >= set(runtime.registry.tools):
        return Finding("tools", False, f"all are switched off: {', '.join(off)}", "switch them on by PUT /admin/tools")
    return Finding("tools", True, ", ".join(names))


def _memory() -> Finding:
    return Finding("memory", True, "is the log; blocks are written by the model of each session")


def _detection(runtime: Runtime) -> Finding:
    if not runtime.desk.is_on():
        return Finding("detection", True, "switched off, by the flag detection")
    try:
        parts = runtime.desk.parts
    except HeistError as error:
        return Finding("detection", False, str(error), "mend the file; detection is off until then")
    if parts.found.refused:
        name, why = parts.found.refused[0]
        return Finding("detection", False, f"{name}: {why}", "mend or remove the package")
    judge = parts.settings.judge.arm
    beside = f"{parts.settings.live} beside sessions, judge {judge}"
    return Finding("detection", True, f"{', '.join(parts.found.parts)}; {beside}")


def _crews(runtime: Runtime) -> list[Finding]:
    folder = runtime.settings.config
    names = crews.crews(folder) if folder.is_dir() else []
    if not names:
        return [Finding("crews", False, f"{folder} holds no crew", "check HEIST_CONFIG")]
    return [_crew(runtime, name) for name in names]


def _crew(runtime: Runtime, name: str) -> Finding:
    folder = runtime.settings.config
    try:
        crew = crews.read(folder, name, runtime.registry.scopes)
        scenario = scenarios.read(folder, crew.scenario)
    except HeistError as error:
        return Finding(f"{name}.yaml", False, str(error), "mend the file; a session reads it when it starts")
    variants = f", variants {', '.join(crew.variants)}" if crew.variants else ""
    told = f"{crew.name}: {len(crew.agents)} agents, {crew.rounds} rounds, {scenario.title}{variants}"
    return Finding(f"{name}.yaml", True, told)


def _game(runtime: Runtime) -> Finding:
    try:
        rules = mole.read(runtime.settings.config)
    except HeistError as error:
        return Finding("game", False, str(error), "mend the file, or the package; no session begins without it")
    return Finding("game", True, f"strategies: {', '.join(sorted(rules.strategies))}")


def _telemetry(runtime: Runtime) -> Finding:
    address, text = runtime.telemetry.address, runtime.settings.trace_text
    return Finding(
        "tracing", True, f"spans go to {address}, words: {text}" if address else "off, as HEIST_OTLP is not set"
    )


async def _model(runtime: Runtime) -> Finding:
    source = runtime.source
    try:
        model = await source.model()
        await source.reach()
    except HeistError as error:
        return Finding("model", False, str(error), "start it, or mend HEIST_LLM or HEIST_MODEL")
    if model.simulated:
        return Finding("model", True, source.notice or "the crew is simulated, as HEIST_LLM says")
    able = model.ability
    known = [
        f"{able.context} tokens of context" if able.context else "context not told",
        f"{able.slots} at once" if able.slots else "as many at once as it bears",
        f"tools {model.form}",
        "counts tokens" if able.tokenizer else "tokens estimated",
    ]
    return Finding("model", True, f"{model.name} by {model.server}: {', '.join(known)}")
