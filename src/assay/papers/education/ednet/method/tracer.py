"""Training and use of knowledge tracers: one interface over networks and baselines, and how they are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from assay import records
from assay.errors import InputError
from assay.papers.education.ednet.method.networks import NETWORKS, Batch, Network, NetworkSize
from assay.papers.education.ednet.method.schema import KTSchema
from assay.papers.education.ednet.method.simple import BKT, IRT, PFA, MeanModel
from assay.papers.education.ednet.method.steps import Catalogue, Steps
from assay.papers.education.ednet.method.windows import KTDataset
from assay.training import Compute, fit
from assay.training.evaluation import mode

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BASELINES: dict[str, type[MeanModel | IRT | PFA | BKT]] = {
    "mean": MeanModel,
    "irt": IRT,
    "pfa": PFA,
    "bkt": BKT,
}
MODELS = (*BASELINES, *NETWORKS)


@runtime_checkable
class Predictor(Protocol):
    """Anything that gives the chance of each answer from the steps before it."""

    def predict(self, steps: Steps) -> np.ndarray:
        """Return float64 [steps]."""
        ...


def auc(chance: np.ndarray, correct: np.ndarray) -> float:
    """Return the area under the ROC curve over all answers together; 0.5 where all answers are alike."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(correct, chance)) if len(np.unique(correct)) == 2 else 0.5


def scored_auc(model: Predictor, steps: Steps) -> float:
    """Return the AUC over the answers that count: all but each learner's first."""
    rows = steps.scored
    return auc(model.predict(steps)[rows], steps.correct[rows])


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    `epochs`: passes at most. `patience`: passes without a better validation AUC before it stops.
    `learning_rate`: of Adam. `batch_size`: windows in a step. `clip`: longest gradient.
    """

    epochs: int = 30
    patience: int = 4
    learning_rate: float = 5e-3
    batch_size: int = 32
    clip: float = 1.0


@dataclass
class Trained:
    """What happened: validation AUC after each pass, the best of them, and gradient steps."""

    validation: list[float] = field(default_factory=list)
    best: float = -math.inf
    gradient_steps: int = 0


def answer_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the mean binary cross-entropy over the answers of a batch."""
    return nn.functional.binary_cross_entropy(
        network(batch)[batch.trained].clamp(1e-6, 1 - 1e-6), batch.correct[batch.trained].float()
    )


def train_network(
    network: Network,
    train: Steps,
    validation: Steps,
    training: Training | None = None,
    *,
    generator: torch.Generator,
    compute: Compute | None = None,
    on_epoch: Callable[[int, float], object] | None = None,
) -> Trained:
    """Train a network in place, and leave it as it was after the pass with the best validation AUC.

    Args:
        network: what is trained.
        train: learners to learn from.
        validation: other learners, who say when to stop.
        training: how.
        generator: of the order of windows.
        compute: devices and precision.
        on_epoch: called with the pass and its validation AUC.
    """
    training = training or Training()
    batches = KTDataset(train, network.size.seq_len).batches(training.batch_size, generator)
    optimizer = torch.optim.Adam(network.parameters(), training.learning_rate, fused=True)
    trained = Trained()
    best: dict[str, Tensor] = {}
    since = 0

    def after(step: int, _: Tensor) -> bool:
        nonlocal best, since
        if step % len(batches):
            return False
        found = scored_auc(NeuralTracer(network), validation)
        trained.validation.append(found)
        if on_epoch is not None:
            on_epoch(len(trained.validation), found)
        since += 1
        if found > trained.best:
            trained.best, since = found, 0
            best = {name: value.clone() for name, value in network.state_dict().items()}
        return since >= training.patience

    history = fit(
        network,
        batches,
        answer_loss,
        optimizer=optimizer,
        epochs=training.epochs,
        clip=training.clip,
        compute=compute,
        on_step=after,
    )
    trained.gradient_steps = history.gradient_steps
    network.load_state_dict(best)
    return trained


