"""What the code on the card reads: an agent, made by the card's own command."""

from pathlib import Path

from card_commands import run_commands


def prepare(folder: Path) -> None:
    """Let an agent learn for a moment."""
    run_commands("model_generalization", "run model_generalization --env CartPole-v1", "--preset", "tiny")
