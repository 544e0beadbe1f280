"""Emulated fine-tuning: a large model with the fine-tuning of a small one, at the time of decoding."""

from assay.papers.eft.method.ancestry import check_ancestor, weight_similarity
from assay.papers.eft.method.combine import (
    combine_logits,
    draw,
    entropy,
    nucleus,
    probabilities,
    speculative_accept,
    total_variation,
)
from assay.papers.eft.method.emulator import Delta, EmulatedFineTuning
from assay.papers.eft.method.generation import Generation, SpeculativeStats
from assay.papers.eft.method.processor import EFTLogitsProcessor
from assay.papers.eft.method.streams import Member, Stream, crop_cache
from assay.papers.eft.method.vocabulary import common_vocabulary

__all__ = [
    "Delta",
    "EFTLogitsProcessor",
    "EmulatedFineTuning",
    "Generation",
    "Member",
    "SpeculativeStats",
    "Stream",
    "check_ancestor",
    "combine_logits",
    "common_vocabulary",
    "crop_cache",
    "draw",
    "entropy",
    "nucleus",
    "probabilities",
    "speculative_accept",
    "total_variation",
    "weight_similarity",
]
