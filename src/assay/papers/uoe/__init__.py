"""uoe: unlearn a topic from a mixture-of-experts language model by changing one expert."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "SHARED",
            "AnchorLoss",
            "ExpertAttribution",
            "ExpertDelta",
            "ExpertLeaves",
            "ForgetTarget",
            "MoELayer",
            "Part",
            "Routes",
            "SelectedExpertUnlearner",
            "Sequences",
            "Target",
            "Unlearned",
            "Unlearning",
            "WholeModel",
            "attribute_experts",
            "logits_of",
            "moe_layout",
            "routes_of",
            "routing_overlap",
            "scores_of",
            "token_nll",
        ]
    },
)
