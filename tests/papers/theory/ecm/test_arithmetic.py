"""Arithmetic: the grammar, annotated_expressions, answers."""

import math
import random
import string

import pytest
from hypothesis import example, given, settings, strategies as st

from assay.papers.theory.ecm.method import (
    DifficultyUnavailable,
    annotated_expressions,
    answers_match,
    arithmetic_difficulty,
    evaluate,
    last_number,
)


@pytest.mark.parametrize(
    ("expression", "value", "products"),
    [
        ("2*3*4", 24, (6, 24)),
        ("(10+2)*3", 36, (36,)),
        ("8/2", 4, ()),
        ("0.5*10", 5, (5.0,)),
        (".5*10", 5, (5.0,)),
        ("-3+4", 1, ()),
        ("-3*4", -12, (12,)),  # 0 - 3 * 4
        ("2*-3", -6, (-6,)),
        ("2*3/6*5", 5, (6, 5)),
        (" 7 * ( 1 + 1 ) ", 14, (14,)),
        ("1-2-3", -4, ()),
        ("007*0.50*100", 350, (3.5, 350)),
        ("+".join(["1"] * 60), 60, ()),
    ],
)
def test_products_come_up_in_their_order(expression, value, products):
    found = evaluate(expression)
    assert found.value == pytest.approx(value)
    assert found.products == pytest.approx(products)


@pytest.mark.parametrize(
    "expression",
    ["", "2*", "(2", "2)", "2**3", "1/0", "1/(2-2)", "x*2", "__import__('os')", "2 3", "1e5", "9" * 1001,
     "(" * 300 + "1" + ")" * 300, "2(3)", "4//2", "1_000*2", "...",
     "*".join(["9" * 99] * 4), "²*3", "٣*2", "1,000*2", "()"],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(expression):
    with pytest.raises(ValueError):
        evaluate(expression)


def expressions(depth=3):
    """Return a strategy for pairs of an expression and what Python's own numbers make of it."""
    number = st.integers(0, 999).map(lambda n: (str(n), float(n)))

    def larger(inner):
        return st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda parts: (
                f"({parts[0][0]}{parts[1]}{parts[2][0]})",
                {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}[parts[1]](
                    parts[0][1], parts[2][1]
                ),
            )
        )

    return st.recursive(number, larger, max_leaves=12)


@given(expressions())
@settings(max_examples=60, deadline=None)
def test_the_grammar_agrees_with_arithmetic(pair):
    text, value = pair
    assert evaluate(text).value == pytest.approx(value)


@given(st.text(alphabet=string.digits + "+-*/(). xe_[]'", max_size=60) | st.text(max_size=40))
@example("__import__('os').system('true')")
@example("9**9**9")
@example("-" * 1000)
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_finite_number_or_a_value_error(text):
    try:
        found = evaluate(text)
    except ValueError:
        return
    assert math.isfinite(found.value)
    assert all(math.isfinite(product) for product in found.products)


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_solution_gives_a_difficulty_or_says_that_there_is_none(text):
    try:
        steps, load = arithmetic_difficulty(text)
    except DifficultyUnavailable:
        return
    assert steps >= 0
    assert load >= 0


# --- annotated solutions ------------------------------------------------------------------------

SOLUTION = """He walked 7 zib a day for 4 days, that is <<7*4=28>>28 zib.
With the way back he walked <<28+28=56>>56 zib.
So <<56*3=168>>168 steps.
#### 168"""


def test_steps_are_operators_and_load_is_the_largest_product():
    assert arithmetic_difficulty(SOLUTION) == (3, 168)
    assert arithmetic_difficulty("<<2*3*4=24>>\n<<24/2=12>>") == (3, 24)
    assert arithmetic_difficulty("<<8/2=4>>") == (1, 0)


def test_the_authors_filter_drops_nothing_and_ours_does():
    trivial = "<<0+446=446>>\n<<446*2=892>>"
    assert arithmetic_difficulty(trivial) == (2, 892)
    assert arithmetic_difficulty(trivial, drop_trivial=True) == (1, 892)


def test_a_line_counts_once_unless_all_are_asked_for():
    line = "First <<2*3=6>>6 and then <<6*9=54>>54."
    assert annotated_expressions(line) == ["2*3"]
    assert annotated_expressions(line, per_line=False) == ["2*3", "6*9"]
    assert arithmetic_difficulty(line, per_line=False) == (2, 54)


def test_what_cannot_be_read_has_operators_and_no_product():
    assert arithmetic_difficulty("<<x*2=4>>\n<<3*3=9>>") == (2, 9)
    assert arithmetic_difficulty("<<1/0*5=4>>") == (2, 0)


@pytest.mark.parametrize("solution", ["", "#### 5", "7*4=28", "<<>>", "<<5>>"])
def test_without_annotations_there_is_no_difficulty(solution):
    with pytest.raises(DifficultyUnavailable, match="annotat"):
        arithmetic_difficulty(solution)


def test_load_grows_with_every_factor():
    stream = random.Random(0)
    for _ in range(50):
        a, b = stream.randint(2, 900), stream.randint(2, 900)
        assert arithmetic_difficulty(f"<<{a}*{b}={a * b}>>")[1] == a * b


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 1,234.50 dollars", 1234.5),
        ("3 * 4 = 12", 12),
        ("3 * 4 = 12\n#### 1,000", 1000),
        ("so x = ", None),
        ("5 apples, x = twelve", None),
        ("it is -7.", -7),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number_after_the_last_equals_sign(text, number):
    assert last_number(text) == number


def test_answers_are_compared_signed_unless_the_authors_way_is_asked_for():
    assert answers_match("= 5", "#### 5")
    assert not answers_match("= -5", "#### 5")
    assert answers_match("= -5", "#### 5", signed=False)
    assert answers_match("5.009", "#### 5")
    assert not answers_match("5.02", "#### 5")
    assert not answers_match("I do not know", "#### 5")
