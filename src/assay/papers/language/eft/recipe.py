"""How emulated fine-tuning is run: an experiment a module. Those named in one place share trained models."""

from assay.papers.language.eft.experiments.adapt import adapt
from assay.papers.language.eft.experiments.draft import draft
from assay.papers.language.eft.experiments.emulate import emulate
from assay.papers.language.eft.experiments.facts import facts
from assay.papers.language.eft.experiments.interpolate import interpolate

__all__ = ["adapt", "draft", "emulate", "facts", "interpolate"]
