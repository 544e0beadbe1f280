"""ednet: EdNet's logs as Parquet, own logs in the same form, and knowledge tracing that does not leak."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "BKT",
            "DKT",
            "DKVMN",
            "IRT",
            "PFA",
            "SAINT",
            "SAKT",
            "Contents",
            "EdNetLog",
            "EdNetReader",
            "KTDataset",
            "KTSchema",
            "KnowledgeTracer",
            "MaskedDKT",
            "MeanModel",
            "Rules",
            "Steps",
            "collate",
            "detect_leak",
            "detect_model_leak",
            "expand_tags",
            "project",
            "project_log",
            "questions_of",
            "train_network",
        ]
    },
)
