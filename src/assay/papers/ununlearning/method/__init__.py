"""The audit of unlearned language models: contexts, filters, scores, report."""

from assay.papers.ununlearning.method.audit import Answered, UnUnlearningAudit, rouge_l_recall
from assay.papers.ununlearning.method.contexts import LEVELS, ContextBuilder, Prompt, PromptForm, guess_rate
from assay.papers.ununlearning.method.filters import Filter, SimilarityFilter, StringFilter
from assay.papers.ununlearning.method.report import (
    AuditReport,
    Cell,
    Estimate,
    Finding,
    assess,
    bootstrap,
    holm,
    verdict_of,
)
from assay.papers.ununlearning.method.unlearn import METHODS, unlearn
from assay.privacy.knowledge import FactRecord

__all__ = [
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
