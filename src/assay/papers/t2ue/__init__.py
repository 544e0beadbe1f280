"""t2ue: noise that keeps pictures from being learnt, made from their captions alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "Applied",
            "CLIPSurrogate",
            "MinMinLoss",
            "NoiseFolder",
            "Surrogate",
            "T2UETrainer",
            "TextConditionedNoiseGenerator",
            "TwoTowers",
            "add_noise",
            "apply_noise",
            "class_prompts",
            "export_noise",
            "info_nce",
            "make_noise",
            "protect",
            "retrieval",
            "train_surrogate",
        ]
    },
)
