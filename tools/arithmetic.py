"""Arithmetic that is exact for what can be exact, and bounded for what cannot.

Numbers are fractions, so 0.1 + 0.2 is 0.3 and 1/3*3 is 1. Roots, logarithms and fractional powers are
rounded to 34 digits and say that they are not exact. Whatever grows past its bound raises ToolError.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction

from state.errors import ToolError

MOST_BITS = 4_096  # of a numerator or denominator: some 1,200 digits
DIGITS, SHOWN = 34, 15  # of what cannot be exact
PRECISE = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(frozen=True, slots=True)
class Number:
    """A value, and whether it is exactly what was asked for."""

    value: Fraction
    exact: bool = True


def apply(operation: Callable[[Fraction, Fraction], Fraction | int], left: Number, right: Number) -> Number:
    """One of the operations that keep fractions exact."""
    return bounded(Fraction(operation(left.value, right.value)), exact=left.exact and right.exact)


def power(base: Number, exponent: Number) -> Number:
    """The base to the power; whole powers are exact, and refused before they are worked out if they would be huge."""
    exact = base.exact and exponent.exact
    if exponent.value.denominator == 1:
        times = abs(exponent.value.numerator)
        if base.value in (0, 1, -1):  # of any exponent, however large: x ** 1000001 stays small
            times = min(times, 2 + times % 2)
        if times * _bits(base.value) > MOST_BITS * 2:
            raise too_large()
        return bounded(base.value ** (times if exponent.value >= 0 else -times), exact=exact)
    if base.value < 0:
        raise ToolError("a negative number has no real power that is not whole", suggestion="check the sign")
    if exponent.value == Fraction(1, 2):
        return _sqrt([base])
    if base.value == 0:
        return Number(Fraction(0 if exponent.value > 0 else 1 / base.value), exact)
    return _rounded(lambda: _exp_of(_decimal(base.value).ln(PRECISE) * _decimal(exponent.value)))


def call(name: str, values: Sequence[Number]) -> Number:
    """The value of the function of that name."""
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(values) <= most:
        wanted = f"{fewest} or more" if most == math.inf else " or ".join(map(str, sorted({fewest, int(most)})))
        raise ToolError(f"{name} takes {wanted} numbers, not {len(values)}", suggestion=f"for example {name}(2)")
    return function(values)


def _round(values: Sequence[Number]) -> Number:
    places = values[1].value if len(values) > 1 else Fraction(0)
    if places.denominator != 1 or abs(places) > 100:
        raise ToolError("round takes a whole number of places, -100 to 100", suggestion="for example round(2.345, 2)")
    unit = Fraction(10) ** int(places)
    # Halves go away from zero, as in a spreadsheet and on an invoice, not to the even neighbour.
    size = math.floor(abs(values[0].value) * unit + Fraction(1, 2)) / unit
    return Number(size if values[0].value >= 0 else -size, values[0].exact)


def _sqrt(values: Sequence[Number]) -> Number:
    value = values[0].value
    if value < 0:
        raise ToolError("a negative number has no real square root", suggestion="check the sign")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root == value:
        return Number(root, values[0].exact)
    return _rounded(lambda: _decimal(value).sqrt(PRECISE))


def _log(values: Sequence[Number]) -> Number:
    if any(each.value <= 0 for each in values):
        raise ToolError("only a number above zero has a logarithm", suggestion="check the sign")
    if len(values) == 2 and values[1].value == 1:
        raise ToolError("1 is the base of no logarithm", suggestion="for example log(100, 10)")
    logarithms = [_decimal(each.value).ln(PRECISE) for each in values]
    return _rounded(lambda: logarithms[0] if len(values) == 1 else PRECISE.divide(*logarithms))


def _exp(values: Sequence[Number]) -> Number:
    return Number(Fraction(1)) if values[0].value == 0 else _rounded(lambda: _exp_of(_decimal(values[0].value)))


def _exp_of(power: Decimal) -> Decimal:
    if abs(power) > MOST_BITS // 2:
        raise too_large()
    return power.exp(PRECISE)


def _sum(values: Sequence[Number]) -> Number:
    total = Number(Fraction(0))
    for each in values:
        total = apply(operator.add, total, each)
    return total


def _mean(values: Sequence[Number]) -> Number:
    return apply(operator.truediv, _sum(values), Number(Fraction(len(values))))


def _least(values: Sequence[Number]) -> Number:
    return min(values, key=lambda each: each.value)


def _greatest(values: Sequence[Number]) -> Number:
    return max(values, key=lambda each: each.value)


def _rounded(calculation: Callable[[], Decimal]) -> Number:
    with localcontext(PRECISE):
        return bounded(Fraction(calculation()), exact=False)


def _decimal(value: Fraction) -> Decimal:
    return PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def bounded(value: Fraction, *, exact: bool) -> Number:
    """The number; what is rounded anyway loses the digits that only cost time, what is exact and huge is refused."""
    if not exact and _bits(value) > 8 * DIGITS:
        value = Fraction(_decimal(value))
    if _bits(value) > MOST_BITS:
        raise too_large()
    return Number(value, exact)


def too_large() -> ToolError:
    """The refusal of a number past its bound."""
    return ToolError(
        "a number on the way is too large, too small or too long to calculate with",
        suggestion="use smaller numbers, or logarithms: log(a**b) is b*log(a)",
    )


def digits(number: Number) -> tuple[str, bool]:
    """The number written out, and whether that is all of it."""
    value = number.value
    twos_and_fives = value.denominator
    for prime in (2, 5):
        while twos_and_fives % prime == 0:
            twos_and_fives //= prime
    if number.exact and twos_and_fives == 1:
        with localcontext(prec=2 * MOST_BITS, Emax=MAX_EMAX, Emin=MIN_EMIN):
            text = f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text), True
    short = _decimal(value).normalize(Context(prec=SHOWN, Emax=MAX_EMAX, Emin=MIN_EMIN))
    return (f"{short:f}" if -7 < short.adjusted() < SHOWN else f"{short:E}"), False


CONSTANTS = {
    "pi": Fraction("3.14159265358979323846264338327950288419716939937510"),
    "e": Fraction("2.71828182845904523536028747135266249775724709369995"),
}
FUNCTIONS: dict[str, tuple[Callable[[Sequence[Number]], Number], int, float]] = {
    "min": (_least, 1, math.inf),
    "max": (_greatest, 1, math.inf),
    "sum": (_sum, 1, math.inf),
    "mean": (_mean, 1, math.inf),
    "abs": (lambda values: Number(abs(values[0].value), values[0].exact), 1, 1),
    "round": (_round, 1, 2),
    "sqrt": (_sqrt, 1, 1),
    "log": (_log, 1, 2),
    "exp": (_exp, 1, 1),
}
