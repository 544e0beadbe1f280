"""Classifiers of any kind of row: the user's transformers model, fine-tuned, or a small network made here.

spec = ClassifierSpec("mlp", inputs=64, hidden=(16,))
classifier = Classifier(spec, outputs=10).standardise(rows)
train_classifier(classifier, (rows, labels), Training(epochs=5))
classifier(rows), classifier.features(rows)                # logits and embeddings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from assay.artefact import Artefact
from assay.models.bodies import (
    MeanWordBody,
    PositionMean,
    Standardise,
    TransformerBody,
    cifar_resnet,
    load_config,
    longest_input,
    tokenize,
)
from assay.models.networks import BagOfEmbeddings, ConvNet, hash_words, mlp
from assay.models.pretrained import load_model, load_tokenizer
from assay.models.source import ModelSource
from assay.training import Compute, History, batches, fit, predict

if TYPE_CHECKING:  # which takes seconds to import
    from assay.models.encoders import SentenceEncoder

Rows = Sequence[str] | Tensor
"""Texts, a table of numbers [n, d], or pictures [n, channels, height, width] from 0 to 1."""

Kind = Literal["mlp", "words", "sentences", "transformer", "conv", "resnet"]
READS: dict[Kind, Literal["numbers", "texts", "pictures"]] = {
    "mlp": "numbers",
    "words": "texts",
    "sentences": "texts",
    "transformer": "texts",
    "conv": "pictures",
    "resnet": "pictures",
}


@dataclass(frozen=True)
class ClassifierSpec:
    """What it takes to build a classifier below its last layer."""

    kind: Kind
    """`mlp`: a perceptron on standardised numbers. `words`: a bag of hashed words. `sentences`: a perceptron
    on a frozen sentence encoder. `transformer`: an encoder that is fine-tuned. `conv`: a small convolutional
    network. `resnet`: a CIFAR ResNet."""
    inputs: int = 0
    """Numbers a row, or channels of a picture."""
    hidden: tuple[int, ...] = ()
    """Hidden units of each layer, where there are some."""
    dropout: float = 0.0
    """Of hidden units; of words where the kind is `words`."""
    buckets: int = 0
    """Word ids."""
    width: int = 16
    """Numbers a word embedding, or channels of the first block."""
    depth: int = 0
    """Blocks of `conv`, or layers of `resnet`: 9 n + 2."""
    max_words: int = 128
    """Words or tokens that are read of a text."""
    source: str | None = None
    """Where the encoder of `sentences` or `transformer` comes from."""
    columns: tuple[str, ...] = ()
    """The columns of a table that are read, by name; without them, all."""

    @property
    def reads(self) -> Literal["numbers", "texts", "pictures"]:
        """What the rows are."""
        return READS[self.kind]


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier as plain values and tensors."""

    spec: ClassifierSpec
    outputs: int
    weights: dict[str, Tensor]
    """Without those of a frozen encoder, which its own source keeps."""
    files: dict[str, bytes]
    """The configuration and the tokenizer of a transformer."""


