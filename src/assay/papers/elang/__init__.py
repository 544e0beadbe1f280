"""elang: route between a cheap and an accurate model by the free energy of the cheap one's logits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "SCORES",
            "Costs",
            "DriftReport",
            "EncoderEnergyHead",
            "EnergyCascade",
            "EnergyRouter",
            "Measured",
            "Observations",
            "RoutedOutput",
            "RoutingCurve",
            "RoutingPolicy",
            "TextClassifier",
            "TextGenerator",
            "calibrate",
            "count_flops",
            "fingerprint",
            "free_energy",
            "negative_free_energy",
            "score_logits",
            "sequence_energy",
        ]
    },
)
