"""Training and evaluation of models of bags, and the search of learning rates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from assay.errors import DivergedError
from assay.papers.vision.abmilx.building import EncoderSpec, ModelSpec, PatchEncoder, build_model
from assay.papers.vision.abmilx.config import Drawn, Learning
from assay.papers.vision.abmilx.method import (
    Aggregated,
    EndToEndMIL,
    RandomInstanceSampler,
    bag_cross_entropy,
    discrete_hazard_nll,
)
from assay.papers.vision.abmilx.sources import Bag, BagSet, Instances, Task, draw_bags
from assay.papers.vision.abmilx.sources.bag import BagLoader, InMemory, stack
from assay.training import Compute, batches, fit, warmup_cosine
from assay.trial import derive_seed, random_state

TOGETHER = 2048
"""Instances that go through a model at once in evaluation."""


@dataclass(frozen=True)
class Plan:
    """How a model is trained: the options that all arms share, and those that tell them apart."""

    model: ModelSpec
    learning: Learning
    frozen: bool = False
    """The encoder stays as it is."""
    sampler: RandomInstanceSampler | None = None
    compute: Compute = Compute(accelerator="cpu")
    readers: int = 0
    """Threads that read bags ahead."""


@dataclass(frozen=True)
class Seen:
    """What a model says of some bags."""

    logits: Tensor
    """[bags, outputs]"""
    attention: list[Tensor]
    """One tensor [heads, instances] a bag."""

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax of the logits: float64 [bags, outputs]."""
        found: np.ndarray = self.logits.double().softmax(dim=1).numpy()
        return found


@dataclass(frozen=True)
class Learnt:
    """A trained model and what it took."""

    model: EndToEndMIL
    rate: float
    gradient_steps: int
    bags_seen: int
    losses: list[float]


# --- training -----------------------------------------------------------------------------------


def joint_loss(model: nn.Module, batch: tuple[Tensor, Tensor | None, Tensor]) -> Tensor:
    """Return the cross-entropy of bag labels [B], or the likelihood of intervals and censoring [B, 2]."""
    instances, mask, targets = batch
    logits = model(instances, mask)
    if targets.ndim == 2:
        return discrete_hazard_nll(logits, targets[:, 0], targets[:, 1].bool())
    return bag_cross_entropy(logits, targets)


def learn(
    plan: Plan,
    encoder: dict[str, Tensor],
    bags: BagSet,
    targets: Tensor,
    rate: float,
    generator: torch.Generator,
) -> Learnt:
    """Train a model from an encoder's weights; a frozen encoder sees each bag once, before the training."""
    model = build_model(plan.model)
    model.encoder.load_state_dict(encoder)
    trained: nn.Module = model
    if plan.frozen:
        model.encoder.requires_grad_(False)
        bags = encoded(model, bags, plan.compute)
        trained = EndToEndMIL(nn.Identity(), model.aggregator)
    readers = 0 if plan.frozen else plan.readers
    loader = BagLoader(bags, targets, plan.learning.batch_size, generator, plan.sampler, readers)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in trained.parameters() if parameter.requires_grad],
        lr=rate,
        weight_decay=plan.learning.weight_decay,
        fused=True,
    )
    total, warmup = (epochs * len(loader) for epochs in (plan.learning.epochs, plan.learning.warmup))
    schedule = LambdaLR(optimizer, warmup_cosine(total, warmup))
    average = None if plan.learning.ema is None else MovingAverage(trained, plan.learning.ema)
    history = fit(
        trained,
        loader,
        joint_loss,
        optimizer=optimizer,
        epochs=plan.learning.epochs,
        scheduler=schedule,
        clip=5.0,
        compute=plan.compute,
        on_step=average,
    )
    if average is not None:
        average.apply()
    model.to(next(trained.parameters()).device).eval()
    return Learnt(model, rate, history.gradient_steps, history.examples, history.losses)


class MovingAverage:
    """An exponential moving average of a model's weights and buffers, updated after each step.

    Args:
        model: what is trained.
        decay: share of the average that stays at each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.average: AveragedModel | None = None

    def __call__(self, step: int, loss: Tensor) -> None:
        if self.average is None:  # only now is the model on its device
            update = get_ema_multi_avg_fn(self.decay)
            self.average = AveragedModel(self.model, multi_avg_fn=update, use_buffers=True)
        self.average.update_parameters(self.model)

    def apply(self) -> None:
        """Put the average in place of the model's weights."""
        assert self.average is not None
        self.model.load_state_dict(self.average.module.state_dict())


def encoded(model: EndToEndMIL, bags: BagSet, compute: Compute) -> BagSet:
    """Return the bags with the vectors of their instances in place of these, at each magnification."""
    model.to("cpu" if compute.accelerator == "cpu" else compute.fabric().device).eval()
    with torch.no_grad():
        found = [[encode_bag(model, bag, number).cpu() for number in range(len(bag.sizes))] for bag in bags]
    model.cpu()
    return dataclasses.replace(
        bags,
        bags=tuple(
            dataclasses.replace(bag, readers=tuple(map(InMemory, tensors)))
            for bag, tensors in zip(bags, found, strict=True)
        ),
    )


# --- encoders to start from ---------------------------------------------------------------------


def fresh_encoder(spec: EncoderSpec, sample: Tensor) -> dict[str, Tensor]:
    """Return random weights, with the normalisation that the training instances ask for."""
    encoder = PatchEncoder(spec)
    encoder.standardise(sample)
    return encoder.state_dict()


