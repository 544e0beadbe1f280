"""What the user brings: facts, models, and the filter that should stop the facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from assay.errors import InputError
from assay.models import ModelSource, SentenceEncoder, load_model, load_tokenizer
from assay.own import import_own
from assay.papers.privacy.knowledge import FactRecord, facts_from_rwku, facts_from_tofu, read_facts
from assay.papers.privacy.ununlearning.config import Audit, Facts
from assay.papers.privacy.ununlearning.method import Filter, SimilarityFilter, StringFilter
from assay.training import Compute

MODELS = ("original", "retrained", "unlearned", "second_unlearned")
SHARED_WORDS = 8
"""Words in a row that block, for the filter `words`."""


def has_models(config: Audit) -> bool:
    """Return whether the user gave models; otherwise they are trained.

    Raises:
        InputError: models without facts or facts without models, or no model to audit.
    """
    named = [name for name in MODELS if getattr(config, name).source is not None]
    if not named:
        if config.facts.source is not None:
            raise InputError("--facts needs models: give --original and --unlearned, --retrained or both.")
        return False
    if "original" not in named or len(named) < 2:
        raise InputError(
            f"only {' and '.join(map(_option, named))} is given: an audit compares --original, the model"
            " before unlearning, with --unlearned, --retrained or both."
        )
    if config.facts.source is None:
        raise InputError("--facts is missing: say what was to be forgotten, as FILE.jsonl or tofu:forget10.")
    return True


def load_facts(facts: Facts) -> list[FactRecord]:
    """Read the facts of a file or of a published data set."""
    tables = facts.tables()
    if tables is None:
        assert facts.path is not None
        return read_facts(facts.path)
    read = facts_from_rwku if str(facts.source).startswith("rwku") else facts_from_tofu
    forget, retain = (table.load(needs=()) for table in tables)
    return [*read(forget, "forget"), *read(retain, "retain")]


def load_models(config: Audit, compute: Compute) -> tuple[dict[str, Any], PreTrainedTokenizerBase]:
    """Load the user's models, and the tokenizer of the original for all of them.

    Raises:
        InputError: a model cannot be loaded, or its tokenizer is another one.
    """
    sources = {
        name: ModelSource(source) for name in MODELS if (source := getattr(config, name).source) is not None
    }
    tokenizer = load_tokenizer(sources["original"])
    models = {}
    for name, source in sources.items():
        models[name] = load_model(
            source, AutoModelForCausalLM, device=compute.accelerator, dtype=config.dtype
        )
        rows = int(models[name].config.get_text_config().vocab_size)
        if rows < len(tokenizer) or _vocabulary(source, tokenizer) != tokenizer.get_vocab():
            raise InputError(
                f"{_option(name)} {source} has another tokenizer than the original ({rows} rows of embeddings"
                f" for {len(tokenizer)} tokens): give models with one vocabulary."
            )
    return models, tokenizer


def load_filters(config: Audit, facts: Sequence[FactRecord]) -> dict[str, Filter]:
    """Return the filter that was asked for, by its name."""
    named, forget = str(config.screen.source), [fact.fact for fact in facts if fact.split == "forget"]
    if named == "none" or not forget:
        return {}
    if named == "similarity":
        encoder = SentenceEncoder(ModelSource("bundled:minilm"))
        return {named: SimilarityFilter(encoder.encode, forget, config.similarity, config.screen_on)}
    if named in ("exact", "words"):
        words = SHARED_WORDS if named == "words" else None
        return {named: StringFilter(forget, words, config.screen_on)}
    function: Filter = import_own(named, "--screen")
    return {named: function}


def _vocabulary(source: ModelSource, default: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return a model's own vocabulary; a folder without a tokenizer has that of the original."""
    try:
        return load_tokenizer(source).get_vocab()
    except InputError:
        return default.get_vocab()


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
