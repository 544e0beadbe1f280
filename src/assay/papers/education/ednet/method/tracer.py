"""Training and use of knowledge tracers: one interface over networks and baselines, and how they are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from assay.artefact import Artefact
from assay.errors import InputError
from assay.papers.education.ednet.method.networks import NETWORKS, Batch, Network, NetworkSize
from assay.papers.education.ednet.method.simple import BKT, IRT, PFA, MeanModel
from assay.papers.education.ednet.method.windows import Batches, KTDataset
from assay.papers.education.logs import KTSchema, plain_name
from assay.papers.education.steps import Catalogue, Steps
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
Name = Hashable


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
    `learning_rate`: of Adam. `batch_size`: windows in a step. `clip`: longest gradient. `compute`: devices
    and precision.
    """

    epochs: int = 30
    patience: int = 4
    learning_rate: float = 5e-3
    batch_size: int = 32
    clip: float = 1.0
    compute: Compute | None = None


@dataclass
class Trained:
    """What happened: validation AUC after each pass, the best of them, and gradient steps."""

    validation: list[float] = field(default_factory=list)
    best: float = -math.inf
    gradient_steps: int = 0


def answer_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the mean binary cross-entropy over the answers of a batch."""
    chance = network(batch)[batch.trained]
    chance = chance.to(torch.promote_types(chance.dtype, torch.float32)).clamp(1e-6, 1 - 1e-6)
    with torch.autocast(chance.device.type, enabled=False):  # torch refuses this loss in half precision
        return nn.functional.binary_cross_entropy(chance, batch.correct[batch.trained].to(chance))


def train_network(
    network: Network,
    train: Steps,
    validation: Steps,
    training: Training | None = None,
    *,
    generator: torch.Generator,
    on_epoch: Callable[[int, float], object] | None = None,
) -> Trained:
    """Train a network in place, and leave it as it was after the pass with the best validation AUC.

    The generator draws the order of windows; `on_epoch` is called with the pass and its validation AUC.
    """
    training, trained = training or Training(), Trained()
    batches = Batches(KTDataset(train, network.size.seq_len), training.batch_size, generator)
    optimizer = torch.optim.Adam(network.parameters(), training.learning_rate, fused=True)
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
        compute=training.compute,
        on_step=after,
    )
    trained.gradient_steps = history.gradient_steps
    network.load_state_dict(best)
    return trained


class NeuralTracer:
    """A network as a predictor, and how its training went. Long histories go through overlapping windows."""

    def __init__(self, network: Network, trained: Trained | None = None) -> None:
        self.network, self.trained = network, trained or Trained()

    def predict(self, steps: Steps) -> np.ndarray:
        """Return the chance of each answer; steps that are none get 0.5."""
        length = self.network.size.seq_len
        data = KTDataset(steps, length, stride=max(length // 2, 1))
        chances = np.full(len(steps), 0.5)
        device = next(self.network.parameters()).device
        with mode(self.network, training=False), torch.inference_mode():
            for batch in Batches(data, 128):
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
class KnowledgeTracer(Artefact):
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
        """Return the chance of each answer from those before it: float64, in the order of the data.

        Args:
            data: a table with the columns that the model was trained on, or steps in this catalogue. Of a
                table, one value a row (one for each answer, where a row is a learner with lists); NaN where
                there is no learner or no answer, or the question was not in training.
        """
        if isinstance(data, Steps):
            chances: np.ndarray = self.model.predict(data)
            return chances
        return self.trace(data)["chance"].to_numpy()

    def trace(self, data: pa.Table | pd.DataFrame) -> pd.DataFrame:
        """Return a frame with the rows and the index of the data, so that it can be joined to them.

        Its columns: `user` and `item`, as the model calls them; `step`, the place in the learner's history
        (rows that are one question for several skills share it); `correct`; and the `chance` that the model
        gave to a right answer.
        """
        import pandas as pd

        mapped = self.schema.map(data, self.catalogue)
        steps, known = mapped.steps, mapped.rows >= 0
        of = mapped.rows[known]
        columns = {
            "user": np.array(steps.users, object)[steps.owner],
            "item": np.array([None, *self.catalogue.names], object)[steps.item],
            "step": np.arange(len(steps)) - steps.starts[:-1][steps.owner],
            "correct": steps.correct,
            "chance": np.where(steps.item > 0, self.predict(steps), np.nan),
        }
        index = data.index[mapped.parents] if isinstance(data, pd.DataFrame) else mapped.parents
        found = pd.DataFrame(
            {name: values[of] for name, values in columns.items()}, index=np.flatnonzero(known)
        )
        return found.reindex(range(len(known))).set_axis(index)

    def next(self, history: Sequence[tuple[Name, int]], questions: Sequence[Name]) -> dict[Name, float]:
        """Return the chance that a learner answers each question right, after a history.

        Args:
            history: question and answer (1 right, 0 wrong), in order. Numbers stand for their text.
            questions: candidates for the next one.

        Raises:
            InputError: a question is not known.
        """
        numbers = {name: number for number, name in enumerate(self.catalogue.names, 1)}
        past, asked = [plain_name(name) for name, _ in history], [plain_name(name) for name in questions]
        for name in (*past, *asked):
            if name not in numbers:
                raise InputError(
                    f"The model does not know the question {name!r}: it saw {len(numbers)} others."
                )
        length = len(history) + 1
        item = [numbers[name] for question in asked for name in (*past, question)]
        steps = Steps(
            users=tuple(asked),
            starts=np.arange(len(questions) + 1) * length,
            item=np.array(item, np.int64),
            correct=np.array([*(right for _, right in history), 0] * len(questions), np.int8),
            kind=np.zeros(length * len(questions), np.int8),
            catalogue=self.catalogue,
        )
        chances = self.predict(steps)[length - 1 :: length]
        return dict(zip(questions, chances.tolist(), strict=True))

    def record(self) -> dict[str, Any]:
        """Return what it consists of, as `Artefact` saves it."""
        if not isinstance(self.model, NeuralTracer):
            return vars(self)
        network = self.model.network
        return vars(self) | {"model": {"size": network.size, "weights": network.state_dict()}}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> KnowledgeTracer:
        """Build a tracer of what `record` returned."""
        model = record["model"]
        if record["name"] in NETWORKS:
            network = build_network(record["name"], record["catalogue"], model["size"])
            network.load_state_dict(model["weights"])
            model = NeuralTracer(network.eval())
        return cls(**record | {"model": model})