def pretrained_encoder(
    spec: EncoderSpec, values: Tensor, labels: Tensor, learning: Learning, instances_a_step: int = 64
) -> dict[str, Tensor]:
    """Return the weights of an encoder that has learnt to classify single instances."""
    encoder = PatchEncoder(spec)
    encoder.standardise(values)
    if spec.kind == "none":
        return encoder.state_dict()
    classes, targets = labels.unique(return_inverse=True)
    model = nn.Sequential(encoder, nn.Linear(encoder.out_dim, max(2, len(classes))))
    loader = batches(
        values,
        targets,
        batch_size=min(instances_a_step, len(values)),
        generator=torch.Generator().manual_seed(torch.initial_seed()),
        drop_last=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=learning.weight_decay, fused=True)
    fit(
        model,
        loader,
        lambda network, batch: cross_entropy(network(batch[0]), batch[1]),
        optimizer=optimizer,
        epochs=learning.epochs,
        compute=Compute(accelerator="cpu"),
    )
    return encoder.state_dict()


# --- evaluation ---------------------------------------------------------------------------------


def evaluate(model: EndToEndMIL, bags: Sequence[Bag]) -> Seen:
    """Return logits and attention of bags, all instances of each at the first magnification."""
    device = next(model.parameters()).device
    together = max(1, TOGETHER // max(len(bag) for bag in bags))
    logits: list[Tensor] = []
    attention: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(bags), together):
            part = bags[start : start + together]
            found = explain_bags(model, part, device)
            logits.append(found.logits.float().cpu())
            weights = found.attention.float().cpu()
            attention += [row[:, : len(bag)].clone() for row, bag in zip(weights, part, strict=True)]
    return Seen(torch.cat(logits), attention)


def explain_bags(model: EndToEndMIL, bags: Sequence[Bag], device: torch.device) -> Aggregated:
    """Return what a model says of bags; a large one is read and encoded piece by piece."""
    if len(bags) == 1 and len(bags[0]) > TOGETHER:
        return model.aggregator.explain(encode_bag(model, bags[0])[None])
    instances, mask = stack([bag.read() for bag in bags])
    return model.explain(instances.to(device), None if mask is None else mask.to(device))


def encode_bag(model: EndToEndMIL, bag: Bag, magnification: int = 0) -> Tensor:
    """Return the vectors of a bag's instances; no more than so many are in memory at once."""
    device = next(model.parameters()).device
    rows = torch.arange(bag.sizes[magnification]).split(TOGETHER)
    return torch.cat([model.encode(bag.read(part, magnification).to(device)) for part in rows])


def accuracy(seen: Seen, labels: np.ndarray) -> float:
    """Return the share of bags whose largest logit is that of their label."""
    return float((seen.logits.argmax(dim=1).numpy() == labels).mean())


# --- the search of learning rates ---------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """What a search among learning rates needs to know."""

    plan: Plan
    task: Task
    drawn: Drawn
    rates: tuple[float, ...]
    pretrained: bool


def search_rates(search: Search, values: Tensor, labels: Tensor, key: int) -> dict[str, list[float]]:
    """Return the validation accuracy of each learning rate, the mean over repeats; NaN where one diverged.

    The pool is cut in two: bags to learn from come from two thirds of it, bags that measure from the rest.
    """
    pool = Instances(values, labels, key)
    scores = []
    for repeat in range(search.drawn.repeats):
        random = np.random.default_rng(derive_seed(repeat, "search"))
        train, validation = cut_instances(pool, 1 / 3, random)
        drawn = search.drawn
        bags = draw_bags(train, search.task, drawn.train_bags, drawn.size, random, "train")
        held_out = draw_bags(validation, search.task, drawn.test_bags, drawn.size, random, "validation")
        with random_state(derive_seed(repeat, "start")):
            start = start_of(search.plan.model.encoder, train, search.plan.learning, search.pretrained)
        found = []
        for rate in search.rates:
            found.append(math.nan)
            with suppress(DivergedError):
                with random_state(derive_seed(repeat, "learn")):
                    generator = torch.Generator().manual_seed(repeat)
                    targets = torch.from_numpy(bags.labels)
                    learnt = learn(search.plan, start, bags, targets, rate, generator)
                found[-1] = accuracy(evaluate(learnt.model, held_out.bags), held_out.labels)
        scores.append(found)
    return {"rates": list(search.rates), "scores": np.mean(scores, axis=0).tolist()}


def best_rate(found: dict[str, list[float]]) -> float:
    """Return the learning rate with the highest score; the first wins a tie.

    Raises:
        DivergedError: training diverged at each.
    """
    scores = np.array(found["scores"])
    if np.isnan(scores).all():
        raise DivergedError(
            f"Training diverged at each of --learning-rates {found['rates']}. Give lower ones."
        )
    return found["rates"][int(np.nanargmax(scores))]


def start_of(
    spec: EncoderSpec, instances: Instances, learning: Learning, pretrained: bool
) -> dict[str, Tensor]:
    """Return the encoder that training starts from; a pre-trained one has never seen the key class."""
    if not pretrained:
        return fresh_encoder(spec, instances.values)
    others = instances.labels != instances.key
    return pretrained_encoder(spec, instances.values[others], instances.labels[others], learning)


def cut_instances(
    instances: Instances, share: float, generator: np.random.Generator
) -> tuple[Instances, Instances]:
    """Cut a share of each class off; return the rest and that share."""
    labels = instances.labels.numpy()
    cut = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        cut[generator.permutation(rows)[: round(share * len(rows))]] = True
    return instances.select(np.flatnonzero(~cut)), instances.select(np.flatnonzero(cut))
