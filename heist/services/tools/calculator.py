"""Arithmetic for people who carry explosives: no names, no calls but mathematics, no number that grows too large."""

import ast
import math
import operator
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import Field

from heist.errors import ToolError
from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Caller, Result, Tool

Number = int | float
LONGEST = 500
NODES = 100
BITS = 4096
"""No whole number may have more; checked before a power or a product is worked out, not after."""
PLACES = 300


class Expression(Arguments):
    expression: str = Field(
        description="arithmetic such as 45 - 2 * 10 or sqrt(144); + - * / // % ** and mathematical functions",
        max_length=LONGEST,
    )


class Value(Result):
    expression: str
    value: Number = Field(description="a whole number where the arithmetic gives one, else a decimal one")

    def text(self) -> str:
        shown = f"{self.value:.12g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.expression} = {shown}"


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        _bound(base.bit_length() * exponent)
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("the result is not a real number")
    return result


def _times(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        _bound(left.bit_length() + right.bit_length())
    return left * right


def _bound(bits: int) -> None:
    if bits > BITS:
        raise OverflowError("the number grows too large")


def _round(number: Number, digits: Number | None = None) -> Number:
    if digits is None:
        return round(number)
    if not isinstance(digits, int) or abs(digits) > PLACES:
        raise ValueError(f"round takes a whole number of places, at most {PLACES}")
    return round(number, digits)


def _factorial(number: Number) -> int:
    if not isinstance(number, int) or not 0 <= number <= 170:
        raise ValueError("factorial takes a whole number from 0 to 170")
    return math.factorial(number)


BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: _times,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: _power,
    }
)
UNARY: Mapping[type[ast.unaryop], Callable[[Number], Number]] = MappingProxyType(
    {ast.UAdd: operator.pos, ast.USub: operator.neg}
)
FUNCTIONS: Mapping[str, Callable[..., Number]] = MappingProxyType(
    {
        "abs": abs,
        "min": min,
        "max": max,
        "round": _round,
        "sqrt": math.sqrt,
        "floor": math.floor,
        "ceil": math.ceil,
        "sin": math.sin,
        "cos": math.cos,
        "tan": math.tan,
        "log": math.log,
        "log10": math.log10,
        "exp": math.exp,
        "hypot": math.hypot,
        "factorial": _factorial,
    }
)
CONSTANTS: Mapping[str, float] = MappingProxyType({"pi": math.pi, "e": math.e})


def calculate(expression: str) -> Number:
    """The value of an arithmetic expression; raises `ToolError` for anything that is not one, and never runs it."""
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ToolError(f"{_shown(expression)} is not an arithmetic expression") from None
    if sum(1 for _ in ast.walk(tree)) > NODES:
        raise ToolError(f"the expression has more than {NODES} parts")
    try:
        value = _value(tree.body)
        if not abs(value) <= sys.float_info.max:  # a whole number too must fit into what programs call a number
            raise OverflowError("the number grows too large")
    except ZeroDivisionError:
        raise ToolError(f"{_shown(expression)} divides by zero") from None
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ToolError(f"{_shown(expression)} cannot be worked out: {error}") from None
    return value


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if isinstance(number, int):
                _bound(number.bit_length())
            return number
        case ast.BinOp(left, op, right) if type(op) in BINARY:
            return BINARY[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op, operand) if type(op) in UNARY:
            return UNARY[type(op)](_value(operand))
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(argument) for argument in arguments))
    raise ToolError(
        f"{ast.unparse(node)[:40]!r} is not arithmetic; numbers, + - * / // % ** and {', '.join(FUNCTIONS)} are"
    )


def _shown(expression: str) -> str:
    return repr(expression if len(expression) <= 60 else expression[:60] + "…")


async def _run(arguments: Expression, _: Caller) -> Value:
    return Value(expression=arguments.expression.strip(), value=calculate(arguments.expression))


calculator = Tool("calculator", "Works out an arithmetic expression.", Scope.CALCULATOR, Expression, Value, _run)
