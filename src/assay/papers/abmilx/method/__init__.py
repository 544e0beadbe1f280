"""The parts of ABMILX, for the reader's own code: bags in, logits and attention out."""

from assay.papers.abmilx.method.aggregators import (
    ABMIL,
    ABMILX,
    Aggregated,
    GatedABMIL,
    GlobalAttentionRefinement,
    MaxMIL,
    MeanMIL,
    MultiHeadLocalAttention,
)
from assay.papers.abmilx.method.attention import attention_sparsity, contact_sheet, heat_map
from assay.papers.abmilx.method.bags import (
    BagBatch,
    BagDataset,
    RandomInstanceSampler,
    collate_bags,
    pad_bags,
)
from assay.papers.abmilx.method.encoders import RandomCropFlip, VisionEncoder
from assay.papers.abmilx.method.end_to_end import EndToEndMIL
from assay.papers.abmilx.method.losses import bag_cross_entropy, discrete_hazard_nll
from assay.papers.abmilx.method.survival import (
    HazardBins,
    concordance_index,
    hazard_risk,
)

__all__ = [
    "ABMIL",
    "ABMILX",
    "Aggregated",
    "BagBatch",
    "BagDataset",
    "EndToEndMIL",
    "GatedABMIL",
    "GlobalAttentionRefinement",
    "HazardBins",
    "MaxMIL",
    "MeanMIL",
    "MultiHeadLocalAttention",
    "RandomCropFlip",
    "RandomInstanceSampler",
    "VisionEncoder",
    "attention_sparsity",
    "bag_cross_entropy",
    "collate_bags",
    "concordance_index",
    "contact_sheet",
    "discrete_hazard_nll",
    "hazard_risk",
    "heat_map",
    "pad_bags",
]
