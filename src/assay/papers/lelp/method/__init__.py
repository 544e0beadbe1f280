"""LELP as ordinary PyTorch: nothing here knows of recipes, trials or the command line.

Step 1 and 2 are `SubspaceProjector`, step 3 `pseudo_subclass_targets`, step 4 `SubclassHead` and
`SubclassDistillationLoss`; `extract_embeddings` gets them a teacher's outputs. `partitions` and `rivals` hold
what the paper compares with.
"""

from .embeddings import TeacherOutputs, extract_embeddings, iterate_embeddings, two_class_logits
from .partitions import known_subclasses, partition_classes
from .projector import SubspaceProjector
from .rivals import (
    ContrastiveDistillation,
    DecoupledDistillation,
    FitNet,
    KnowledgeDistillation,
    RelationalDistillation,
    SubclassDiversity,
    VariationalInformation,
)
from .student import SubclassDistillationLoss, SubclassHead, class_log_probs, class_logits
from .targets import PseudoSubclasses, partition_coordinates, pseudo_subclass_targets, teacher_labels

__all__ = [
    "ContrastiveDistillation",
    "DecoupledDistillation",
    "FitNet",
    "KnowledgeDistillation",
    "PseudoSubclasses",
    "RelationalDistillation",
    "SubclassDistillationLoss",
    "SubclassDiversity",
    "SubclassHead",
    "SubspaceProjector",
    "TeacherOutputs",
    "VariationalInformation",
    "class_log_probs",
    "class_logits",
    "extract_embeddings",
    "iterate_embeddings",
    "known_subclasses",
    "partition_classes",
    "partition_coordinates",
    "pseudo_subclass_targets",
    "teacher_labels",
    "two_class_logits",
]
