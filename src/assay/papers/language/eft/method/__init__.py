"""Emulated fine-tuning: a large model with the fine-tuning of a small one, at the time of decoding."""

from assay.papers.language.eft.method.combine import (
    combine_logits as combine_logits,
    draw as draw,
    entropy as entropy,
    nucleus as nucleus,
    probabilities as probabilities,
    speculative_accept as speculative_accept,
    total_variation as total_variation,
)
from assay.papers.language.eft.method.compatibility import (
    check_ancestor as check_ancestor,
    common_vocabulary as common_vocabulary,
    weight_similarity as weight_similarity,
)
from assay.papers.language.eft.method.emulator import Delta as Delta, EmulatedFineTuning as EmulatedFineTuning
from assay.papers.language.eft.method.generation import (
    Generation as Generation,
    SpeculativeStats as SpeculativeStats,
)
from assay.papers.language.eft.method.processor import EFTLogitsProcessor as EFTLogitsProcessor
from assay.papers.language.eft.method.streams import (
    Member as Member,
    Stream as Stream,
    crop_cache as crop_cache,
)
