"""A YAML file read into a frozen, typed model; a wrong one is refused in one sentence."""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from heist.errors import ConfigError


class Section(BaseModel):
    """A part of a configuration file: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Misplaced(ValueError):
    """What a validator of a whole file raises: the key that is wrong stands at `place`, below what it validates."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


S = TypeVar("S", bound=Section)
E = TypeVar("E", bound=Mapping[str, Any])


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that refuses a key given twice, which YAML itself forbids and the loader lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path, section: type[S], known: frozenset[str] = frozenset()) -> S:
    """Reads `path`; raises `ConfigError` that names the file, the line or the key, and what was expected. A file that
    has not changed since it was read last is not read again. Validators find `known`, names that only the program can
    know, in their context."""
    try:
        state = path.stat()
        return cast(S, _load(path, section, known, state.st_mtime_ns, state.st_size))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}") from None


def state(path: Path) -> tuple[int, int] | None:
    """What tells one content of a file from the next: when it was changed, and its size. None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _load(path: Path, section: type[S], known: frozenset[str], _changed: int, _size: int) -> S:
    text = path.read_text(encoding="utf-8")
    try:
        root, content = _parsed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: holds what cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}, line 1: expected a mapping of keys, found {type(content).__name__}")
    try:
        return section.model_validate(content, context={"known": known})
    except ValidationError as error:
        first = first_error(error)
        cause = first.get("ctx", {}).get("error")
        place = (*first["loc"], *(cause.place if isinstance(cause, Misplaced) else ()))
        raise ConfigError(f"{path}, line {_line(root, place)}: {sentence(place, first['msg'])}") from None


def line(path: Path, place: Sequence[str | int]) -> int:
    """The line of a file that was read on which the deepest step of `place` that exists begins, counted from 1."""
    return _line(_parsed(path.read_text(encoding="utf-8"))[0], place)


def _parsed(text: str) -> tuple[yaml.Node | None, object]:
    """(the nodes with their marks, the content)."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def first_error(error: ValidationError) -> ErrorDetails:
    """The error to tell of: a key that does not exist before one that is missing, which it was probably meant for."""
    return foremost(error.errors(include_url=False, include_input=False))


def foremost(errors: Sequence[E]) -> E:
    """The same, of errors that are listed already."""
    return next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])


def sentence(place: Sequence[str | int], message: str) -> str:
    """`agents.2.scopes: input should be …`: where, and what was expected, from one pydantic error."""
    where = ".".join(str(step) for step in place)
    expected = message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "there is no such key")
    expected = (
        expected.replace("Tuple should", "the list should")
        .replace("a valid tuple", "a list")
        .partition(", unable to parse")[0]
    )
    expected = expected.replace(" after validation", "")
    expected = expected[:1].lower() + expected[1:]
    return f"{where}: {expected}" if where else expected


def _line(root: yaml.Node | None, place: Sequence[str | int]) -> int:
    """The line on which the deepest step of `place` that exists begins, counted from 1."""
    node, line = root, 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found is None:
                return line
            key, node = found
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line
