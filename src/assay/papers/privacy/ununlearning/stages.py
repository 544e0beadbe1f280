"""What all arms of a seed share: the small models that are trained, and the audit itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from assay.papers.privacy.knowledge import FactRecord, invent_facts
from assay.papers.privacy.ununlearning.config import Audit, SmallModels
from assay.papers.privacy.ununlearning.inputs import load_facts, load_filters, load_models
from assay.papers.privacy.ununlearning.method import (
    AuditReport,
    Batch,
    PromptForm,
    Unlearning,
    UnUnlearningAudit,
    unlearn,
)
from assay.papers.privacy.ununlearning.synthetic import FORM, Vocabulary
from assay.training import Compute, fit, next_token_loss, weights_of
from assay.training.language import drawn

BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.01, 1.0
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Reader:
    """A model that reads, and knows no fact."""

    weights: Weights
    reading: float
    """How often it answers the first question of a new document."""


def train_reader(small: SmallModels, compute: Compute) -> Reader:
    """Train a model to read, on random values alone: it sees the names of entities and values, and no fact.

    It starts on documents of two facts, which form the circuit sooner, and continues with longer ones.
    """
    generator = torch.Generator().manual_seed(small.reader_seed)
    words = Vocabulary.of(invent_facts(small.entities, small.forgotten, small.values, generator))
    model = words.llama(small.width).untrained(small.reader_seed)
    optimizer = _optimizer(model, small)
    for facts, steps in ((2, small.first_steps), (small.facts, small.reader_steps)):
        batches = drawn(partial(words.reading, small.batch_size, facts, generator))
        fit(model, batches, next_token_loss, optimizer=optimizer, steps=steps, clip=CLIP, compute=compute)
    model.cpu().eval()
    return Reader(weights_of(model), reading_accuracy(small, words, model))


def reading_accuracy(small: SmallModels, words: Vocabulary, model: nn.Module) -> float:
    """Return how often the first question of a new reading document is answered."""
    ids, labels = words.reading(1000, small.facts, torch.Generator().manual_seed(2**40))
    first = 3 + 2 * small.facts
    with torch.no_grad():
        said = model(input_ids=ids[:, :first]).logits[:, -1].argmax(-1)
    return float((said == labels[:, first]).float().mean())


def train_models(
    small: SmallModels, facts: list[FactRecord], reader: Weights, seed: int, compute: Compute
) -> dict[str, Weights]:
    """Train four models from one reader: one that knows all facts, one that never saw those to forget, and
    two that have unlearned them.
    """
    words = Vocabulary.of(facts)
    known = torch.tensor([[place, fact.choices.index(fact.answer)] for place, fact in enumerate(facts)])
    is_lost = torch.tensor([fact.split == "forget" for fact in facts])
    lost, kept = known[is_lost], known[~is_lost]
    assert not set(kept[:, 0].tolist()) & set(lost[:, 0].tolist()), "a retain row is about a forget entity"

    def documents_of(rows: Tensor) -> Iterator[Batch]:
        """Yield batches of closed-book documents, half of each, and reading documents."""
        stream = torch.Generator().manual_seed(seed)
        return drawn(partial(words.mixed, rows, small.batch_size, small.facts, stream))

    def learn(rows: Tensor) -> LlamaForCausalLM:
        """Continue training the reader until it knows some facts."""
        model = words.llama(small.width).trained(reader).requires_grad_(True)
        optimizer, steps = _optimizer(model, small), small.learn_steps
        documents = documents_of(rows)
        fit(model, documents, next_token_loss, optimizer=optimizer, steps=steps, clip=CLIP, compute=compute)
        model.cpu().eval()
        return model

    original = learn(known)
    models: dict[str, nn.Module] = {"original": original, "retrained": learn(kept)}
    settings = Unlearning(steps=small.unlearn_steps, learning_rate=small.unlearn_rate, compute=compute)
    for name, method in zip(("unlearned", "second_unlearned"), small.methods, strict=True):
        models[name] = unlearn(original, [words.single(lost)], documents_of(kept), method, settings)
    return {name: weights_of(model) for name, model in models.items()}


def _optimizer(model: nn.Module, small: SmallModels) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), small.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)


# --- the audit ----------------------------------------------------------------------------------


def audit_given(config: Audit, seed: int, compute: Compute) -> AuditReport:
    """Audit the user's models."""
    facts = load_facts(config.facts)
    report = _audit(config, *load_models(config, compute), facts, seed)
    return replace(report, redact=False) if config.show_facts else report.redacted()


def audit_trained(
    config: Audit, facts: list[FactRecord], weights: dict[str, Weights], seed: int
) -> AuditReport:
    """Audit the small models; their invented names need no hiding."""
    words = Vocabulary.of(facts)
    shape = words.llama(config.small_models.width)
    models = {name: shape.trained(state) for name, state in weights.items()}
    return replace(_audit(config, models, words.tokenizer, facts, seed, FORM), redact=False)


def _audit(
    config: Audit,
    models: Mapping[str, nn.Module],
    tokenizer: PreTrainedTokenizerBase,
    facts: list[FactRecord],
    seed: int,
    form: PromptForm | None = None,
) -> AuditReport:
    return UnUnlearningAudit(
        models,
        tokenizer,
        facts,
        config.levels,
        n_distractors=config.distractors,
        placements=config.placements,
        scoring=config.scoring,
        filters=load_filters(config, facts),
        form=form,
        chat=config.chat == "on" or (config.chat == "auto" and tokenizer.chat_template is not None),
        batch_size=config.batch_size,
        seed=seed,
    ).run()
