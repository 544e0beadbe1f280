"""CoT information: hypothesis classes, the estimator, exact chains, consistent learners, bounds, pools.

ideals = ShuffleIdeals(alphabet=4, pattern=4)
words = uniform_words(4000, 32, 4, numpy.random.default_rng(0))
curve = cot_information(ideals, reference=0, inputs=words)
print(curve.describe(0.02), curve.sample_size(0.02), curve.sample_size(0.02, supervision="e2e"))
"""

from .agreements import Agreements, HypothesisClass, Labels, base_rate, compare
from .automata import Automata, ShuffleIdeals, random_automata
from .autoregressive import LinearAutoregressive
from .bounds import (
    agnostic_samples,
    fano_samples,
    indistinguishable_samples,
    infinite_class_samples,
    largest_confused_sample,
    minimax_error,
    mixed_sufficient_samples,
    sufficient_samples,
)
from .chains import ExactAgreement, enumerate_words, enumerated_agreement, exact_agreement
from .information import (
    CoTInformation,
    CoTPoint,
    agnostic_information,
    cot_information,
    exact_information,
    information_of,
    relative_information,
    transfer_information,
)
from .inputs import acceptance, balanced_words, uniform_words
from .language import Traced, TraceFormat, exact_match, token_rows
from .learners import (
    Rule,
    consistent_set,
    eliminated_at,
    erm_set,
    learning_curve,
    risk_curve,
    samples_needed,
    traced_part,
)
from .pool import CheckpointPool, Record, RecordedPool, canonical, split_reply
from .variants import ConstantTraces, ProductClass, RevealingTraces, Tabulated, TracesOnly

__all__ = [
    "Agreements",
    "Automata",
    "CheckpointPool",
    "CoTInformation",
    "CoTPoint",
    "ConstantTraces",
    "ExactAgreement",
    "HypothesisClass",
    "Labels",
    "LinearAutoregressive",
    "ProductClass",
    "Record",
    "RecordedPool",
    "RevealingTraces",
    "Rule",
    "ShuffleIdeals",
    "Tabulated",
    "TraceFormat",
    "Traced",
    "TracesOnly",
    "acceptance",
    "agnostic_information",
    "agnostic_samples",
    "balanced_words",
    "base_rate",
    "canonical",
    "compare",
    "consistent_set",
    "cot_information",
    "eliminated_at",
    "enumerate_words",
    "enumerated_agreement",
    "erm_set",
    "exact_agreement",
    "exact_information",
    "exact_match",
    "fano_samples",
    "indistinguishable_samples",
    "infinite_class_samples",
    "information_of",
    "largest_confused_sample",
    "learning_curve",
    "minimax_error",
    "mixed_sufficient_samples",
    "random_automata",
    "relative_information",
    "risk_curve",
    "samples_needed",
    "split_reply",
    "sufficient_samples",
    "token_rows",
    "traced_part",
    "transfer_information",
    "uniform_words",
]
