"""Domain adaptation: does a large model with a small one's fine-tuning tell texts of a domain better?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.errors import InputError
from assay.paper import Value
from assay.papers.language.eft.config import Adapt, Family
from assay.papers.language.eft.given import check_parts, load_emulated, load_language_model
from assay.papers.language.eft.lab import Prompted, Weights, labelled, model_of
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.world import World
from assay.training.language import IGNORED, pad_rows
from assay.trial import Trial

BATCH = 32

Rows = tuple[Int[Tensor, "n t"], Bool[Tensor, "n t"]]
"""Token ids, and which of them are scored."""


@dataclass(frozen=True)
class Setting:
    """What an arm measures, on what."""

    model: EmulatedFineTuning
    upper: float | None
    """token_nll of the large fine-tuned model alone."""
    rows: Rows
    metrics: dict[str, Value] = field(default_factory=dict)
    """What is known of the models beside."""


def adapt(config: Adapt, trial: Trial) -> dict[str, Value]:
    """Measure what the emulated model, its parts and its rivals make of held-out texts of the domain."""
    parts = {name: getattr(config, name) for name in ("base", "tuned", "reference", "upper")}
    setting = given(config, trial) if check_parts(parts) else trained_here(config, trial)
    model = setting.model
    laws = {
        "emulated": model,
        "tuned": model.reweighted([1.0], amplify=0.0),
        "reference": model.reweighted([0.0], amplify=0.0),
    }
    elsewhere = trial.generator("places") if config.delta_from == "other-place" else None
    nll: dict[str, float | None] = {**token_nll(laws, setting.rows, elsewhere), "upper": setting.upper}
    trial.count("scored_tokens", int(setting.rows[1].sum()))
    trial.save("summary", {"token_nll": nll})
    return setting.metrics | compared(config, nll)


def compared(config: Adapt, nll: Mapping[str, float | None]) -> dict[str, Value]:
    """Return the metrics of an arm, from what each model makes of a token."""
    found, tuned, upper = (nll[name] for name in (config.system, "tuned", "upper"))
    metrics: dict[str, Value] = {"token_nll": found, "gap_recovered": None, "scale_gain": None}
    if config.delta_from == "pair":
        assert tuned is not None
        assert nll["reference"] is not None
        metrics["tuning_gain"] = nll["reference"] - tuned
        if upper is not None and found is not None:
            metrics["scale_gain"] = tuned - upper
            metrics["gap_recovered"] = (tuned - found) / (tuned - upper) if tuned > upper else None
    return metrics


# --- models and texts ---------------------------------------------------------------------------


def trained_here(config: Adapt, trial: Trial) -> Setting:
    """Return a family that is trained for this seed, and held-out texts of the last class."""
    world = World.of(config.data, config.fact_table, config.family, trial)
    domain = world.domain(0, config.max_texts, config.test)
    small, large = (
        world.tuned("domain", size, domain.train, domain.validation) for size in ("small", "large")
    )
    number = 1 if config.delta_from == "other-reference" else 0
    reference = world.model("small", world.base("small", number))
    tuned = world.model("small", small["weights"])
    model = emulated(config, world.model("large", world.base("large")), Delta(tuned, reference))
    rows = scored_rows(domain.test, config.family.context, trial)
    overfit = nll_of(world, "small", small["weights"], rows) - small["train"]
    upper = nll_of(world, "large", large["weights"], rows)
    return Setting(model, upper, rows, {"overfit": overfit, "leaked": domain.leaked})


def given(config: Adapt, trial: Trial) -> Setting:
    """Return the user's models and texts.

    Raises:
        InputError: there are several tuned models, or nothing to score.
    """
    if len(config.tuned.sources) > 1:
        raise InputError(f"--tuned takes one model here, got {config.tuned.source!r}.")
    model, tokenizers = load_emulated(
        str(config.base.source),
        config.tuned.sources,
        config.reference.sources,
        config.weights,
        trial.device,
        config.dtype,
        amplify=config.amplify,
        delta_top_p=config.delta_top_p,
    )
    if config.delta_from == "other-reference":
        model = emulated(config, model.base.model, Delta(model.experts[0].tuned, untrained(model, trial)))
    upper = None
    if config.upper.source:
        upper = alone(load_language_model(config.upper.source, trial.device, config.dtype)[0])
    elif config.system == "upper":
        trial.progress("no --upper is given, so that what is left to recover is not known")
    texts = config.data.load(needs=("text",)).rows["text"][:]
    dealt, _ = trial.deal(len(texts), min(config.max_texts or len(texts), len(texts)))
    encoded = tokenizers["base"]([texts[row] for row in dealt])["input_ids"]
    limit = min([config.max_tokens, *(m.limit for m in model.members.values() if m.limit)])
    cut = [ids[:limit] for ids in encoded if len(ids) > 1]
    if not cut:
        raise InputError(f"The texts of {config.data.source} have at most one token each: nothing to score.")
    scored = pad_rows([[0, *[1] * (len(ids) - 1)] for ids in cut], 0).bool()
    trial.count("pretraining_steps", 0)
    # What the user's models were trained on is not known here.
    unknown: dict[str, Value] = {"overfit": None, "leaked": None}
    rows = pad_rows(cut, 0).to(trial.device), scored
    return Setting(model, None if upper is None else token_nll({"": upper}, rows)[""], rows, unknown)


def untrained(model: EmulatedFineTuning, trial: Trial) -> Any:
    """Return a model of the reference's shape that learnt nothing: not what the expert was tuned from."""
    reference = model.references[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        made = type(reference.core)(reference.core.config)
    return made.to(trial.device, reference.core.dtype).eval()


def emulated(config: Adapt, base: Any, expert: Delta) -> EmulatedFineTuning:
    """Return the law of an arm: one rule with different weights."""
    if len(config.weights) != 1:
        raise InputError(f"--weights has {len(config.weights)} numbers; one tuned model is trained here.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of distance: small models move far when tuned
        model = EmulatedFineTuning(base, expert, check_ancestors=config.delta_from != "other-reference")
    return model.reweighted(config.weights, config.amplify, config.delta_top_p)


def alone(model: Any) -> EmulatedFineTuning:
    """Return a model as the emulation of itself."""
    return EmulatedFineTuning(model, Delta(model, model, 0.0))


def scored_rows(texts: Sequence[Prompted], context: int, trial: Trial) -> Rows:
    """Return texts as rows in which all but the start token and the padding is scored."""
    input_ids, labels = labelled(texts, context, str(trial.device))
    return input_ids, (labels != IGNORED).cpu()


# --- what is measured ---------------------------------------------------------------------------


def nll_of(world: World, size: str, weights: Weights, rows: Rows) -> float:
    """Return token_nll of one model alone, which all arms of a seed share."""
    device = str(world.trial.device)
    found: float = world.trial.once("alone", _nll_of, world.family, size, weights, rows, device)
    return found


def _nll_of(family: Family, size: str, weights: Weights, rows: Rows, device: str) -> float:
    return token_nll({"": alone(model_of(family, size, weights, device))}, rows)[""]


def token_nll(
    laws: Mapping[str, EmulatedFineTuning], rows: Rows, elsewhere: torch.Generator | None = None
) -> dict[str, float]:
    """Return the mean negative log-likelihood of a scored token in nats, under each law.

    Args:
        laws: the same models with different weights; they are run once.
        rows: token ids and which of them are scored.
        elsewhere: takes the small models' logits from other places of the batch, both from the same.
    """
    reader = next(iter(laws.values()))
    totals, count = dict.fromkeys(laws, 0.0), 0
    for part in torch.arange(len(rows[0])).split(BATCH):
        targets, logits = reader.read(rows[0][part], rows[1][part])
        count += len(targets)
        if elsewhere is not None:
            places = torch.randperm(len(targets), generator=elsewhere).to(targets.device)
            base = reader.base.key
            logits = {key: value if key == base else value[places] for key, value in logits.items()}
        for name, law in laws.items():
            told = law.combine(logits).log_softmax(-1).gather(-1, targets[:, None])
            totals[name] -= float(told.double().sum())
    return {name: total / count for name, total in totals.items()}
