"""A calculator for models: arithmetic on numbers, and nothing else.

Theory of operation. The text is first cut into tokens, each a number, an operator or one of the names below; any other
text is refused before a parser sees it. Python's parser then makes a tree of it, and the tree is walked by
hand: `eval` is never called. Time and size are bounded by the length of the text, which bounds the number of
operations, and by the size of whole numbers, which is checked before a power and after every operation.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

Number: TypeAlias = int | float

MAX_CHARACTERS = 1000
MAX_BITS = 4096
_MAX_FACTORIAL = 500
_MAX_PLACES = 300

_TOKEN = re.compile(
    r"\s+|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<name>[A-Za-z_]\w*)|\*\*|//|[-+*/%(),]", re.ASCII
)
_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "$": "", "€": "", "£": ""})
_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3}(?:,\d{3})+)(?![\d,])", re.ASCII)
_CALL = re.compile(r"\b(?!of\b)[A-Za-z_]\w*\s*\(")
_PERCENT = re.compile(r"(\d[\d.]*|\.\d+)\s*%\s*(of\b|(?=[-+*/),]|\Z))", re.ASCII)
_PERCENT_OF_BRACKET = re.compile(r"\)\s*%\s*(of\b|(?=[-+*/),]|\Z))", re.ASCII)


def calculate(expression: str) -> Number:
    """Calculate an arithmetic expression.

    Args:
        expression: such as `15% of 2,500`, `(2 + 3) * 4`, `2 ** 10` or `sqrt(2) / pi`.

    Raises:
        ValueError: for a text that is not arithmetic, has no result, or is too large.
    """
    if not isinstance(expression, str):
        raise ValueError(f"the expression must be a str, not {type(expression).__name__}")
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"the expression has more than {MAX_CHARACTERS} characters")
    source = _plain(expression)
    _check_tokens(source)
    try:
        return _shown(_value(ast.parse(source, mode="eval").body))
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("the expression is not complete, or its parts do not fit together") from None
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


def _plain(expression: str) -> str:
    """The expression with its percents, thousands and typographic signs as Python writes them."""
    source = expression.translate(_SPELLINGS).strip()
    if not _CALL.search(source):  # max(1,200) has two arguments
        source = _THOUSANDS.sub(lambda match: match[1].replace(",", ""), source)
    source = _PERCENT.sub(lambda match: f"({match[1]}/100)" + ("*" if match[2] else ""), source)
    return _PERCENT_OF_BRACKET.sub(lambda match: ")/100" + ("*" if match[1] else ""), source)


def _check_tokens(source: str) -> None:
    if not source:
        raise ValueError("the expression is empty")
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError(f"the expression has {source[at : at + 10]!r}, which is no number, operator or name known")
        if match["name"] and match["name"] not in _FUNCTIONS and match["name"] not in _CONSTANTS:
            known = ", ".join([*_FUNCTIONS, *_CONSTANTS])
            raise ValueError(f"the expression has the unknown name {match['name'][:40]!r}; there are {known}")
        at = match.end()


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return _checked(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _checked(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _call(name, [_value(argument) for argument in args])
        case _:
            raise ValueError("the expression is not arithmetic on numbers")


def _call(name: str, arguments: list[Number]) -> Number:
    try:
        return _checked(_FUNCTIONS[name](*arguments))
    except TypeError:
        raise ValueError(f"{name} does not take these {len(arguments)} arguments") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _checked(number: Number) -> Number:
    if isinstance(number, int):
        if number.bit_length() > MAX_BITS:
            raise OverflowError
    elif isinstance(number, complex) or not math.isfinite(number):
        raise ValueError("the result is not a finite real number")
    return number


def _shown(number: Number) -> Number:
    """The number without the noise of binary fractions: 0.3 for 0.1 + 0.2, and 375 for 375.0."""
    if isinstance(number, int):
        return number
    rounded = float(f"{number:.12g}")
    shown = rounded if rounded == float(f"{number:.15g}") else number
    return int(shown) if shown.is_integer() and abs(shown) < 1e15 else shown


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        if exponent * (base.bit_length() - 1) > MAX_BITS:
            raise OverflowError
    elif base == 0 and exponent < 0:
        raise ZeroDivisionError
    result: Number = base**exponent
    return result


def _factorial(number: Number) -> int:
    if isinstance(number, float) or not 0 <= number <= _MAX_FACTORIAL:
        raise ValueError(f"takes whole numbers from 0 to {_MAX_FACTORIAL}")
    return math.factorial(number)


def _round(number: Number, places: Number = 0) -> Number:
    if isinstance(places, float) or not abs(places) <= _MAX_PLACES:
        raise ValueError(f"takes at most {_MAX_PLACES} places")
    return round(number, places)


_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "radians": math.radians,
    "degrees": math.degrees,
    "factorial": _factorial,
}
