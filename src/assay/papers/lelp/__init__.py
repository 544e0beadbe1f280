"""lelp: distil a few-class classifier through pseudo-subclasses from its teacher's embedding space."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": [
            "PseudoSubclasses",
            "SubclassDistillationLoss",
            "SubclassHead",
            "SubspaceProjector",
            "class_log_probs",
            "extract_embeddings",
            "iterate_embeddings",
            "known_subclasses",
            "partition_classes",
            "partition_coordinates",
            "pseudo_subclass_targets",
            "teacher_labels",
        ]
    },
)
