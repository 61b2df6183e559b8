"""Tools of others: found by the entry point `heist.tools`, taken in or turned away with a reason."""

import inspect
import logging
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from heist.errors import ConfigError
from heist.services.auth import AGENT_SCOPES, Scope
from heist.services.tools.registry import AnyTool, Arguments, Result, Tool

GROUP = "heist.tools"
_RESERVED = frozenset(Scope) - AGENT_SCOPES
log = logging.getLogger(__name__)


class Found(NamedTuple):
    """What the entry points gave: tools, and for each that was turned away its name and why."""

    tools: tuple[AnyTool, ...]
    refused: Sequence[tuple[str, str]]


def find(builtin: Sequence[AnyTool]) -> Found:
    """The house's tools and those of other packages. One that is wrong is left out; nothing else suffers from it."""
    tools = {tool.name: tool for tool in builtin}
    refused = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            tool = _load(entry)
            if tool.name in tools:
                raise ConfigError(f"there is already a tool {tool.name!r}")
        except ConfigError as error:
            log.info("the tool %s is left out: %s", entry.name, error)
            refused.append((entry.name, str(error)))
        else:
            tools[tool.name] = tool
    return Found(tuple(tools.values()), refused)


def _load(entry: EntryPoint) -> AnyTool:
    try:
        tool = entry.load()
    except (Exception, SystemExit) as error:  # whatever somebody else's module does when it is imported
        raise ConfigError(f"{entry.value} cannot be loaded: {_told(error)}") from None
    if not isinstance(tool, Tool):
        raise ConfigError(f"{entry.value} is {type(tool).__name__}, not a Tool")
    check(tool)
    return tool


def check(tool: AnyTool) -> None:
    """Raises `ConfigError` when a tool could not be offered as it is."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", str(tool.name)):
        raise ConfigError(f"a tool's name is small letters, digits and _, found {tool.name!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*:[a-z][a-z0-9_]*", str(tool.scope)) or tool.scope in _RESERVED:
        raise ConfigError(f"a tool's scope is like weather:read and not one of the house's own, found {tool.scope!r}")
    if not (isinstance(tool.description, str) and tool.description.strip()):
        raise ConfigError("it needs a description, which is all that a model knows of it")
    if not (isinstance(tool.arguments, type) and issubclass(tool.arguments, Arguments) and tool.arguments.model_fields):
        raise ConfigError("its arguments must be a class of Arguments with at least one field")
    if not (isinstance(tool.result, type) and issubclass(tool.result, Result)):
        raise ConfigError("its result must be a class of Result")
    if bare := [name for name, field in tool.arguments.model_fields.items() if not field.description]:
        raise ConfigError(f"its argument {bare[0]!r} needs a description")
    if not (inspect.iscoroutinefunction(tool.run) or inspect.iscoroutinefunction(type(tool.run).__call__)):
        raise ConfigError("what runs it must be an async function of the arguments and the caller")
    try:
        _ = tool.schema, tool.result_schema
    except Exception as error:  # pydantic has several, and fields may bring their own
        raise ConfigError(f"its arguments or its result have no JSON Schema: {_told(error)}") from None


def _told(error: BaseException) -> str:
    """An error of somebody else's in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