class Classifier(nn.Module, Artefact):
    """A network on rows of one kind with a linear layer `head` on top.

    It is called with rows as they come (texts; numbers [n, d]; pictures [n, c, h, w]) or with what `prepare`
    made of them, and gives logits [n, outputs]: `classifier(x) == classifier.head(classifier.features(x))`.

    Args:
        spec: of the network below its head.
        outputs: number of logits.
        head: makes the head from the width of its input, where it is to be another than `nn.Linear`.
        files: the configuration and the tokenizer of a transformer, in place of its source.
    """

    def __init__(
        self,
        spec: ClassifierSpec,
        outputs: int,
        head: Callable[[int], nn.Linear] | None = None,
        files: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.encoder: SentenceEncoder | None = None
        if spec.kind == "sentences":
            from assay.models.encoders import SentenceEncoder

            self.encoder = SentenceEncoder(ModelSource(str(spec.source)))
            spec = replace(spec, inputs=self.encoder.dimension)
        body, width, own = _build(spec, outputs if head is None else 1, files)
        self.body = body
        self.head = (own or nn.Linear(width, outputs)) if head is None else head(width)

    def __repr__(self) -> str:
        """Return one line, not all layers."""
        return f"Classifier({self.spec.kind!r}, {self.head.in_features} features, {self.outputs} outputs)"

    @property
    def outputs(self) -> int:
        """The number of logits."""
        return self.head.out_features

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def standardise(self, rows: Tensor, correction: int = 0) -> Classifier:
        """Take the mean and the deviation of training rows; only `mlp` has use for them."""
        for part in self.body.children():
            if isinstance(part, Standardise):
                part.fit(rows, correction)
        return self

    def check_rows(self, rows: Any) -> list[str] | Tensor:
        """Return rows of the user's as a list of texts or a tensor of float32, in their order.

        Args:
            rows: texts, or a table with one column of them; numbers [n, d] as a DataFrame, an array, a tensor
                or nested lists; or pictures [n, channels, height, width] with values from 0 to 1.

        Raises:
            ValueError: the rows are of another kind or size than those that the classifier was built for.
        """
        if self.spec.reads == "texts":
            return _texts(rows, self.spec.columns)
        if self.spec.reads == "numbers":
            return _numbers(rows, self.spec)
        return _pictures(rows, self.spec.inputs)

    def prepare(self, rows: Rows) -> Tensor:
        """Return rows as the body reads them: word ids, tokens, sentence embeddings, numbers or pictures."""
        if isinstance(rows, Tensor):
            return rows
        if self.encoder is not None:
            return self.encoder.encode(rows, max_length=self.spec.max_words).clone()  # can be trained on
        if isinstance(self.body, TransformerBody):
            return tokenize(self.body.tokenizer, rows, self.body.max_tokens)
        return prepare_rows(self.spec, rows)

    def features(self, rows: Rows) -> Float[Tensor, "n f"]:
        """Give the input of the head."""
        features: Tensor = self.body(self.prepare(rows).to(self.device))
        return features

    def forward(self, rows: Rows) -> Float[Tensor, "n outputs"]:
        """Give the logits."""
        logits: Tensor = self.head(self.features(rows))
        return logits

    def logits(self, rows: Any, batch_size: int = 256) -> Float[Tensor, "n outputs"]:
        """Return the logits of the user's rows in evaluation mode; errors as in `check_rows`."""
        return predict(self, self.prepare(self.check_rows(rows)), batch_size=batch_size)

    def record(self) -> SavedClassifier:
        """Return what it takes to build the classifier again."""
        weights = {
            name: value.detach().cpu()
            for name, value in self.state_dict().items()
            if not name.startswith("encoder.")
        }
        written = self.body.to_files() if isinstance(self.body, TransformerBody) else {}
        return SavedClassifier(self.spec, self.outputs, weights, written)

    @classmethod
    def from_record(cls, record: SavedClassifier) -> Classifier:
        """Build the classifier that `record` describes, in evaluation mode."""
        spec = record.spec
        classifier = cls(spec, record.outputs, files=record.files or None)
        classifier.load_state_dict(record.weights, strict=spec.kind != "sentences")
        return classifier.eval()


def prepare_rows(spec: ClassifierSpec, rows: Rows) -> Tensor:
    """Return what `Classifier.prepare` gives, without loading a transformer's weights."""
    if isinstance(rows, Tensor):
        return rows
    if spec.kind == "words":
        return hash_words(rows, spec.buckets, spec.max_words)
    source = ModelSource(str(spec.source))
    tokenizer = load_tokenizer(source)
    return tokenize(tokenizer, rows, min(spec.max_words, longest_input(load_config(source), tokenizer)))


def _build(
    spec: ClassifierSpec, outputs: int, files: dict[str, bytes] | None
) -> tuple[nn.Module, int, nn.Linear | None]:
    """Return a body, the width of what it gives, and the head of the reference network that it is from."""
    if spec.reads == "numbers" or spec.kind == "sentences":
        perceptron = mlp(spec.inputs, spec.hidden, outputs, spec.dropout)
        first = [Standardise(spec.inputs)] if spec.kind == "mlp" else []
        head = perceptron.head
        return nn.Sequential(*first, perceptron.body), head.in_features, head
    if spec.kind == "words":
        bag = BagOfEmbeddings(spec.buckets, spec.width, 1 if spec.hidden else outputs)
        body = MeanWordBody(bag.embedding, spec.hidden, spec.dropout)
        return body, (spec.hidden or (spec.width,))[-1], None if spec.hidden else bag.head
    if spec.kind == "transformer":
        encoder = TransformerBody.from_files(files, spec.max_words) if files else _load_encoder(spec)
        return encoder, encoder.width, None
    if spec.kind == "resnet":
        return cifar_resnet(spec.inputs, spec.depth), 256, None
    network = ConvNet(spec.inputs, outputs, spec.width, spec.depth)
    return nn.Sequential(network.body, PositionMean()), network.head.in_features, network.head


def _load_encoder(spec: ClassifierSpec) -> TransformerBody:
    from transformers import AutoModel

    source = ModelSource(str(spec.source))
    model = load_model(source, AutoModel, dtype="float32")
    return TransformerBody(model, load_tokenizer(source), spec.max_words)


# --- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How a classifier is trained."""

    steps: int | None = None
    """Gradient steps; either these or `epochs`."""
    epochs: int | None = None
    """Passes over the rows."""
    batch_size: int = 32
    """Rows a gradient step, or all where there are fewer."""
    learning_rate: float = 1e-3
    """Of the optimizer."""
    weight_decay: float = 0.01
    """Of the optimizer."""
    momentum: float | None = None
    """SGD with this momentum; None is AdamW."""
    cosine: bool = False
    """The learning rate falls to zero as a cosine."""
    clip: float | None = None
    """The largest norm of the gradient."""
    fused: bool = False
    """One kernel updates all weights; the last digits differ."""

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of a model's free parameters."""
        free = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if self.momentum is not None:
            return SGD(free, self.learning_rate, self.momentum, weight_decay=self.weight_decay)
        return AdamW(free, self.learning_rate, weight_decay=self.weight_decay, fused=self.fused or None)


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
    """Return the cross entropy of a batch of rows and labels."""
    rows, labels = batch
    return cross_entropy(model(rows), labels)


def train_classifier(
    model: nn.Module,
    data: tuple[Tensor, ...],
    training: Training,
    generator: torch.Generator,
    loss: Callable[[nn.Module, Any], Tensor] = classification_loss,
    compute: Compute | None = None,
) -> History:
    """Train a classifier in place; it is left in evaluation mode.

    Args:
        model: a `Classifier`, or any module that `loss` can call.
        data: prepared rows, their labels, and whatever else `loss` takes of each row.
        training: how.
        generator: draws the order of the rows.
        loss: of the model and a batch of `data`.
        compute: devices and precision.
    """
    size = min(training.batch_size, len(data[0]))
    normed = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
    alone = normed and size > 1 and len(data[0]) % size == 1  # batch norm learns nothing from one row
    loader = batches(*data, batch_size=size, generator=generator, drop_last=alone)
    optimizer = training.optimizer(model)
    total = training.steps or (training.epochs or 0) * len(loader)
    history = fit(
        model,
        loader,
        loss,
        optimizer=optimizer,
        steps=training.steps,
        epochs=training.epochs,
        scheduler=CosineAnnealingLR(optimizer, total) if training.cosine else None,
        clip=training.clip,
        compute=compute,
    )
    model.eval()
    return history


# --- rows of the user's -------------------------------------------------------------------------


def _texts(rows: Any, columns: Sequence[str]) -> list[str]:
    if isinstance(rows, str):
        return [rows]
    if hasattr(rows, "columns"):
        names = list(columns) if set(columns) <= set(rows.columns) and columns else _text_columns(rows)
        if len(names) != 1:
            raise ValueError(
                f"This classifier reads texts, and the table has {len(names)} columns of them"
                f" ({', '.join(map(str, rows.columns))}); give the one column."
            )
        rows = rows[names[0]]
    texts = [] if isinstance(rows, Mapping | bytes) or np.ndim(rows) == 0 else list(rows)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("This classifier reads texts; give a list of strings.")
    return [str(text) for text in texts]


def _text_columns(table: Any) -> list[str]:
    return [name for name in table.columns if all(isinstance(value, str) for value in table[name])]


def _numbers(rows: Any, spec: ClassifierSpec) -> Float[Tensor, "n d"]:
    if hasattr(rows, "columns") and spec.columns:
        missing = [name for name in spec.columns if name not in rows.columns]
        if missing:
            raise ValueError(
                f"This classifier reads the columns {', '.join(spec.columns)}; {missing[0]!r} is missing."
            )
        rows = rows[list(spec.columns)]
    table = _array(rows, f"[n, {spec.inputs}] numbers")
    if table.ndim != 2 or table.shape[1] != spec.inputs:
        raise ValueError(f"This classifier reads [n, {spec.inputs}] numbers; got shape {tuple(table.shape)}.")
    if not torch.isfinite(table).all():
        row, column = (~torch.isfinite(table)).nonzero()[0].tolist()
        raise ValueError(
            f"Row {row} has no finite number in column {column}; fill it in or leave the row out."
        )
    return table


def _pictures(rows: Any, channels: int) -> Float[Tensor, "n c h w"]:
    wanted = f"[n, {channels}, height, width] pictures with values from 0 to 1"
    pictures = _array(rows, wanted, kinds="f")
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise ValueError(f"This classifier reads {wanted}; got shape {tuple(pictures.shape)}.")
    if not ((pictures >= 0) & (pictures <= 1)).all():
        raise ValueError(f"This classifier reads {wanted}; some values lie outside.")
    return pictures


def _array(rows: Any, wanted: str, kinds: str = "fiub") -> Tensor:
    values = rows.detach().cpu() if isinstance(rows, Tensor) else rows
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in kinds:
        raise ValueError(f"This classifier reads {wanted}; got {type(rows).__name__} of {array.dtype}.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
