"""The parts of the circuit: constants, resistors, flux, calibration, the model, and the evidence for it.

model = ElectronicCircuitModel(encoder).fit(items, correct)
model.predict(new_items).accuracy
model.with_pool(demos).rank([Strategy("zero-shot"), Strategy("five", shots=5)], question)
"""

from .arithmetic import (
    DifficultyUnavailable as DifficultyUnavailable,
    Evaluated as Evaluated,
    annotated_expressions as annotated_expressions,
    answers_match as answers_match,
    arithmetic_difficulty as arithmetic_difficulty,
    evaluate as evaluate,
    last_number as last_number,
)
from .calibration import Calibration as Calibration, Readings as Readings, calibrate as calibrate
from .circuit import (
    INDUCTIONS as INDUCTIONS,
    OUTPUT as OUTPUT,
    VOLTAGES as VOLTAGES,
    CircuitConstants as CircuitConstants,
    induced_voltage as induced_voltage,
    majority_vote as majority_vote,
    parallel as parallel,
    power as power,
    series as series,
)
from .estimator import DifficultyEstimator as DifficultyEstimator
from .evidence import (
    Binned as Binned,
    Bins as Bins,
    auc as auc,
    binned_accuracy as binned_accuracy,
    log_loss as log_loss,
    pearson as pearson,
    permutation_null as permutation_null,
    quantile_spearman as quantile_spearman,
)
from .flux import (
    Choice as Choice,
    DemoRetriever as DemoRetriever,
    Retrieved as Retrieved,
    flux as flux,
    manhattan_flux as manhattan_flux,
    most_diverse as most_diverse,
    random_subsets as random_subsets,
    summed_cosine as summed_cosine,
)
from .model import (
    CircuitReading as CircuitReading,
    Demo as Demo,
    ElectronicCircuitModel as ElectronicCircuitModel,
    Item as Item,
    Ranked as Ranked,
    Strategy as Strategy,
    render_prompt as render_prompt,
)
from .resistance import (
    WAYS as WAYS,
    CallableResistance as CallableResistance,
    LinearResistance as LinearResistance,
    MathResistance as MathResistance,
    MedicalResistance as MedicalResistance,
    MultiHopResistance as MultiHopResistance,
    PlanResistance as PlanResistance,
    Resistance as Resistance,
    Way as Way,
)
