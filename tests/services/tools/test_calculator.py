"""The calculator: right about arithmetic, deaf to everything else."""

import ast
import keyword
import math
import subprocess
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heist.errors import ToolError
from heist.services.auth import Principal, Scope
from heist.services.tools.calculator import CONSTANTS, FUNCTIONS, LONGEST, NODES, calculate, calculator
from heist.services.tools.registry import Outcome, Registry
from tests.strategies import no_lobby
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S2")]
SAFECRACKER = Principal("safecracker", frozenset({Scope.CALCULATOR}), "heist_1")
PYTHON = {
    "__builtins__": {},
    "abs": abs,
    "min": min,
    "max": max,
    "round": round,
    **{name: getattr(math, name) for name in ("sqrt", "floor", "ceil", "sin", "cos", "tan", "log", "log10", "exp")},
    "hypot": math.hypot,
    "factorial": math.factorial,
    **CONSTANTS,
}


async def used(expression: object) -> Outcome:
    """The outcome of a call, as an agent gets it."""
    registry = Registry((calculator,), HandClock(), no_lobby)
    return await registry.call(SAFECRACKER, "calculator", {"expression": expression})


numbers = (
    st.integers(0, 10**6).map(str)
    | st.floats(0, 1e9, allow_nan=False).map(repr)
    | st.sampled_from(["pi", "e"])
    | st.builds("({}**{})".format, st.integers(-20, 20), st.integers(-3, 9))
    | st.builds("factorial({})".format, st.integers(-1, 20))
)
trees = st.recursive(
    numbers,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner)
        | st.builds("{}{}".format, st.sampled_from("+-"), inner)
        | st.builds(
            "{}({})".format, st.sampled_from("abs sqrt floor ceil round sin cos tan log log10 exp".split()), inner
        )
        | st.builds("{}({}, {})".format, st.sampled_from(["min", "max", "hypot"]), inner, inner)
    ),
    max_leaves=9,
)


@given(expression=trees)
def test_it_always_agrees_with_python(expression: str) -> None:
    assume(sum(1 for _ in ast.walk(ast.parse(expression))) <= NODES)
    try:
        expected = eval(expression, dict(PYTHON))
    except (ArithmeticError, ValueError):
        expected = math.nan
    if isinstance(expected, complex) or not math.isfinite(expected):
        with pytest.raises(ToolError):
            calculate(expression)
        return
    value = calculate(expression)
    assert (type(value), value) == (type(expected), expected)


@given(expression=st.text(max_size=80))
def test_no_text_gets_more_out_of_it_than_a_finite_number_or_a_tool_error(expression: str) -> None:
    try:
        assert math.isfinite(calculate(expression))
    except ToolError:
        return


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("45 - 2 * 10", 25),
        ("2 ^ 10", 1024),
        ("sqrt(144)", 12.0),
        ("7 // 2 + 7 % 2", 4),
        ("-3 ** 2", -9),
        ("2 ** -1", 0.5),
        ("log(8, 2)", 3.0),
        ("round(2.675, 2)", 2.67),
        ("max(3, 5, 4)", 5),
        ("  1 + 1\n", 2),
        ("0x10 + 1_000", 1016),
        ("1e3", 1000.0),
    ],
)
def test_it_works_out(expression: str, value: float) -> None:
    assert calculate(expression) == value


async def test_the_answer_repeats_the_expression_for_readers_and_for_programs() -> None:
    outcome = await used(" 45 - 2 * 10 ")
    assert outcome.text == "45 - 2 * 10 = 25"
    assert outcome.result == {"expression": "45 - 2 * 10", "value": 25}


async def test_a_fraction_is_shown_with_twelve_digits_at_most_and_whole_to_programs() -> None:
    outcome = await used("1 / 3")
    assert outcome.text == "1 / 3 = 0.333333333333"
    assert outcome.result == {"expression": "1 / 3", "value": 1 / 3}


@given(expression=trees)
async def test_the_number_for_programs_is_always_the_one_in_the_text(expression: str) -> None:
    outcome = await used(expression)
    if outcome.result is None:
        assert outcome.fault == "arguments"
        return
    value, shown = outcome.result["value"], outcome.text.removeprefix(f"{expression} = ")
    assert isinstance(value, int | float)
    assert shown == (str(value) if isinstance(value, int) else f"{value:.12g}")
    assert value == calculate(expression)