class NeuralTracer:
    """A network as a predictor. Long histories go through overlapping windows."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer; steps that are none get 0.5."""
        length = self.network.size.seq_len
        data = KTDataset(steps, length, stride=max(length // 2, 1))
        chances = np.full(len(steps), 0.5)
        device = next(self.network.parameters()).device
        with mode(self.network, training=False), torch.inference_mode():
            for batch in data.batches(128):
                found = self.network(Batch(*(part.to(device) for part in batch))).cpu()
                rows = batch.row[batch.trained]
                chances[rows.numpy()] = found[batch.trained].double().numpy()
        return chances


def build_network(name: str, catalogue: Catalogue, size: NetworkSize) -> Network:
    """Return an untrained network for a catalogue.

    Raises:
        InputError: there is no such network, or its width cannot be shared by its heads.
    """
    if name in ("sakt", "saint") and size.width % size.heads:
        raise InputError(
            f"A width of {size.width} cannot be shared by {size.heads} heads; choose a multiple."
        )
    return NETWORKS[name](torch.from_numpy(catalogue.tags), len(catalogue.skills), size)


@dataclass
class KnowledgeTracer:
    """A trained model together with the questions and skills that it knows.

    Args:
        name: mean, irt, pfa, bkt, dkt, dkvmn, sakt or saint.
        model: the baseline, or a `NeuralTracer`.
        catalogue: questions and skills.
        schema: which columns of a table are what.
    """

    name: str
    model: Any
    catalogue: Catalogue
    schema: KTSchema = field(default_factory=KTSchema)

    def predict(self, data: Steps | pa.Table | pd.DataFrame) -> np.ndarray:
        """Return the chance of each answer from those before it: float64.

        Args:
            data: steps in this catalogue, or a table with the columns that the model was trained on. A
            table's
                rows may be reordered (learner by learner, in time) and merged (several skills of a question):
                `trace` says which row is which.
        """
        return self.model.predict(self.steps_of(data))  # type: ignore[no-any-return]

    def steps_of(self, data: Steps | pa.Table | pd.DataFrame) -> Steps:
        """Return a table as steps in this catalogue; questions that the model does not know are content 0."""
        return data if isinstance(data, Steps) else self.schema.map(data, self.catalogue).steps

    def trace(self, data: pa.Table | pd.DataFrame) -> list[dict[str, Any]]:
        """Return one row a step: user, item, correct, and the chance that the model gave it."""
        steps = self.steps_of(data)
        names = ("", *self.catalogue.names)
        columns = (
            steps.owner.tolist(),
            steps.item.tolist(),
            steps.correct.tolist(),
            self.predict(steps).tolist(),
        )
        return [
            {"user": steps.users[owner], "item": names[item], "correct": correct, "chance": chance}
            for owner, item, correct, chance in zip(*columns, strict=True)
        ]

    def next(self, history: Sequence[tuple[str, int]], questions: Sequence[str]) -> dict[str, float]:
        """Return the chance that a learner answers each question right, after a history.

        Args:
            history: question and answer (1 right, 0 wrong), in order.
            questions: candidates for the next one.

        Raises:
            InputError: a question is not known.
        """
        numbers = {name: number for number, name in enumerate(self.catalogue.names, 1)}
        for name in (*(question for question, _ in history), *questions):
            if name not in numbers:
                raise InputError(
                    f"The model does not know the question {name!r}: it saw {len(numbers)} others."
                )
        length = len(history) + 1
        item = [number for q in questions for number in (*(numbers[name] for name, _ in history), numbers[q])]
        steps = Steps(
            users=tuple(questions),
            starts=np.arange(len(questions) + 1) * length,
            item=np.array(item, np.int64),
            correct=np.array([*(right for _, right in history), 0] * len(questions), np.int8),
            kind=np.zeros(length * len(questions), np.int8),
            catalogue=self.catalogue,
        )
        chances = self.model.predict(steps)[length - 1 :: length]
        return dict(zip(questions, chances.tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the model, without pickle."""
        if isinstance(self.model, NeuralTracer):
            network = self.model.network
            learnt: dict[str, Any] = {
                "size": dataclasses.asdict(network.size),
                "weights": network.state_dict(),
            }
        else:
            learnt = {"state": self.model.state()}
        book = self.catalogue
        catalogue = {"names": list(book.names), "tags": book.tags, "skills": list(book.skills)}
        described = {"name": self.name, "schema": dataclasses.asdict(self.schema), "catalogue": catalogue}
        records.save(folder, described | learnt)

    @classmethod
    def load(cls, folder: Path) -> KnowledgeTracer:
        """Read what `save` wrote."""
        tree = records.load(folder)
        book = tree["catalogue"]
        catalogue = Catalogue(tuple(book["names"]), book["tags"], tuple(book["skills"]))
        model: Any
        if tree["name"] in NETWORKS:
            network = build_network(tree["name"], catalogue, NetworkSize(**tree["size"]))
            network.load_state_dict(tree["weights"])
            model = NeuralTracer(network.eval())
        else:
            model = BASELINES[tree["name"]]().restore(tree["state"])
        return cls(tree["name"], model, catalogue, KTSchema(**tree["schema"]))
