"""The calculator: right, exact where it can be, and impossible to stall or to break out of."""

import asyncio
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from state.errors import ToolError
from state.tool import ToolContext
from tools.calculator import CALCULATE, CalculateArguments, evaluate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("0.1 + 0.2", "0.3"),
        ("1/3*3", "1"),
        ("2 + 3 * (4 - 1)", "11"),
        ("-2 ** 2", "-4"),
        ("7 // 2", "3"),
        ("-7 % 3", "2"),
        ("2 ** -3", "0.125"),
        ("4 ** 0.5", "2"),
        ("sqrt(2.25)", "1.5"),
        ("round(2.675, 2)", "2.68"),
        ("round(0.125, 2)", "0.13"),
        ("round(-2.5)", "-3"),
        ("round(1250, -2)", "1300"),
        ("min(3, 1, 2) + max([4, 5])", "6"),
        ("mean(1, 2, 4, 5)", "3"),
        ("sum([0.1] )", "0.1"),
        ("abs(-2.50)", "2.5"),
        ("1_000 \N{MULTIPLICATION SIGN} 2 \N{MINUS SIGN} 1", "1999"),
        ("12345678901234567890.12345678901234567890 * 1", "12345678901234567890.1234567890123456789"),
        ("1 ** 999999999999", "1"),
    ],
)
def test_what_can_be_exact_is_exact(expression: str, result: str) -> None:
    assert evaluate(expression) == (result, True)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1/3", "0.333333333333333"),
        ("sqrt(2)", "1.4142135623731"),
        ("log(100, 10)", "2"),
        ("exp(1)", "2.71828182845905"),
        ("2 * pi", "6.28318530717959"),
        ("10**20 / 3", "3.33333333333333E+19"),
    ],
)
def test_what_is_rounded_says_so(expression: str, result: str) -> None:
    assert evaluate(expression) == (result, False)


@pytest.mark.parametrize(
    ("expression", "message", "suggestion"),
    [
        ("1 / 0", "division by zero", "divisor"),
        ("0 ** -0.5", "division by zero", "divisor"),
        ("10**10**10", "too large", "logarithms"),
        ("9**9**9**9", "too large", "logarithms"),
        ("1e999999999", "too large", "smaller"),
        ("exp(10**9)", "too large", "smaller"),
        ("2 ^ 3", "no arithmetic", "2**3, not 2^3"),
        ("1,234 + 1", "no arithmetic", "thousands"),
        ("1 < 2", "no arithmetic", "compare"),
        ("__import__('os').system('id')", "no arithmetic", "use numbers"),
        ("(lambda: 1)()", "no arithmetic", "use numbers"),
        ("'a' * 10", "no arithmetic", "use numbers"),
        ("True + 1", "no arithmetic", "use numbers"),
        ("1j", "no arithmetic", "use numbers"),
        ("x + 1", "'x' is no arithmetic", "use numbers"),
        ("15% of 200", "is not an expression", "use numbers"),
        ("sqrt(-1)", "no real square root", "sign"),
        ("(-8) ** (1/3)", "no real power", "sign"),
        ("log(0)", "logarithm", "sign"),
        ("log(5, 1)", "base of no logarithm", "log(100, 10)"),
        ("sqrt(1, 2)", "sqrt takes 1 numbers, not 2", "sqrt(2)"),
        ("round(1, 1000)", "round takes", "round(2.345, 2)"),
    ],
)
def test_what_has_no_value_is_refused_with_the_reason_and_a_way_on(
    expression: str, message: str, suggestion: str
) -> None:
    with pytest.raises(ToolError) as caught:
        evaluate(expression)
    assert message in caught.value.message
    assert suggestion in caught.value.suggestion


def attempted(expression: str) -> str:
    """The digits, or what the error suggests instead."""
    try:
        return evaluate(expression)[0]
    except ToolError as error:
        return error.suggestion


WORDS = "1 0 9 0.5 1e30 + - * / // % ** ( ) , [ ] sqrt( log( exp( round( sum( mean( pi e if not \0 \ud800 \n é"
PIECES = st.sampled_from([*WORDS.split(" "), " "])


@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=200))
@settings(deadline=None, max_examples=400)
def test_no_expression_does_worse_than_a_tool_error(expression: str) -> None:
    began = time.monotonic()
    assert attempted(expression)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "expression", ["(" * 499 + "1" + ")" * 499, "-" * 999 + "1", "1" + "+1" * 499, "sqrt(" * 150 + "2" + ")" * 150]
)
def test_deep_nesting_ends_in_a_value_or_a_tool_error(expression: str) -> None:
    assert attempted(expression)


@given(st.decimals(-(10**6), 10**6, places=4), st.decimals(-(10**6), 10**6, places=4))
def test_decimals_add_and_multiply_as_on_paper(left, right) -> None:
    for operation, value in (("+", Fraction(left) + Fraction(right)), ("*", Fraction(left) * Fraction(right))):
        result, exact = evaluate(f"({left:f}) {operation} ({right:f})")
        assert exact
        assert Fraction(result) == value


def test_the_tool_returns_the_digits_and_whether_they_are_exact() -> None:
    result = asyncio.run(CALCULATE.run(CalculateArguments(expression="19.99 * 3"), ToolContext()))
    assert result == {"result": "59.97", "exact": True}
    with pytest.raises(ValidationError):
        CalculateArguments(expression="1+" * 600 + "1")
