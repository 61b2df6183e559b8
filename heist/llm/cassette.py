"""Model calls on a cassette: recorded while a model speaks, played back without it.

A cassette is a file of JSON lines: a header, then one line for each call that came to its end, in the order of the
ends. A tape (`heist.llm.tape`) has the same lines for several models: each then says in `of` whose it is. Both hold
whole prompts and answers, and with them whatever is secret in them (who the mole is, private briefs, what tools found),
so they are created for their owner alone (mode 0600) and belong into no repository.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from heist import errors
from heist.configfile import first_error, sentence
from heist.errors import CassetteMiss, ConfigError, ModelBusy, ModelError
from heist.llm.model import Ability, Completion, Form, Message, Model, Prompt, Wrapper, guess

FORMAT: Literal[1] = 1
NEAR = 24
"""Characters that are shown of each side where two prompts part."""


class Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Header(Line):
    """The first line: whose answers these are. `form` and `warm` are the model's when the recording began."""

    format: Literal[1]
    model: str
    server: str
    simulated: bool
    ability: Ability
    form: Form
    warm: bool
    of: int = 0


class Failure(Line):
    """A `ModelError` by the name of its class."""

    kind: str
    sentence: str
    retry_after: float | None = None

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if not issubclass(getattr(errors, kind, object), ModelError):
            raise ValueError("expected the name of a model error")
        return kind


class Take(Line):
    """One call: what was asked, the pieces as they came, the end that it came to, and the model's form afterwards."""

    prompt: Prompt
    pieces: tuple[str, ...]
    end: Completion | Failure
    form: Form
    of: int = 0


class Counts(Line):
    """Tokens of texts as the server counted them, by the SHA-256 of each text."""

    counts: Mapping[str, int]
    of: int = 0


_HEADER = TypeAdapter(Header)
_TAKE = TypeAdapter(Take)
_COUNTS = TypeAdapter(Counts)
T = TypeVar("T")


def key(prompt: Prompt, model: str) -> str:
    """SHA-256 over the canonical JSON of everything that a model is asked, its own name included."""
    asked = {
        "model": model,
        "messages": prompt.messages,
        "tools": prompt.tools,
        "schema": prompt.schema,
        "temperature": float(prompt.temperature),
        "max_tokens": prompt.max_tokens,
        "seed": prompt.seed,
        "stop": prompt.stop,
    }
    return _digest(json.dumps(asked, sort_keys=True, separators=(",", ":"), default=dict))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Recording(Wrapper):
    """The same model, and each call that ends, well or with a `ModelError`, becomes a line of the file. A call that was
    cancelled or given up in the middle leaves nothing. A file that is there already is continued if it is of the same
    model; else `ConfigError`. On a tape the model is number `of`, counted from 1."""

    def __init__(self, model: Model, path: Path, of: int = 0) -> None:
        super().__init__(model)
        self._path = path
        self._of = of
        self._counted: dict[str, int] = {}
        if not of and path.exists() and path.stat().st_size > 0:
            _continue(path, model.name)
        else:
            begin(path, _header(model, of))

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        """What was counted once stays so, also when the server's tokenizer is gone later: it will be played so."""
        counts, estimated = await super().count(texts)
        told = dict(zip(map(_digest, texts), counts, strict=True))
        fresh = {digest: count for digest, count in told.items() if digest not in self._counted}
        if fresh and not estimated:
            self._keep(Counts(counts=fresh, of=self._of))
            self._counted |= fresh
        return [self._counted.get(digest, told[digest]) for digest in map(_digest, texts)], estimated

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        pieces: list[str] = []
        try:
            async with aclosing(self._model.complete(prompt)) as answer:
                async for chunk in answer:
                    if isinstance(chunk, Completion):  # kept before it is told: who has it may never ask for more
                        self._keep(self._take(prompt, pieces, chunk))
                    else:
                        pieces.append(chunk)
                    yield chunk
        except ModelError as error:
            self._keep(self._take(prompt, pieces, _failure(error)))
            raise

    def _take(self, prompt: Prompt, pieces: Sequence[str], end: Completion | Failure) -> Take:
        return Take(prompt=prompt, pieces=tuple(pieces), end=end, form=self.form, of=self._of)

    def _keep(self, line: Take | Counts) -> None:
        try:
            _append(self._path, line)
        except OSError as error:
            raise ModelError(_unwritable(self._path, error)) from None


def _header(model: Model, of: int) -> Header:
    return Header(
        format=FORMAT,
        model=model.name,
        server=model.server,
        simulated=model.simulated,
        ability=model.ability,
        form=model.form,
        warm=model.warm,
        of=of,
    )


def _continue(path: Path, model: str) -> None:
    header, _ = _read(path)
    if header.model != model:
        raise ConfigError(f"{path}, line 1: it is a recording of {header.model!r}, not of {model!r}")


