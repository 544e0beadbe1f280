"""LELP as ordinary PyTorch: nothing here knows of recipes, trials or the command line.

Step 1 and 2 are `SubspaceProjector`, step 3 `pseudo_subclass_targets`, step 4 `SubclassHead` and
`SubclassDistillationLoss`; `extract_embeddings` gets them a teacher's outputs. `partitions` and `rivals` hold
what the paper compares with.
"""

from assay.models.embeddings import (
    TeacherOutputs as TeacherOutputs,
    extract_embeddings as extract_embeddings,
    iterate_embeddings as iterate_embeddings,
    two_class_logits as two_class_logits,
)

from .partitions import known_subclasses as known_subclasses, partition_classes as partition_classes
from .projector import SubspaceProjector as SubspaceProjector
from .rivals import (
    ContrastiveDistillation as ContrastiveDistillation,
    DecoupledDistillation as DecoupledDistillation,
    FitNet as FitNet,
    KnowledgeDistillation as KnowledgeDistillation,
    RelationalDistillation as RelationalDistillation,
    SubclassDiversity as SubclassDiversity,
    VariationalInformation as VariationalInformation,
)
from .student import (
    SubclassDistillationLoss as SubclassDistillationLoss,
    SubclassHead as SubclassHead,
    class_log_probs as class_log_probs,
    class_logits as class_logits,
)
from .targets import (
    PseudoSubclasses as PseudoSubclasses,
    partition_coordinates as partition_coordinates,
    pseudo_subclass_targets as pseudo_subclass_targets,
    teacher_labels as teacher_labels,
)
