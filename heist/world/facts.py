"""Facts: what may be true of a place, with the words and the values in which people speak of it."""

import re
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictInt, StrictStr, StringConstraints, model_validator
from pydantic.config import JsonDict

from heist.configfile import Section

Value = str | int
"""Clock times are text such as "02:10", choices are text, minutes and numbers are whole numbers."""
Type = Literal["clock", "minutes", "number", "choice"]
Family = Literal["timing", "information"]
Given = StrictInt | StrictStr
Label = Annotated[str, StringConstraints(pattern=r"^[a-z]+( [a-z]+)*$", max_length=60)]
Wording = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]

DAY = 24 * 60
LARGEST = 9_999
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:.h]([0-5]\d)")
_HEDGE = re.compile(r"(?:(?:at|about|around|roughly|circa|for|the|is|by|~)\s+)+|~\s*")
_TAIL = re.compile(r"(\d{1,4})(?:\s+[a-z]+(?: [a-z]+)?|\s*min\.?|\s*m)?")
_EXPECTED = {
    "clock": "a clock time such as 02:10",
    "minutes": "a number of minutes such as 12",
    "number": "a whole number such as 12",
}


def clock(minutes: int) -> str:
    """`130` as "02:10"; whole days are left out."""
    hours, rest = divmod(minutes % DAY, 60)
    return f"{hours:02d}:{rest:02d}"


def minutes(text: str) -> int:
    """Minutes since midnight of a clock time; raises `ValueError`."""
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected {_EXPECTED['clock']}, found {text[:40]!r}")
    return int(found[1]) * 60 + int(found[2])


def expected(type_: Type, among: tuple[str, ...] = ()) -> str:
    """What a value of this type looks like, for sentences."""
    return _EXPECTED.get(type_) or f"one of: {' | '.join(among)}"


def parse(type_: Type, text: str, among: tuple[str, ...] = ()) -> Value:
    """The value that somebody wrote: "about 12 minutes" is 12, "2.11" is "02:11", and a choice may be written in
    capitals and with an article. Raises `ValueError` in a sentence that says what was expected."""
    bare = " ".join(text.lower().replace("_", " ").split()).strip(" .'\"")
    bare = bare if type_ == "choice" else _HEDGE.sub("", bare, count=1) if _HEDGE.match(bare) else bare
    match type_:
        case "clock" if found := _CLOCK.fullmatch(bare.removesuffix(" o'clock")):
            return clock(int(found[1]) * 60 + int(found[2]))
        case "minutes" | "number" if bare.isascii() and (counted := _TAIL.fullmatch(bare)):
            return int(counted[1])
        case "choice":
            for one in among:
                if bare.removeprefix("the ") == one.lower().removeprefix("the "):
                    return one
    raise ValueError(f"expected {expected(type_, among)}, found {text.strip()[:40]!r}")


def check(type_: Type, value: Value) -> Value:
    """The value in its one form; raises `ValueError` when it is not of the type."""
    if type_ == "clock" and isinstance(value, str):
        return clock(minutes(value))
    if type_ == "clock" or isinstance(value, str) != (type_ == "choice"):
        raise ValueError(f"expected {_EXPECTED.get(type_, 'a text')} (times in quotes), found {value!r}")
    if isinstance(value, int) and not 0 <= value <= LARGEST:
        raise ValueError(f"expected a whole number from 0 to {LARGEST}, found {value}")
    return value


def _shape(schema: JsonDict) -> None:
    schema["required"] = ["value"]  # what else a fact has may follow from it


class Fact(Section):
    """Something true, which a game draws anew. Everybody calls it by its `label`; `wrong` are plausible errors about
    it: offsets where it counts, other choices where it names. What is `decoration` may lack all that, and changes
    nothing. A choice with `article` is spoken of with "the"."""

    model_config = ConfigDict(json_schema_extra=_shape)
    label: Label | Literal[""] = ""
    also: tuple[Label, ...] = ()
    type: Type
    unit: str = Field("", pattern=r"^([a-z]+( [a-z]+)?)?$")
    value: Given
    draw: tuple[Given, ...] = ()
    wrong: tuple[Given, ...] = ()
    wordings: tuple[Wording, ...] = ()
    family: Family
    decoration: bool = False
    article: bool = False

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: object) -> object:
        """The type of a decoration, the family and the draw follow from the rest when they are left out."""
        if not isinstance(given, dict) or "value" not in given:
            return given
        full = dict(given)
        if full.get("decoration") is True:
            full.setdefault("type", "number" if isinstance(full["value"], int) else "choice")
        full.setdefault("draw", [full["value"]])
        full.setdefault("family", "timing" if full.get("type") in ("clock", "minutes") else "information")
        if full.get("type") == "minutes":
            full.setdefault("unit", "minutes")
        return full

    @model_validator(mode="after")
    def _of_its_type(self) -> Self:
        if self.decoration:
            return self
        for value in (self.value, *self.draw):
            if check(self.type, value) != value:
                raise ValueError(f"write {value!r} as {check(self.type, value)!r}")
        if self.value not in self.draw:
            raise ValueError(f"the value {self.value!r} is not among those to draw: {list(self.draw)}")
        if not self.label:
            raise ValueError("what is no decoration needs a label, by which everybody calls it")
        for wording in self.wordings:
            if wording.count("{value}") != 1:
                raise ValueError(f"the wording {wording!r} must hold {{value}} once")
            if not re.search(r"\w", wording.replace("{value}", "")):
                raise ValueError(f"the wording {wording!r} needs words beside {{value}}")
        self._check_wrong()
        return self

    def _check_wrong(self) -> None:
        wanted = str if self.type == "choice" else int
        if not all(isinstance(wrong, wanted) for wrong in self.wrong):
            raise ValueError("wrong holds other choices for a choice, and offsets such as -20 for everything else")
        for value in self.draw:
            if not self.wrongs(value):
                raise ValueError(f"nothing in wrong is wrong when the value is {value!r}")
        if self.type in ("minutes", "number") and min(map(int, self.draw)) + min(0, *map(int, self.wrong)) < 1:
            raise ValueError("the smallest value less the largest offset must leave 1 or more")

    @property
    def among(self) -> tuple[str, ...]:
        """All that a choice may be thought to be; nothing for other types."""
        if self.type != "choice":
            return ()
        return tuple(dict.fromkeys(str(value) for value in (*self.draw, *self.wrong)))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.label, *self.also)

    @property
    def units(self) -> tuple[str, ...]:
        """The unit for many and for one: "inches" and "inch"; nothing when there is none."""
        one = re.sub(r"(?<=ch|sh)es$|(?<=x)es$|(?<!s)s$", "", self.unit)
        return (self.unit, one) if self.unit else ()

    def wrongs(self, value: Value) -> tuple[Value, ...]:
        """The plausible wrong values when `value` is true; never `value` itself."""
        found: list[Value] = []
        for wrong in self.wrong:
            match self.type, wrong, value:
                case "clock", int(), str():
                    found.append(clock(minutes(value) + wrong))
                case "choice", _, _:
                    found.append(wrong)
                case _, int(), int():
                    found.append(value + wrong)
        return tuple(one for one in dict.fromkeys(found) if one != value)

    def shown(self, value: Value) -> str:
        """The value with its unit: "12 inches"."""
        if self.article:
            return f"the {value}"
        if not self.unit or isinstance(value, str):
            return str(value)
        return f"{value} {self.units[-1] if value == 1 else self.unit}"

    def said(self, value: Value) -> str:
        """The plainest clause that claims it."""
        return f"the {self.label} is {self.shown(value)}" if self.label else self.shown(value)