def _failure(error: ModelError) -> Failure:
    """The error under the nearest name that `heist.errors` knows."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if getattr(errors, cls.__name__, None) is cls)
    return Failure(kind=kind, sentence=str(error), retry_after=getattr(error, "retry_after", None))


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be recorded to: {error.strerror or error}"


def begin(path: Path, line: Line) -> None:
    """Appends a line before anything is said; raises `ConfigError` when it cannot be written."""
    try:
        _append(path, line)
    except OSError as error:
        raise ConfigError(_unwritable(path, error)) from None


def _append(path: Path, line: Line) -> None:
    """The whole line or nothing of it."""
    content = (json.dumps(line.model_dump(), default=dict) + "\n").encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(file).st_size
        if os.write(file, content) < len(content):
            os.ftruncate(file, before)
            raise OSError("there is no room for it")
    finally:
        os.close(file)


class Player:
    """Plays what was recorded of one model: the same pieces, the same end, without waiting, each take once. Equal
    requests get their answers in the order in which they were recorded. Raises `CassetteMiss` for any other."""

    def __init__(self, header: Header, lines: Sequence[Take | Counts]) -> None:
        self.name = header.model
        self.server = header.server
        self.simulated = header.simulated
        self.ability = header.ability
        self.form: Form = header.form
        self.warm = header.warm
        self._takes: dict[str, list[Take]] = {}
        self._counts: dict[str, int] = {}
        self._played: Counter[str] = Counter()
        for line in lines:
            match line:
                case Take():
                    self._takes.setdefault(key(line.prompt, self.name), []).append(line)
                case Counts():
                    self._counts |= line.counts

    async def ready(self) -> None:
        """Always."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        """As they were counted while it was recorded; estimated when one of them was not."""
        known = [self._counts.get(_digest(text)) for text in texts]
        counts = [guess(text) if count is None else count for text, count in zip(texts, known, strict=True)]
        return counts, None in known

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        take = self._next(prompt)
        self.warm = True
        for piece in take.pieces:
            yield piece
        self.form = take.form
        if isinstance(take.end, Failure):
            raise _error(take.end)
        yield take.end

    def _next(self, prompt: Prompt) -> Take:
        wanted = key(prompt, self.name)
        takes = self._takes.get(wanted)
        if takes is None:
            raise CassetteMiss(f"the cassette has no answer to this request: {self._nearest(prompt)}")
        played = self._played[wanted]
        if played == len(takes):
            answers = "one answer" if played == 1 else f"{played} answers"
            raise CassetteMiss(f"the cassette has {answers} to this request, and it was asked once more")
        self._played[wanted] += 1
        return takes[played]

    def _nearest(self, prompt: Prompt) -> str:
        """In which place the request differs from the recorded one that is most like it."""
        recorded = [takes[0].prompt for takes in self._takes.values()]
        if not recorded:
            return "it is empty"
        return _difference(prompt, max(recorded, key=lambda one: _likeness(prompt, one)))


_FIELDS = ("tools", "schema", "temperature", "max_tokens", "seed", "stop")


def _likeness(asked: Prompt, recorded: Prompt) -> tuple[int, int, int]:
    """(messages that are equal, characters that the first other message has in common, other fields that are equal)."""
    pairs = list(zip(asked.messages, recorded.messages, strict=False))
    parted = next((_common(one.content, other.content) for one, other in pairs if one != other), 0)
    fields = sum(getattr(asked, field) == getattr(recorded, field) for field in _FIELDS)
    return sum(one == other for one, other in pairs), parted, fields


def _difference(asked: Prompt, recorded: Prompt) -> str:
    for number, (one, other) in enumerate(zip(asked.messages, recorded.messages, strict=False), 1):
        if one != other:
            return f"message {number} ({one.role}) differs from the nearest recorded one {_parting(one, other)}"
    if len(asked.messages) != len(recorded.messages):
        return f"it has {len(asked.messages)} messages, the nearest recorded one {len(recorded.messages)}"
    field = next((field for field in _FIELDS if getattr(asked, field) != getattr(recorded, field)), "")
    if field in ("tools", "schema"):
        return f"its {field} differs from the nearest recorded one's"
    return f"its {field} is {getattr(asked, field)!r}, the nearest recorded one's {getattr(recorded, field)!r}"


def _parting(one: Message, other: Message) -> str:
    """Both sides where two messages part, and no more of them: they are long, and may be secret."""
    if one.content == other.content:
        return "in its role or its calls"
    start = _common(one.content, other.content)
    asked, recorded = one.content[start : start + NEAR], other.content[start : start + NEAR]
    return f"from character {start} on: {asked!r} is asked, {recorded!r} recorded"


def _common(one: str, other: str) -> int:
    """Characters that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _error(failure: Failure) -> ModelError:
    kind: type[ModelError] = getattr(errors, failure.kind)
    if issubclass(kind, ModelBusy):
        return kind(failure.sentence, failure.retry_after)
    return kind(failure.sentence)


class Cassette(Player):
    """The recording of one model. Raises `ConfigError` when the file is not one that `Recording` wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(*_read(path))


def _read(path: Path) -> tuple[Header, list[Take | Counts]]:
    first, *rest = lines(path)
    if first.startswith(b'{"tape"'):
        raise ConfigError(f"{path} is the tape of a session; `heist run --replay {path}` plays it")
    return parsed(path, 1, first, _HEADER), [line(path, number, text) for number, text in enumerate(rest, 2)]


def lines(path: Path) -> list[bytes]:
    """The lines of a recording, at least one, all of them whole."""
    try:
        found = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(found) > 1 and not found[-1]:
        return found[:-1]
    if found[-1]:
        raise ConfigError(f"{path}, line {len(found)}: the line is cut off")
    return found


def line(path: Path, number: int, text: bytes) -> Take | Counts:
    """A line after the first: a call, or tokens."""
    if text.startswith(b'{"counts"'):
        return parsed(path, number, text, _COUNTS)
    return parsed(path, number, text, _TAKE)


def parsed(path: Path, number: int, text: bytes, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_python(json.loads(text))
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{path}, line {number}: {sentence(first['loc'], first['msg'])}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}, line {number}: expected a line of JSON") from None
