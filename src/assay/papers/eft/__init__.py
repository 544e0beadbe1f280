"""eft: a large language model with the fine-tuning of a small one, at the time of decoding."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "emulator": ["Emulator"],
        "method": [
            "Delta",
            "EFTLogitsProcessor",
            "EmulatedFineTuning",
            "Generation",
            "SpeculativeStats",
            "check_ancestor",
            "combine_logits",
            "common_vocabulary",
            "crop_cache",
            "speculative_accept",
            "total_variation",
        ],
    },
)