@pytest.mark.parametrize(
    "expression", ["10**308 * 9", "-(10**308) * 9", "10**309", "2**1024", "9" * 310, "factorial(170) * 10**3"]
)
async def test_a_whole_number_that_no_float_can_hold_is_refused(expression: str) -> None:
    outcome = await used(expression)
    assert (outcome.fault, outcome.result) == ("arguments", None)
    assert outcome.text.endswith("cannot be worked out: the number grows too large")


@pytest.mark.parametrize(
    "expression",
    ["2**4000 * 2**4000 % 7", "2**5000 % 7", "(2**64)**64 - (2**64)**64 + 1", "2**4000 * 3**4000 // 2**9000"],
)
def test_no_number_on_the_way_may_grow_too_large_either(expression: str) -> None:
    with pytest.raises(ToolError, match="the number grows too large"):
        calculate(expression)


async def test_the_largest_whole_number_that_a_float_can_hold_is_worked_out() -> None:
    outcome = await used("(2**53 - 1) * 2**971")
    assert outcome.result is not None
    assert outcome.result["value"] == int(sys.float_info.max)


HOSTILE = [
    "__import__('os').system('id')",
    "__builtins__",
    "open('/etc/passwd').read()",
    "open('/tmp/x', 'w')",
    "().__class__.__bases__[0].__subclasses__()",
    "(1).__class__",
    "e.real",
    "pi.hex()",
    "sqrt.__self__",
    "sqrt.__globals__",
    "math.sqrt(4)",
    "sqrt",
    "x",
    "exec('1')",
    "eval('1')",
    "print(1)",
    "globals()",
    "getattr(1, 'real')",
    "pow(9, 9)",
    "sum([1, 2])",
    "[x for x in (1, 2)]",
    "{x: 1 for x in (1, 2)}",
    "(x for x in (1, 2))",
    "max(x for x in (1, 2))",
    "max([1] * 10**9)",
    "hypot(*[1] * 10**9)",
    "round(1, ndigits=1)",
    "round(1e308, -400)",
    "round(10**300, 10**300)",
    "e ** e ** e ** e ** e",
    "(-8) ** (1 / 3)",
    "10.0 ** 400",
    "exp(710)",
    "log(-1)",
    "log(1, 1)",
    "min()",
    "sqrt()",
    "sqrt(1, 2)",
    "factorial(170) * factorial(170)",
    "2**1024",
    "10**309",
    "9" * 500,
    "t'{x}'",
    "f'{(lambda: 1)()}'",
    "match x: pass",
    "while 1: pass",
    "async def f(): pass",
    "@x",
    "x[0]",
    "x.y",
    "-x",
    "not_a_number",
    "__debug__",
    "NotImplemented",
    "Ellipsis",
    "\x00",
    "\f1\x0b",
    "１２ + ١",
    "𝐞𝐱𝐞𝐜(1)",
    "1" + "_1" * 240,
    "0b" + "1" * 490,
    "0x" + "f" * 490,
    "1e" + "9" * 490,
    "abs(" * 60 + "1" + ")" * 60,
    "1 if",
    "1or 2",
    "'\\d'",
    "max(*(1, 2))",
    "max(1, 2, key=abs)",
    "min(1, **{})",
    "sqrt(x=4)",
    "lambda: 1",
    "(lambda: 1)()",
    "(x := 5)",
    "f'{1}'",
    "f'{1:>999999999}'",
    "f'{9**9**9}'",
    "'a'",
    "'a' * 3",
    "'%s' % 1",
    "'%0999999999d' % 1",
    "b'a'",
    "'{0.__class__}'.format(1)",
    "len('a')",
    "[1, 2][0]",
    "(1, 2)",
    "{1, 2}",
    "1 if 1 else 2",
    "1 and 2",
    "not 1",
    "1 < 2",
    "1 == 1",
    "True",
    "True + 1",
    "None",
    "...",
    "1j",
    "1j * 1j",
    "(-1) ** 0.5",
    "1 << 999999999",
    "1 >> 1",
    "5 & 3",
    "5 | 3",
    "~5",
    "2 @ 2",
    "await x",
    "yield 1",
    "import os",
    "x = 1",
    "1; 2",
    "1\n2",
    "del x",
    "9**9**9",
    "9**9**9**9",
    "9^9^9",
    "(9**99)**(9**99)",
    "10**4096",
    "(2**4000) * (2**4000)",
    "factorial(171)",
    "factorial(999999999)",
    "factorial(factorial(20))",
    "factorial(-1)",
    "factorial(3.0)",
    "1e308 * 10",
    "1e999",
    "-1e999",
    "1e999 - 1e999",
    "1e999 * 0",
    "2.0 ** 99999",
    "exp(99999)",
    "sqrt(-1)",
    "log(0)",
    "floor(1e999)",
    "round(1e999)",
    "nan",
    "inf",
    "float('nan')",
    "int('9' * 9999)",
    "1 / 0",
    "1 // 0",
    "1 % 0",
    "0 ** -1",
    "0.0 ** -1",
    "2**4000 / 0.5 / 1e-300",
    "",
    " ",
    "()",
    "(" * 240 + "1" + ")" * 240,
    "[" * 250 + "]" * 250,
    "-" * 400 + "1",
    "1" + "+1" * 200,
    "1**" * 160 + "1",
    "sqrt(" * 80 + "1" + ")" * 80,
    "hypot(" + "1," * 200 + "1)",
    "1\0",
    "\ud800",
    "١ +",
    "# 1",
    "1 # \\",
    "\\",
]


