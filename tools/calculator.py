"""A calculator for agents: an expression is parsed and walked, and nothing is ever executed."""

import ast
import operator
from collections.abc import Callable
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Any

from pydantic import Field

from state.errors import ToolError
from state.tool import Arguments, Tool, ToolContext
from tools.arithmetic import CONSTANTS, FUNCTIONS, MOST_BITS, Number, apply, bounded, call, digits, power, too_large

LONGEST = 1_000  # characters of an expression
SPOKEN = str.maketrans(
    {"\N{MULTIPLICATION SIGN}": "*", "\N{MIDDLE DOT}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-"}
    | {"\N{EN DASH}": "-", "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " "}
)
USAGE = "use numbers, + - * / // % **, parentheses, pi, e, and min max abs round sqrt log exp sum mean"


class CalculateArguments(Arguments):
    """What to calculate."""

    expression: str = Field(
        min_length=1, max_length=LONGEST, description="One expression, without thousands separators, units or '='"
    )


async def calculate(arguments: CalculateArguments, context: ToolContext) -> dict[str, Any]:
    """The expression's value: {"result": digits, "exact": whether the digits are all of it}."""
    result, exact = evaluate(arguments.expression)
    return {"result": result, "exact": exact}


def evaluate(expression: str) -> tuple[str, bool]:
    """The value in digits, and whether they are exact. Raises ToolError, and nothing else, for what has none."""
    source = expression.translate(SPOKEN).strip()
    if len(source) > LONGEST:
        raise ToolError(f"the expression is longer than {LONGEST} characters", suggestion="calculate it in parts")
    try:
        tree = ast.parse(source, mode="eval")
        return digits(_Evaluation(source.encode()).number(tree.body))
    except SyntaxError as error:
        raise ToolError(f"{expression[:80]!r} is not an expression: {error.msg}", suggestion=USAGE) from error
    except (ValueError, MemoryError, RecursionError) as error:
        # NUL bytes, halves of surrogate pairs, and nesting deeper than the parser goes.
        raise ToolError(f"the expression cannot be read: {error}", suggestion=USAGE) from error
    except ZeroDivisionError as error:
        raise ToolError("division by zero", suggestion="check the divisor, or leave this part out") from error
    except DecimalException as error:
        raise too_large() from error


class _Evaluation:
    """Walks the tree of one expression; whatever is not arithmetic is refused by name."""

    def __init__(self, source: bytes) -> None:
        self._source = source

    def number(self, node: ast.AST) -> Number:
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self._literal(node)
            case ast.Name(id=name) if name in CONSTANTS:
                return Number(CONSTANTS[name], exact=False)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.number(operand)
                return Number(-inner.value, inner.exact)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return power(self.number(left), self.number(right))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return apply(OPERATORS[type(op)], self.number(left), self.number(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                values = [value for argument in arguments for value in self._values(argument)]
                return call(name, values)
        raise self._refusal(node)

    def _values(self, node: ast.AST) -> list[Number]:
        if isinstance(node, ast.List | ast.Tuple):
            return [self.number(each) for each in node.elts]
        return [self.number(node)]

    def _literal(self, node: ast.Constant) -> Number:
        # From the source, not from the parsed float: that has lost digits, or is infinite.
        text = self._source[node.col_offset : node.end_col_offset].decode()
        if isinstance(node.value, int):
            return bounded(Fraction(node.value), exact=True)
        value = Decimal(text)
        if value and abs(value.adjusted()) > MOST_BITS // 4:
            raise too_large()
        return bounded(Fraction(value), exact=True)

    def _refusal(self, node: ast.AST) -> ToolError:
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
        text = self._source[start:end].decode(errors="replace")
        suggestion = USAGE
        if isinstance(node, ast.Tuple):
            suggestion = "write numbers without thousands separators: 1234.5, not 1,234.5"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            suggestion = "write powers with **: 2**3, not 2^3"
        elif isinstance(node, ast.Compare):
            suggestion = "calculate the two sides, then compare them yourself"
        return ToolError(f"{text[:80]!r} is no arithmetic this calculator knows", suggestion=suggestion)


OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

CALCULATE = Tool(
    name="calculate",
    description=(
        "Calculates one expression exactly: + - * / // % **, parentheses, pi, e, and min, max, abs, round, sqrt, log,"
        " exp, sum, mean. log(x) is natural, log(x, 10) is not; round takes halves away from zero. Use it for every"
        " number you would otherwise work out yourself. Not for numbers that stand in tables (use query)."
        ' Example: {"expression": "round((1249.90 - 1100) / 1100 * 100, 2)"}'
    ),
    args=CalculateArguments,
    run=calculate,
)
