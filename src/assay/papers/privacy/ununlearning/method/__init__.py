"""The audit of unlearned language models: contexts, filters, scores, report."""

from assay.papers.privacy.knowledge import FactRecord as FactRecord
from assay.papers.privacy.ununlearning.method.audit import (
    Answered as Answered,
    UnUnlearningAudit as UnUnlearningAudit,
    rouge_l_recall as rouge_l_recall,
)
from assay.papers.privacy.ununlearning.method.contexts import (
    LEVELS as LEVELS,
    ContextBuilder as ContextBuilder,
    Prompt as Prompt,
    PromptForm as PromptForm,
    guess_rate as guess_rate,
)
from assay.papers.privacy.ununlearning.method.filters import (
    Filter as Filter,
    SimilarityFilter as SimilarityFilter,
    StringFilter as StringFilter,
)
from assay.papers.privacy.ununlearning.method.report import (
    AuditReport as AuditReport,
    Cell as Cell,
    Estimate as Estimate,
    Finding as Finding,
    assess as assess,
    bootstrap as bootstrap,
    holm as holm,
    verdict_of as verdict_of,
)
from assay.papers.privacy.ununlearning.method.unlearn import (
    METHODS as METHODS,
    Batch as Batch,
    Unlearning as Unlearning,
    unlearn as unlearn,
)
