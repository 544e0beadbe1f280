"""How hard an annotated solution is: its number of operators, and the largest product in it.

`<<7*4=28>>` is read by a grammar of numbers, + - * / and parentheses, and never evaluated as code:

    sum     = ["-"] product {("+" | "-") product}
    product = factor {("*" | "/") factor}
    factor  = number | "(" sum ")" | ("-" | "+") factor
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

LONGEST = 1000
"""Characters of an expression that are read."""
DEEPEST = 50
"""Parentheses or signs within one another."""

_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)|(?P<sign>[-+*/()]))")
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
    parser = _Parser(_tokens(expression), expression)
    value = parser.sum(0)
    if parser.position < len(parser.tokens):
        raise parser.error()
    return Evaluated(value, tuple(parser.products))


def _tokens(expression: str) -> list[str]:
    tokens, position, text = [], 0, expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{expression!r:.80} is no arithmetic: {text[position]!r} at {position}.")
        tokens.append(match["number"] or match["sign"])
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens, which collects products."""

    def __init__(self, tokens: list[str], expression: str) -> None:
        self.tokens, self.expression = tokens, expression
        self.position = 0
        self.products: list[float] = []

    def sum(self, depth: int) -> float:
        total = 0.0 if self._peek() == "-" else self.product(depth)
        while self._peek() in ("+", "-"):
            sign = 1.0 if self._take() == "+" else -1.0
            total = self._finite(total + sign * self.product(depth))
        return total

    def product(self, depth: int) -> float:
        value = self.factor(depth)
        while self._peek() in ("*", "/"):
            if self._take() == "*":
                value = self._finite(value * self.factor(depth))
                self.products.append(value)
            else:
                divisor = self.factor(depth)
                if divisor == 0:
                    raise ValueError(f"{self.expression!r:.80} divides by zero.")
                value = self._finite(value / divisor)
        return value

    def factor(self, depth: int) -> float:
        if depth > DEEPEST:
            raise ValueError(f"{self.expression!r:.80} is nested more than {DEEPEST} deep.")
        token = self._take()
        if token == "(":
            value = self.sum(depth + 1)
            if self._take() != ")":
                raise self.error()
            return value
        if token in ("-", "+"):
            return math.copysign(1.0, -1.0 if token == "-" else 1.0) * self.factor(depth + 1)
        if not token or token in "*/)":
            raise self.error()
        return self._finite(float(token))

    def error(self) -> ValueError:
        return ValueError(f"{self.expression!r:.80} is no whole arithmetic expression.")

    def _peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self.position += 1
        return token

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{self.expression!r:.80} leaves the range of floating-point numbers.")
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
