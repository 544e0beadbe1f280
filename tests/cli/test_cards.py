"""The generated blocks and pages say what was measured."""

from __future__ import annotations

from assay.cli import cards


def test_a_block_is_filled_and_the_rest_stays() -> None:
    text = "before <!-- a:begin -->\nold\n<!-- a:end --> <!-- b:begin -->\n<!-- b:end -->"
    filled = cards.fill(text, "a", r"new \1" + "\n")
    assert filled == text.replace("old", r"new \1")
    assert cards.fill(text, "c", "new") == text


def test_the_page_of_results_is_current() -> None:
    assert cards.RESULTS.read_text(encoding="utf-8") == cards.results(), "run `make cards`"
