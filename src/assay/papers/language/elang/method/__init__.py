"""E-LANG's parts: energies and scores, the routing curve, policies, the router, its cascade and its models.

router = EnergyRouter(swift, super_)
policy = router.calibrate(labelled_batches, "match_super", 0.005)
answers = router.predict(inputs)          # .prediction, .route, .score, .cost
"""

from assay.models import (
    TextClassifier as TextClassifier,
    TextGenerator as TextGenerator,
    count_flops as count_flops,
)
from assay.models.live import (
    Answers as Answers,
    answers as answers,
    fingerprint as fingerprint,
    label_names as label_names,
    run as run,
)
from assay.models.sequence import Replies as Replies

from .cascade import (
    CascadeMeasured as CascadeMeasured,
    CascadeOutput as CascadeOutput,
    EnergyCascade as EnergyCascade,
)
from .cost import Costs as Costs, Stopwatch as Stopwatch
from .curve import RoutingCurve as RoutingCurve
from .head import EncoderEnergyHead as EncoderEnergyHead
from .observations import (
    Measured as Measured,
    Observations as Observations,
    PairReadings as PairReadings,
    clopper_pearson as clopper_pearson,
    mean_interval as mean_interval,
)
from .policy import DriftReport as DriftReport, RoutingPolicy as RoutingPolicy, calibrate as calibrate
from .router import EnergyRouter as EnergyRouter, RoutedOutput as RoutedOutput, exact_match as exact_match
from .scores import (
    SCORES as SCORES,
    free_energy as free_energy,
    length_score as length_score,
    max_log_softmax as max_log_softmax,
    negative_entropy as negative_entropy,
    negative_free_energy as negative_free_energy,
    oracle_score as oracle_score,
    random_score as random_score,
    score_logits as score_logits,
    sequence_energy as sequence_energy,
    top2_margin as top2_margin,
)