@pytest.mark.parametrize("expression", HOSTILE)
async def test_a_hostile_expression_is_refused_or_bounded(expression: str) -> None:
    started = time.process_time()
    outcome = await used(expression)
    assert time.process_time() - started < 0.5
    assert len(outcome.text) < 1_500
    if expression in BOUNDED:
        assert outcome.success
        return
    assert outcome.fault == "arguments"
    assert isinstance(outcome.error, ToolError)


BOUNDED = ("1 # \\", "\f1\x0b", "1" + "_1" * 240, "0b" + "1" * 490)


@pytest.mark.parametrize("length", [LONGEST + 1, 10_000, 1_000_000])
async def test_an_expression_that_is_too_long_is_refused_before_it_is_read(length: int) -> None:
    outcome = await used("1" * length)
    assert outcome.fault == "arguments"
    assert outcome.text == "calculator: expression: string should have at most 500 characters"


@pytest.mark.parametrize("expression", ["(" * 100_000, "1+" * 100_000 + "1", "-" * 100_000 + "1", "9" * 100_000])
def test_even_an_expression_that_nobody_measured_is_refused_and_nothing_worse(expression: str) -> None:
    started = time.process_time()
    with pytest.raises(ToolError):
        calculate(expression)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("expression", [None, 12, 1.5, True, ["1"], {"a": 1}])
async def test_an_expression_that_is_no_text_is_refused(expression: object) -> None:
    outcome = await used(expression)
    assert (outcome.fault, outcome.text) == ("arguments", "calculator: expression: input should be a valid string")


def test_a_refusal_repeats_no_more_than_the_beginning_of_an_expression() -> None:
    with pytest.raises(ToolError) as refusal:
        calculate("zebra " * 80)
    assert len(str(refusal.value)) < 200


def test_an_expression_of_a_hundred_parts_is_worked_out_and_a_larger_one_is_not() -> None:
    assert calculate("1" + "+1" * 32) == 33
    with pytest.raises(ToolError, match="more than 100 parts"):
        calculate("1" + "+1" * 60)


@pytest.mark.parametrize("digits", ["-3000000", "-10**7", "0.5"])
def test_rounding_to_absurd_places_is_refused_at_once(digits: str) -> None:
    with pytest.raises(ToolError, match="round takes a whole number of places"):
        calculate(f"round(1, {digits})")


MEASURE = """
import asyncio, resource
from tests.services.tools.test_calculator import HOSTILE, used

async def all_of_them() -> None:
    await used("1 + 1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for expression in HOSTILE:
        await used(expression)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(all_of_them())
"""


def test_all_the_hostile_expressions_together_never_take_fifty_megabytes() -> None:
    measured = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=60)
    assert len(HOSTILE) >= 50
    assert int(measured.stdout) * 1024 < 50 * 2**20


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True) | st.sampled_from(
    [name for name in dir(__builtins__) if name.isidentifier()]
    if not isinstance(__builtins__, dict)
    else [*__builtins__]
)


@given(
    name=names,
    form=st.sampled_from(["{}", "{}()", "{}(1)", "{}.x", "1 + {}", "abs({})", "{}[0]", "max(1, {})", "{}{{}}"]),
)
def test_a_name_that_is_not_mathematics_is_never_looked_up_or_called(name: str, form: str) -> None:
    assume(name not in FUNCTIONS and name not in CONSTANTS and not keyword.iskeyword(name))
    with pytest.raises(ToolError, match=r"is not (an )?arithmetic"):
        calculate(form.format(name))


def test_a_function_is_no_value_and_a_constant_no_function() -> None:
    for expression in (*FUNCTIONS, *(f"{name}(1)" for name in CONSTANTS)):
        with pytest.raises(ToolError, match="is not arithmetic"):
            calculate(expression)
