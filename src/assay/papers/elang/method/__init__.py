"""E-LANG's parts: energies and scores, the routing curve, policies, the router, its cascade and its models.

router = EnergyRouter(swift, super_)
policy = router.calibrate(labelled_batches, target="match_super", tolerance=0.005)
answers = router.predict(inputs)          # .prediction, .route, .score, .cost
"""

from .batches import Answers, Replies, answers, run
from .cascade import CascadeMeasured, CascadeOutput, EnergyCascade
from .cost import Costs, Stopwatch, count_flops
from .curve import RoutingCurve
from .energy import free_energy, sequence_energy
from .head import EncoderEnergyHead
from .identity import fingerprint, label_names
from .language import TextClassifier, TextGenerator
from .observations import Measured, Observations, clopper_pearson, mean_interval
from .policy import DriftReport, RoutingPolicy, calibrate
from .router import EnergyRouter, RoutedOutput, exact_match
from .scores import (
    SCORES,
    length_score,
    max_log_softmax,
    negative_entropy,
    negative_free_energy,
    oracle_score,
    random_score,
    score_logits,
    top2_margin,
)

__all__ = [
    "SCORES",
    "Answers",
    "CascadeMeasured",
    "CascadeOutput",
    "Costs",
    "DriftReport",
    "EncoderEnergyHead",
    "EnergyCascade",
    "EnergyRouter",
    "Measured",
    "Observations",
    "Replies",
    "RoutedOutput",
    "RoutingCurve",
    "RoutingPolicy",
    "Stopwatch",
    "TextClassifier",
    "TextGenerator",
    "answers",
    "calibrate",
    "clopper_pearson",
    "count_flops",
    "exact_match",
    "fingerprint",
    "free_energy",
    "label_names",
    "length_score",
    "max_log_softmax",
    "mean_interval",
    "negative_entropy",
    "negative_free_energy",
    "oracle_score",
    "random_score",
    "run",
    "score_logits",
    "sequence_energy",
    "top2_margin",
]
