"""abmilx: train a patch encoder and an aggregator together from one label a bag."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
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
    },
)
