"""EdNet in your own code: the reader and its projections, own logs, knowledge tracing, the leak detector.

The reader's modules need pyarrow and numpy alone: torch is imported by what learns, when it is first used.
"""

from typing import TYPE_CHECKING

from assay import lazy

if TYPE_CHECKING:
    from assay.papers.education.logs import KTSchema as KTSchema, Mapped as Mapped
    from assay.papers.education.steps import Catalogue as Catalogue, Steps as Steps

    from .contents import Contents as Contents
    from .leakage import (
        LeakReport as LeakReport,
        MaskedDKT as MaskedDKT,
        detect_leak as detect_leak,
        detect_model_leak as detect_model_leak,
        expand_tags as expand_tags,
        questions_of as questions_of,
    )
    from .members import LARGEST_MEMBER as LARGEST_MEMBER, open_members as open_members
    from .networks import (
        DKT as DKT,
        DKVMN as DKVMN,
        SAINT as SAINT,
        SAKT as SAKT,
        Batch as Batch,
        Network as Network,
        NetworkSize as NetworkSize,
    )
    from .parsing import ACTIONS as ACTIONS, KINDS as KINDS
    from .process import ReadCost as ReadCost, ReadTask as ReadTask, read_in_process as read_in_process
    from .projection import (
        Rules as Rules,
        answers_of as answers_of,
        project as project,
        project_log as project_log,
    )
    from .reader import EdNetReader as EdNetReader
    from .shards import LICENCE as LICENCE, EdNetLog as EdNetLog
    from .simple import BKT as BKT, IRT as IRT, PFA as PFA, MeanModel as MeanModel
    from .steps import steps_of_log as steps_of_log
    from .tracer import (
        KnowledgeTracer as KnowledgeTracer,
        NeuralTracer as NeuralTracer,
        auc as auc,
        train_network as train_network,
    )
    from .windows import KTDataset as KTDataset, collate as collate
else:
    __getattr__, __dir__ = lazy.attach(__name__, "education")
