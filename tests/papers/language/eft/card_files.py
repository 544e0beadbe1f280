"""What the code on the card reads: three language models, and replies made by the card's own command."""

from pathlib import Path

from assay.models import tiny_causal_lm, word_tokenizer
from card_commands import run_commands
from papers.language.eft.small_models import nudged

WORDS = [f"word{number}" for number in range(20)]


def prepare(folder: Path) -> None:
    """Write a large base, a small reference and a tuned model, and let them reply to prompts."""
    tokenizer = word_tokenizer([" ".join(WORDS * 3)], vocab_size=60)
    small = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, seed=1, context=64)
    large = tiny_causal_lm(tokenizer, hidden=32, layers=1, heads=2, seed=0, context=64)
    for name, model in {"large": large, "small": small, "small-chat": nudged(small, 1, 0.01)}.items():
        save(model, tokenizer, folder / name)
    write_prompts(folder)
    run_commands("eft", "run eft --base folder:large", "--max-new-tokens", "5")


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"folder:{folder}"


def write_prompts(folder):
    path = folder / "prompts.txt"
    path.write_text("word1 word2 word3\nword4\nword5 word6 word7 word8\n")
    return str(path)
