"""How hard an annotated solution is: its number of operators, and the largest product in it.

`<<7*4=28>>` is parsed as numbers, + - * / and parentheses, and never evaluated as code.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from dataclasses import dataclass

LONGEST = 1000
"""Characters of an expression that are read."""

_SIGNS = re.compile(r"[0-9.+\-*/()\s]*")
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ANNOTATION = re.compile(r"<<([^<>\n]*?)=[^<>\n]*>>")
_OPERATOR = re.compile(r"[-+*/]")
_NUMBER = re.compile(r"-?(?:[0-9][0-9,]*)?\.?[0-9]+|-?[0-9][0-9,]*")


class DifficultyUnavailable(ValueError):  # noqa: N818 - what is missing, not a fault
    """A solution says nothing of how hard its question is: it has no annotations."""


@dataclass(frozen=True)
class Evaluated:
    """The value of an expression, and the products that came up on the way, in their order."""

    value: float
    products: tuple[float, ...]


def evaluate(expression: str) -> Evaluated:
    """Compute an expression of numbers, + - * / and parentheses.

    A product is every result of `*`: 2*3*4 has 6 and 24, 8/2 has none. A leading minus is 0 minus the rest.

    Raises:
        ValueError: it is none, divides by zero, or leaves the range of floating-point numbers.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"The expression has {len(expression)} characters; at most {LONGEST} are read.")
    text = re.sub(r"(^|\()(\s*)-", r"\1\g<2>0-", expression.strip())
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", text)  # 007 is 7, which Python would refuse
    products: list[float] = []
    try:
        if not _SIGNS.fullmatch(text):
            raise SyntaxError
        value = _value(ast.parse(text, mode="eval").body, products)
    except ZeroDivisionError:
        raise ValueError(f"{expression!r:.80} divides by zero.") from None
    except OverflowError:
        raise ValueError(f"{expression!r:.80} leaves the range of floating-point numbers.") from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{expression!r:.80} is no whole arithmetic expression.") from None
    return Evaluated(value, tuple(products))


def _value(node: ast.expr, products: list[float]) -> float:
    """Return the value of a parsed expression, and add its products in the order in which they come up."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = float(node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, products) * (-1.0 if isinstance(node.op, ast.USub) else 1.0)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _value(node.left, products), _value(node.right, products)
        value = _OPERATIONS[type(node.op)](left, right)
        if isinstance(node.op, ast.Mult):
            products.append(value)
    else:
        raise SyntaxError
    if not math.isfinite(value):
        raise OverflowError
    return value


# --- annotated solutions ------------------------------------------------------------------------


def annotated_expressions(solution: str, per_line: bool = True) -> list[str]:
    """Return what stands left of "=" in each annotation `<<expression=value>>`.

    Args:
        solution: an answer as in GSM8K.
        per_line: only the first of a line, as the authors' greedy pattern has it; else all.
    """
    if not per_line:
        return _ANNOTATION.findall(solution)
    return [match[1] for line in solution.splitlines() if (match := _ANNOTATION.search(line))]


def arithmetic_difficulty(
    solution: str, *, drop_trivial: bool = False, per_line: bool = True
) -> tuple[float, float]:
    """Return the steps r1 and the load r2 of an annotated solution (section 3.2 of the authors' code).

    r1 is the number of operators: the authors' filter of trivial equations never drops one. r2 is the
    largest absolute product, 0 where nothing is multiplied. What cannot be read as arithmetic has operators
    and no product.

    Args:
        solution: with annotations `<<7*4=28>>`.
        drop_trivial: leave out equations that only add to 0, such as 0+446, from r1.
        per_line: see `annotated_expressions`.

    Raises:
        DifficultyUnavailable: there are no annotations, which is no sign of an easy question.
    """
    found = annotated_expressions(solution, per_line)
    if not found:
        raise DifficultyUnavailable(
            f"The solution {solution!r:.60} has no annotation such as <<7*4=28>>, so that its steps and load"
            " are not known: annotate it, give the difficulty yourself, or use a DifficultyEstimator."
        )
    operators = [len(_OPERATOR.findall(expression)) for expression in found]
    steps = sum(operators)
    if drop_trivial and steps == len(found):
        steps = sum(not re.match(r"\s*0+(\.0*)?\s*[-+]", expression) for expression in found)
    return float(steps), max((_largest_product(expression) for expression in found), default=0.0)


def _largest_product(expression: str) -> float:
    try:
        return max((abs(product) for product in evaluate(expression).products), default=0.0)
    except ValueError:
        return 0.0


# --- answers ------------------------------------------------------------------------------------


def last_number(text: str) -> float | None:
    """Return the last number after the last "=" (of the whole text without one), commas removed, or None."""
    numbers = _NUMBER.findall(text.rpartition("=")[2])
    value = float(numbers[-1].replace(",", "")) if numbers else math.nan
    return value if math.isfinite(value) else None


def answers_match(reply: str, solution: str, *, signed: bool = True, within: float = 0.01) -> bool:
    """Tell whether the last number of a reply is that of the solution.

    Args:
        reply: what the model wrote.
        solution: the reference, with its answer last.
        signed: -5 is not 5. The authors compare absolute values.
        within: the difference that still counts as equal.
    """
    given, expected = last_number(reply), last_number(solution)
    if given is None or expected is None:
        return False
    if not signed:
        given, expected = abs(given), abs(expected)
    return abs(given - expected) <= within
