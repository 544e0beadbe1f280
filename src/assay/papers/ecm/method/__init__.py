"""The parts of the circuit: constants, resistors, flux, calibration, the model, and the evidence for it.

model = ElectronicCircuitModel(encoder).fit(items, correct)
model.predict(new_items).accuracy
model.with_pool(demos).rank([Strategy("zero-shot"), Strategy("five", shots=5)], question)
"""

from .arithmetic import (
    DifficultyUnavailable,
    Evaluated,
    annotated_expressions,
    answers_match,
    arithmetic_difficulty,
    evaluate,
    last_number,
)
from .calibration import Calibration, Readings, calibrate
from .circuit import (
    INDUCTIONS,
    OUTPUT,
    VOLTAGES,
    CircuitConstants,
    induced_voltage,
    majority_vote,
    parallel,
    power,
    series,
)
from .estimator import DifficultyEstimator
from .evidence import (
    Binned,
    auc,
    binned_accuracy,
    log_loss,
    pearson,
    permutation_null,
    quantile_spearman,
)
from .flux import (
    Choice,
    DemoRetriever,
    Retrieved,
    flux,
    manhattan_flux,
    most_diverse,
    random_subsets,
    summed_cosine,
)
from .model import CircuitReading, ElectronicCircuitModel, Item, Ranked, Strategy
from .prompts import Demo, render_prompt
from .resistance import (
    WAYS,
    CallableResistance,
    LinearResistance,
    MathResistance,
    MedicalResistance,
    MultiHopResistance,
    PlanResistance,
    Resistance,
    Way,
)

__all__ = [
    "INDUCTIONS",
    "OUTPUT",
    "VOLTAGES",
    "WAYS",
    "Binned",
    "Calibration",
    "CallableResistance",
    "Choice",
    "CircuitConstants",
    "CircuitReading",
    "Demo",
    "DemoRetriever",
    "DifficultyEstimator",
    "DifficultyUnavailable",
    "ElectronicCircuitModel",
    "Evaluated",
    "Item",
    "LinearResistance",
    "MathResistance",
    "MedicalResistance",
    "MultiHopResistance",
    "PlanResistance",
    "Ranked",
    "Readings",
    "Resistance",
    "Retrieved",
    "Strategy",
    "Way",
    "annotated_expressions",
    "answers_match",
    "arithmetic_difficulty",
    "auc",
    "binned_accuracy",
    "calibrate",
    "evaluate",
    "flux",
    "induced_voltage",
    "last_number",
    "log_loss",
    "majority_vote",
    "manhattan_flux",
    "most_diverse",
    "parallel",
    "pearson",
    "permutation_null",
    "power",
    "quantile_spearman",
    "random_subsets",
    "render_prompt",
    "series",
    "summed_cosine",
]
