"""Unlearning of one expert: layouts, attribution, single-expert leaves, the anchor loss and the unlearner."""

from assay.papers.privacy.uoe.method.attribution import (
    ExpertAttribution as ExpertAttribution,
    Routes as Routes,
    attribute_experts as attribute_experts,
    recorded_routing as recorded_routing,
    routes_of as routes_of,
    routing_overlap as routing_overlap,
)
from assay.papers.privacy.uoe.method.layouts import (
    SHARED as SHARED,
    Expert as Expert,
    MoELayer as MoELayer,
    Target as Target,
    moe_layout as moe_layout,
)
from assay.papers.privacy.uoe.method.objectives import AnchorLoss as AnchorLoss
from assay.papers.privacy.uoe.method.parts import (
    ExpertDelta as ExpertDelta,
    ExpertLeaves as ExpertLeaves,
    Part as Part,
    WholeModel as WholeModel,
)
from assay.papers.privacy.uoe.method.sequences import (
    Sequences as Sequences,
    logits_of as logits_of,
    scores_of as scores_of,
    token_nll as token_nll,
)
from assay.papers.privacy.uoe.method.unlearner import (
    ForgetTarget as ForgetTarget,
    SelectedExpertUnlearner as SelectedExpertUnlearner,
    Unlearned as Unlearned,
    Unlearning as Unlearning,
)
