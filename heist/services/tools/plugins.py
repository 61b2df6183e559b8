"""Tools of others: found by the entry point `heist.tools`, taken in or turned away with a reason."""

import inspect
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint

from heist.errors import ConfigError
from heist.services import plugins
from heist.services.auth import AGENT_SCOPES, Scope
from heist.services.plugins import Found, told
from heist.services.tools.registry import AnyTool, Arguments, Result, Tool

GROUP = "heist.tools"
_RESERVED = frozenset(Scope) - AGENT_SCOPES


def find(builtin: Sequence[AnyTool]) -> Found[AnyTool]:
    """The house's tools and those of other packages."""
    return plugins.find(GROUP, builtin, _taken)


def _taken(entry: EntryPoint) -> AnyTool:
    tool = plugins.loaded(entry)
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
        raise ConfigError(f"its arguments or its result have no JSON Schema: {told(error)}") from None
