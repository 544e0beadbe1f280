"""Unlearning of one expert: layouts, attribution, single-expert leaves, the anchor loss and the unlearner."""

from assay.papers.uoe.method.attribution import ExpertAttribution, attribute_experts
from assay.papers.uoe.method.delta import ExpertDelta
from assay.papers.uoe.method.layouts import SHARED, Expert, MoELayer, Target, moe_layout
from assay.papers.uoe.method.objectives import AnchorLoss
from assay.papers.uoe.method.parts import ExpertLeaves, Part, WholeModel
from assay.papers.uoe.method.routing import Routes, routes_of, routing_overlap
from assay.papers.uoe.method.sequences import Sequences, logits_of, scores_of, token_nll
from assay.papers.uoe.method.unlearner import ForgetTarget, SelectedExpertUnlearner, Unlearned, Unlearning

__all__ = [
    "SHARED",
    "AnchorLoss",
    "Expert",
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
