"""CoT information: hypothesis classes, the estimator, exact chains, consistent learners, bounds, pools.

ideals = ShuffleIdeals(alphabet=4, pattern=4)
words = uniform_words(4000, 32, 4, numpy.random.default_rng(0))
curve = cot_information(ideals, reference=0, inputs=words)
print(curve.describe(0.02), curve.sample_size(0.02), curve.sample_size(0.02, supervision="e2e"))
"""

from .agreements import (
    Agreements as Agreements,
    HypothesisClass as HypothesisClass,
    Labels as Labels,
    base_rate as base_rate,
    compare as compare,
)
from .automata import Automata as Automata, ShuffleIdeals as ShuffleIdeals, random_automata as random_automata
from .autoregressive import LinearAutoregressive as LinearAutoregressive
from .bounds import (
    agnostic_samples as agnostic_samples,
    fano_samples as fano_samples,
    indistinguishable_samples as indistinguishable_samples,
    infinite_class_samples as infinite_class_samples,
    largest_confused_sample as largest_confused_sample,
    minimax_error as minimax_error,
    mixed_sufficient_samples as mixed_sufficient_samples,
    sufficient_samples as sufficient_samples,
)
from .chains import (
    ExactAgreement as ExactAgreement,
    enumerate_words as enumerate_words,
    enumerated_agreement as enumerated_agreement,
    exact_agreement as exact_agreement,
)
from .information import (
    CoTInformation as CoTInformation,
    CoTPoint as CoTPoint,
    agnostic_information as agnostic_information,
    cot_information as cot_information,
    exact_information as exact_information,
    information_of as information_of,
    relative_information as relative_information,
    transfer_information as transfer_information,
)
from .inputs import acceptance as acceptance, balanced_words as balanced_words, uniform_words as uniform_words
from .language import (
    Traced as Traced,
    TraceFormat as TraceFormat,
    exact_match as exact_match,
    token_rows as token_rows,
)
from .learners import (
    Learner as Learner,
    Rule as Rule,
    consistent_set as consistent_set,
    eliminated_at as eliminated_at,
    erm_set as erm_set,
    learning_curve as learning_curve,
    risk_curve as risk_curve,
    samples_needed as samples_needed,
    traced_part as traced_part,
)
from .pool import (
    CheckpointPool as CheckpointPool,
    Record as Record,
    RecordedPool as RecordedPool,
    canonical as canonical,
    split_reply as split_reply,
)
from .variants import (
    ConstantTraces as ConstantTraces,
    ProductClass as ProductClass,
    RevealingTraces as RevealingTraces,
    Tabulated as Tabulated,
    TracesOnly as TracesOnly,
)
