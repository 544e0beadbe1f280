"""EdNet in one's own code: the reader and its projections, own logs, knowledge tracing, the leak detector.

The reader's modules need pyarrow and numpy alone: torch is imported by what learns, when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "contents": ["Contents"],
        "leakage": [
            "LeakReport",
            "MaskedDKT",
            "detect_leak",
            "detect_model_leak",
            "expand_tags",
            "questions_of",
        ],
        "members": ["LARGEST_MEMBER", "open_members"],
        "networks": ["DKT", "DKVMN", "SAINT", "SAKT", "Batch", "Network", "NetworkSize"],
        "parsing": ["ACTIONS", "KINDS"],
        "projection": ["Rules", "answers_of", "project", "project_log"],
        "reader": ["EdNetReader"],
        "schema": ["KTSchema", "Mapped"],
        "shards": ["LICENCE", "EdNetLog"],
        "simple": ["BKT", "IRT", "PFA", "MeanModel"],
        "steps": ["Catalogue", "Steps", "steps_of_log"],
        "tracer": ["KnowledgeTracer", "NeuralTracer", "auc", "train_network"],
        "windows": ["KTDataset", "collate"],
    },
)
