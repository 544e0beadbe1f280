"""The card's example runs as it stands there."""

import re

from assay import catalogue


def test_the_example_on_the_card_runs(capsys):
    card = catalogue.entry("esb").card.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert "| calls | 2 | 25.00 | 0.00 | 0.00 |" in printed
    assert "0.25 0.0 ()" in printed
