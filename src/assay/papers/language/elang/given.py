"""Models of the user's own: loaded, trained further where asked, and brought to the table's classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError
from assay.models import ModelSource, load_model, load_tokenizer
from assay.papers.language.elang.config import Finetuning
from assay.papers.language.elang.method import (
    EnergyRouter,
    RoutedOutput,
    RoutingPolicy,
    TextClassifier,
    TextGenerator,
)
from assay.papers.language.elang.pair import classification_loss, compute_on
from assay.training import fit


def load_text_model(
    source: ModelSource, device: str, dtype: str, max_new_tokens: int, keep_logits: bool = True
) -> TextClassifier | TextGenerator:
    """Load a sequence classifier or an encoder-decoder, whichever the source is, as a function of texts."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    options = {"revision": source.revision or "main", "local_files_only": source.kind != "hub"}
    try:
        config = AutoConfig.from_pretrained(source.weights(), trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be loaded: {str(error).splitlines()[0]}") from error
    if not config.is_encoder_decoder:
        return load_classifier(source, device, dtype)
    model = load_model(source, AutoModelForSeq2SeqLM, device=device, dtype=dtype)
    return TextGenerator(model, load_tokenizer(source), max_new_tokens, keep_logits).eval()


def load_classifier(source: ModelSource, device: str, dtype: str) -> TextClassifier:
    """Load a sequence classifier as a function of texts."""
    from transformers import AutoModelForSequenceClassification

    model = load_model(source, AutoModelForSequenceClassification, device=device, dtype=dtype)
    return TextClassifier(model, load_tokenizer(source)).eval()


def load_for_finetuning(source: ModelSource, label_names: Sequence[str]) -> TextClassifier:
    """Load a pretrained encoder and put a new classification layer for these labels on top."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    encoder = load_model(source, AutoModel, dtype="float32")
    config = encoder.config
    config.id2label = dict(enumerate(label_names))  # sets num_labels too
    config.label2id = {name: number for number, name in enumerate(label_names)}
    model = AutoModelForSequenceClassification.from_config(config)
    model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # a pooler may be there or not
    return TextClassifier(model, load_tokenizer(source))


@dataclass(frozen=True)
class TextBatches:
    """Texts and labels in batches, in a new random order each pass."""

    texts: Sequence[str]
    labels: Int[Tensor, " rows"]
    batch_size: int
    generator: torch.Generator

    def __iter__(self) -> Iterator[tuple[list[str], Tensor]]:
        for rows in torch.randperm(len(self.labels), generator=self.generator).split(self.batch_size):
            yield [self.texts[row] for row in rows.tolist()], self.labels[rows]


def finetune(
    model: TextClassifier,
    texts: Sequence[str],
    labels: Int[Tensor, " rows"],
    options: Finetuning,
    device: str,
) -> int:
    """Train all weights of a classifier; return its gradient steps."""
    shuffled = TextBatches(
        texts, labels, options.batch_size, torch.Generator().manual_seed(torch.initial_seed())
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    model.to(device)
    history = fit(
        model,
        shuffled,
        classification_loss,
        optimizer=optimizer,
        epochs=options.epochs,
        clip=1.0,
        compute=compute_on(device),
    )
    model.eval()
    return history.gradient_steps


def align_labels(
    labels: Int[Tensor, " rows"], table_names: Sequence[str], model_names: Sequence[str] | None
) -> Int[Tensor, " rows"]:
    """Return the labels in the numbering of a model; a model that names no classes numbers them as the table.

    Raises:
        InputError: The model knows other classes than the table has.
    """
    if model_names is None:
        return labels
    number = {name.casefold(): position for position, name in enumerate(model_names)}
    unknown = [name for name in table_names if name.casefold() not in number]
    if unknown:
        raise InputError(
            f"The models know the classes {', '.join(model_names)}, but the table has {', '.join(unknown)}."
            " Rename them in the table, or give models that were trained on it."
        )
    return torch.tensor([number[name.casefold()] for name in table_names])[labels]


# --- the artefact -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FinetunedPair:
    """Two classifiers that were trained further here, with their policy: answers texts, or routes logits."""

    policy: RoutingPolicy
    """When Super answers."""
    swift: TextClassifier
    """The cheap model."""
    super_: TextClassifier
    """The accurate model."""

    @property
    def router(self) -> EnergyRouter:
        """Return the router of the pair, which checks that the policy is for these weights."""
        return EnergyRouter(self.swift, self.super_, policy=self.policy)

    def predict(self, inputs: Sequence[str]) -> RoutedOutput:
        """Answer texts."""
        return self.router.predict(inputs)

    def route(self, logits: Float[Tensor, "batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True for the rows that Super should answer, from Swift's logits."""
        return self.policy.route(logits)

    def save(self, folder: str | Path) -> None:
        """Write the policy, and each model as `save_pretrained` does."""
        self.policy.save(folder)
        for name, model in (("swift", self.swift), ("super", self.super_)):
            model.model.save_pretrained(Path(folder) / name)  # type: ignore[operator]
            model.tokenizer.save_pretrained(Path(folder) / name)

    @classmethod
    def load(cls, folder: str | Path) -> FinetunedPair:
        """Read what `save` wrote."""
        models = (ModelSource(f"folder:{Path(folder) / name}") for name in ("swift", "super"))
        swift, super_ = (load_classifier(source, "cpu", "float32") for source in models)
        return cls(RoutingPolicy.load(folder), swift, super_)
