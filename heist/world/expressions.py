"""Expressions: sums, products and conditions over facts and slots, as scenario files write them."""

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator

from heist.world.facts import Type, Value

Of = Literal["clock", "count", "choice", "condition"]
"""What an expression gives. Minutes and numbers are both counts; a clock is minutes since the night began."""
Formula = Annotated[str, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
"""An expression in a file, where a bare number is one too."""
Scope = Mapping[str, Value]
_SUMS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_SIGNS: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_LONGEST = 400


class Expression(NamedTuple):
    """`names` in the order in which they first stand in `text`; `of` works it out where they have values."""

    text: str
    names: tuple[str, ...]
    of: Callable[[Scope], Value]


@lru_cache(maxsize=2_000)
def expression(text: str) -> Expression:
    """Compiles `text` once; raises `ValueError` for anything that is no expression. Nothing is ever run as code."""
    node = _parsed(text)
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    ordered = sorted(names, key=lambda name: (name.lineno, name.col_offset))
    return Expression(text, tuple(dict.fromkeys(name.id for name in ordered)), _compiled(node))


def gives(text: str, types: Mapping[str, Type]) -> Of:
    """What the expression gives when its names have these types; raises `ValueError` for names that have none and for
    what cannot be added or compared."""
    return _gives(_parsed(text), types)


def worded(text: str, names: Mapping[str, str]) -> str:
    """The expression with other names: "door_inches * 2" as "thickness of the door * 2"."""
    return _worded(_parsed(text), names)


def of_type(type_: Type) -> Of:
    return "count" if type_ in ("minutes", "number") else type_  # type: ignore[return-value]


@lru_cache(1024)  # every prompt words each slot anew
def _parsed(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError(f"an expression has at most {_LONGEST} characters")
    try:
        return ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text[:60]!r} is no expression; sums, products and comparisons of names are") from None


def _compiled(node: ast.expr) -> Callable[[Scope], Value]:
    match node:
        case ast.Constant(value=int() | str() as constant) if not isinstance(constant, bool):
            return lambda _: constant
        case ast.Name(id=name):
            return operator.itemgetter(name)
        case ast.BinOp(left, op, right) if type(op) in _SUMS:
            return _both(_SUMS[type(op)], _compiled(left), _compiled(right))
        case ast.Compare(left, [op], [right]) if type(op) in _COMPARISONS:
            return _both(_COMPARISONS[type(op)], _compiled(left), _compiled(right))
        case ast.BoolOp(op, parts):
            return _joined(any if isinstance(op, ast.Or) else all, [_compiled(part) for part in parts])
    raise ValueError(f"{ast.unparse(node)[:60]!r} is more than sums, products, comparisons, and, or")


def _both(
    work: Callable[[int, int], int] | Callable[[Value, Value], bool],
    left: Callable[[Scope], Value],
    right: Callable[[Scope], Value],
) -> Callable[[Scope], Value]:
    return lambda scope: work(left(scope), right(scope))  # type: ignore[arg-type]


def _joined(join: Callable[[list[bool]], bool], parts: list[Callable[[Scope], Value]]) -> Callable[[Scope], Value]:
    if join is any:
        return lambda scope: any(part(scope) for part in parts)
    return lambda scope: all(part(scope) for part in parts)


def _gives(node: ast.expr, types: Mapping[str, Type]) -> Of:
    match node:
        case ast.Constant(value=str()):
            return "choice"
        case ast.Constant(value=int()):
            return "count"
        case ast.Name(id=name):
            if name not in types:
                raise ValueError(f"{name!r} is neither a fact nor a slot")
            return of_type(types[name])
        case ast.BinOp(left, op, right) if type(op) in _SUMS:
            return _sum(op, _gives(left, types), _gives(right, types), node)
        case ast.Compare(left, [op], [right]) if type(op) in _COMPARISONS:
            sides = {_gives(left, types), _gives(right, types)}
            if len(sides) > 1 or ("choice" in sides and not isinstance(op, ast.Eq | ast.NotEq)) or "condition" in sides:
                raise ValueError(
                    f"{ast.unparse(node)!r} compares what cannot be compared: {' and '.join(sorted(sides))}"
                )
            return "condition"
        case ast.BoolOp(_, parts):
            for part in parts:
                if _gives(part, types) != "condition":
                    raise ValueError(f"{ast.unparse(part)!r} is no comparison, and stands in an and or an or")
            return "condition"
    raise ValueError(f"{ast.unparse(node)[:60]!r} is more than sums, products, comparisons, and, or")


def _sum(op: ast.operator, left: Of, right: Of, node: ast.expr) -> Of:
    match op, left, right:
        case _, "count", "count":
            return "count"
        case (ast.Add(), "clock", "count") | (ast.Add(), "count", "clock") | (ast.Sub(), "clock", "count"):
            return "clock"
        case ast.Sub(), "clock", "clock":
            return "count"
    raise ValueError(f"{ast.unparse(node)!r} cannot be reckoned: it joins a {left} and a {right}")


def _worded(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.BinOp(left, op, right) if type(op) in _SIGNS:
            return f"{_inside(left, op, names)} {_SIGNS[type(op)]} {_inside(right, op, names, last=True)}"
    return ast.unparse(node)


def _inside(node: ast.expr, op: ast.operator, names: Mapping[str, str], last: bool = False) -> str:
    """A part of a sum, in brackets where they are needed."""
    text = _worded(node, names)
    loose = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
    return f"({text})" if loose and (isinstance(op, ast.Mult) or (last and isinstance(op, ast.Sub))) else text
