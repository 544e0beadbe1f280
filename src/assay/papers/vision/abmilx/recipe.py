"""How ABMILX is run: bags, an encoder to start from, a learning rate, joint training, a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.data import Table
from assay.errors import InputError
from assay.paper import Value
from assay.papers.vision.abmilx.config import Drawn, Needle, Survival, Train
from assay.papers.vision.abmilx.learning import (
    Search,
    accuracy,
    best_rate,
    cut_instances,
    evaluate,
    learn,
    search_rates,
    start_of,
)
from assay.papers.vision.abmilx.measures import bootstrap
from assay.papers.vision.abmilx.method import HazardBins, concordance_index, hazard_risk
from assay.papers.vision.abmilx.planning import plan_for, plan_of, split
from assay.papers.vision.abmilx.reporting import log_losses, measured, sparsity, trained
from assay.papers.vision.abmilx.sources import (
    GRADE,
    NEEDLE,
    BagSet,
    Instances,
    Task,
    draw_bags,
    read_bags,
    read_instances,
)
from assay.papers.vision.abmilx.sources.tables import has_bags
from assay.trial import Trial


def train(config: Train, trial: Trial) -> dict[str, Value]:
    """Train an encoder and an aggregator from one label a bag, and measure them on other bags."""
    given = config.bags.source is not None
    if not given and not trial.once("bags", has_bags, config.data, config.bag, seedless=True):
        return on_drawn_bags(config, config.data, GRADE, trial)
    bags = read_bags(config.data, config.bags, config.bag, config.slides, config.patch_pixels)
    parts = split(bags, config, trial)
    plan, start = plan_for(config, parts["train"], len(bags.label_names), trial)
    targets = torch.from_numpy(parts["train"].labels)
    trial.progress("searching a learning rate")
    held_out = parts["validation"]
    tuned = trial.tune(
        config.learning_rates,
        fit=lambda rate: learn(plan, start, parts["train"], targets, rate, trial.generator("order")),
        metric=lambda learnt: (
            accuracy(evaluate(learnt.model, held_out.bags), held_out.labels) if held_out else 0.0
        ),
    )
    return measured(config, plan, tuned.fitted, parts["train"], parts["test"], trial)


def needle(config: Needle, trial: Trial) -> dict[str, Value]:
    """Train on bags whose label one instance decides, and measure on other bags."""
    shared = {name: getattr(config, name) for name in vars(config) if name != "instances_of"}
    return on_drawn_bags(Train(**shared), config.instances_of, NEEDLE, trial)


def on_drawn_bags(config: Train, data: Table, task: Task, trial: Trial) -> dict[str, Value]:
    """Train on bags drawn from instances, measure on bags from others; a third pool chose the rate."""
    if config.patch_encoder.source is not None:
        raise InputError(
            f"--patch-encoder needs bags, and {data.source} names none: bags are drawn from its rows."
        )
    if config.low_share:
        raise InputError(
            f"--low-share needs a second magnification: the rows of {data.source}, of which bags are drawn,"
            " have one."
        )
    drawn, pretrained = config.drawn, config.start == "pretrained"
    seen = trial.once("instances", instances_kept, data, drawn, config.patch_pixels, seedless=True)
    pool, others = (Instances(**seen[name], key=seen["key"]) for name in ("pool", "others"))
    # Instances are split before bags are drawn: no digit is in a training bag and in a test bag.
    cut = trial.split(len(others.labels), config.test, stratify=others.labels.tolist())
    bags = {
        name: draw_bags(others.select(rows), task, count, drawn.size, trial.numpy(name), name)
        for name, rows, count in (("train", cut.train, drawn.train_bags), ("test", cut.test, drawn.test_bags))
    }
    plan = plan_of(config, tuple(pool.values.shape[1:]), len(task.names), trial)
    trial.progress("searching a learning rate")
    search = Search(plan, task, drawn, config.learning_rates, pretrained)
    found = trial.once("search", search_rates, search, pool.values, pool.labels, pool.key, seedless=True)
    trial.count("candidates", len(found["rates"]))
    rate = best_rate(found)

    trial.progress("training")
    start = trial.once("start", start_of, plan.model.encoder, pool, plan.learning, pretrained)
    targets = torch.from_numpy(bags["train"].labels)
    learnt = learn(plan, start, bags["train"], targets, rate, trial.generator("order"))
    return measured(config, plan, learnt, bags["train"], bags["test"], trial)


# --- bags ---------------------------------------------------------------------------------------


def instances_kept(data: Table, drawn: Drawn, pixels: int | None) -> dict[str, Any]:
    """Read labelled instances and put a share of each class apart, the same in all seeds."""
    instances = read_instances(data, drawn.key, pixels)
    others, pool = cut_instances(instances, drawn.search_share, np.random.default_rng(0))
    plain = {
        name: {"values": part.values, "labels": part.labels}
        for name, part in (("pool", pool), ("others", others))
    }
    return plain | {"key": instances.key}


# --- survival -----------------------------------------------------------------------------------


def survival(config: Survival, trial: Trial) -> dict[str, Value]:
    """Train on the survival of patients, and measure the c-index on other patients."""
    columns = None if config.bags.source else (config.time, config.died)
    bags = read_bags(
        config.data,
        config.bags,
        config.bag,
        config.slides,
        config.patch_pixels,
        columns or (config.time, config.died),
    )
    parts = split(bags, config, trial)
    followed = {name: outcomes(part) for name, part in parts.items()}
    try:
        bins = HazardBins.fit(followed["train"].time, followed["train"].died, config.bins)
    except ValueError as error:
        raise InputError(f"--bins {config.bins}: {error}") from error
    plan, start = plan_for(config, parts["train"], len(bins), trial)
    intervals = bins.assign(followed["train"].time)
    targets = torch.stack([intervals, torch.from_numpy(~followed["train"].died).long()], dim=1)
    learnt = learn(plan, start, parts["train"], targets, config.learning_rates[0], trial.generator("order"))
    log_losses(learnt, trial)

    seen = evaluate(learnt.model, parts["test"].bags)
    risk, test = hazard_risk(seen.logits).double().numpy(), followed["test"]

    def c_index(rows: np.ndarray) -> dict[str, float | None]:
        return {"c_index": concordance_index(risk[rows], test.time[rows], test.died[rows])}

    metrics: dict[str, Value] = {**c_index(np.arange(len(risk))), "sparsity": sparsity(seen)}
    intervals_found = bootstrap(c_index, len(risk), trial.numpy("bootstrap"))
    kept = {
        "metrics": metrics,
        "intervals": intervals_found,
        "test_bags": len(risk),
        "edges": list(bins.edges),
    }
    rows = tuple(
        {"bag": bag.bag_id, "time": bag.time, "died": int(bag.died), "risk": round(float(value), 6)}
        for bag, value in zip(parts["test"], risk, strict=True)
    )
    trial.save("model", trained(plan, learnt, parts["test"], seen, kept, rows, config.heat_maps))
    return metrics


@dataclass(frozen=True)
class Outcomes:
    """When patients died or were last seen."""

    time: np.ndarray
    died: np.ndarray


def outcomes(bags: BagSet) -> Outcomes:
    """Return time and death of each bag."""
    return Outcomes(np.array([bag.time for bag in bags]), np.array([bag.died for bag in bags], dtype=bool))
