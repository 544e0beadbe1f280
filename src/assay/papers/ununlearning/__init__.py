"""ununlearning: audit whether what a language model has unlearned comes back in context."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "LEVELS",
            "METHODS",
            "Answered",
            "AuditReport",
            "Cell",
            "ContextBuilder",
            "Estimate",
            "FactRecord",
            "Filter",
            "Finding",
            "Prompt",
            "PromptForm",
            "SimilarityFilter",
            "StringFilter",
            "UnUnlearningAudit",
            "assess",
            "bootstrap",
            "guess_rate",
            "holm",
            "rouge_l_recall",
            "unlearn",
            "verdict_of",
        ]
    },
)
