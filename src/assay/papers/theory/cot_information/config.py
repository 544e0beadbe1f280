"""The options of CoT information's recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.bounds import OpenShare, PositiveFloats, PositiveInt, PositiveShare, ShareBelowOne
from assay.data import Table
from assay.errors import InputError
from assay.models import OwnModel


@dataclass(frozen=True)
class Ideals:
    """Shuffle ideals: all languages "u is a subsequence of the word"; the trace is the visited states."""

    alphabet: PositiveInt = 4
    """Symbols."""
    pattern: PositiveInt = 4
    """Symbols of u; there are alphabet^pattern hypotheses."""
    length: PositiveInt = 32
    """Symbols of a word."""


@dataclass(frozen=True)
class RandomAutomata:
    """Automata with random transitions; the trace is the visited states."""

    states: PositiveInt = 5
    """States of each automaton."""
    alphabet: PositiveInt = 2
    """Symbols."""
    count: PositiveInt = 256
    """Hypotheses."""
    length: PositiveInt = 16
    """Symbols of a word."""


@dataclass(frozen=True)
class Autoregressive:
    """Linear thresholds with weights -1, 0 or 1 on the last bits; the trace is what they write."""

    window: PositiveInt = 6
    """Bits that a threshold sees, and bits of an input; there are 3^window hypotheses."""
    steps: PositiveInt = 16
    """Bits that are written; the last one is the answer."""


Size = Ideals | RandomAutomata | Autoregressive
"""The sizes of a class of hypotheses, which say what class it is."""


@dataclass(frozen=True)
class Traces:
    """Examples with a chain of thought. `--traces SOURCE` is short for `--traces.source SOURCE`."""

    source: str | None = None
    """Rows with an input, a trace and an answer: json:FILE (JSON lines), csv:FILE, parquet:FILE or
    hub:NAME[/CONFIG]. None: words are made here."""
    input: str | None = None
    """Column with the input. Unless given, input."""
    cot: str | None = None
    """Column with the trace: text, or a list of steps; the same as the answer's column where that one holds
    both. Unless given, cot."""
    answer: str | None = None
    """Column with the answer. Unless given, answer."""
    separator: str | None = None
    """What stands between trace and answer in a model's reply, and in a column that holds both. Unless
    given, ####."""

    def __post_init__(self) -> None:
        if self.source is not None:
            Table(self.source)
        if not self.mark.strip():
            raise InputError("the separator between trace and answer needs a character that is no space.")

    @property
    def mark(self) -> str:
        """The separator, given or not."""
        return "####" if self.separator is None else self.separator

    @property
    def columns(self) -> dict[str, str]:
        """The column of each role, given or not."""
        return {role: getattr(self, role) or role for role in ("input", "cot", "answer")}

    def fingerprint(self) -> str:
        """Identify the rows by their content."""
        return "made here" if self.source is None else Table(self.source).fingerprint()


@dataclass(frozen=True)
class Estimate:
    """Options of `estimate`."""

    traces: Traces = Traces()
    """Your examples. None: the class below, on words that are drawn."""
    candidate_folder: str = ""
    """Folder with one candidate in each file of records (as your examples, on the same inputs) or in each
    folder that save_pretrained wrote (decoded greedily here)."""
    reference_name: str = ""
    """Candidate that is taken as the reference; by default your examples are."""
    agnostic: bool = False
    """Whether to go on where no candidate gives the reference's traces and answers on all inputs."""
    prompt: str = "{input} ="
    """What a checkpoint is given."""
    max_new_tokens: PositiveInt = 256
    """Most tokens of a checkpoint's reply."""
    class_name: Literal["ideals", "automata", "autoregressive"] = "ideals"
    """Class by name, where no examples are given."""
    ideals: Ideals = Ideals()
    """Sizes of that class."""
    automata: RandomAutomata = RandomAutomata()
    """Sizes of that class."""
    autoregressive: Autoregressive = Autoregressive()
    """Sizes of that class."""
    reference_row: int = -1
    """Number of the reference in a class by name; -1 draws one."""
    balance: bool = False
    """Whether words are drawn so that both answers of the reference are equally likely (not for
    autoregressive)."""
    word_count: PositiveInt = 4000
    """Words drawn from the class's inputs."""
    exact: bool = False
    """Whether to compute a class by name exactly, by Markov chains or by enumeration, instead of drawing."""
    eps_grid: tuple[float, ...] = ()
    """Errors at which the curve is read, in [0, 1). By default all at which it steps."""
    split: ShareBelowOne = 0.5
    """Share of the inputs that measures who is bad; the others measure agreement. 0 uses all for both."""
    confidence: float = 0.95
    """Of the limits, for the whole curve."""
    eps: float = 0.02
    """Error (a fraction) at which the numbers of the summary are read."""
    delta: float = 0.05
    """Probability with which the predicted sample sizes may fail."""


@dataclass(frozen=True)
class Learn:
    """Options of `learn`."""

    family: Literal["ideals", "short", "binary", "automata", "autoregressive"] = "ideals"
    """Which of the classes below."""
    ideals: Ideals = Ideals()
    """Shuffle ideals on long words: nearly all words have the same answer."""
    short: Ideals = Ideals(4, 4, 16)
    """Shuffle ideals on short words: a trace is worth few answers."""
    binary: Ideals = Ideals(2, 6, 16)
    """Shuffle ideals over two symbols."""
    automata: RandomAutomata = RandomAutomata()
    """Random automata."""
    autoregressive: Autoregressive = Autoregressive()
    """Linear autoregressive thresholds."""
    balance: bool = False
    """Whether words are drawn so that both answers are equally likely."""
    supervision: Literal["cot", "e2e", "mixed"] = "cot"
    """Whether examples have traces: all, none, or a share."""
    trace_share: PositiveShare = 0.25
    """Share of the examples with a trace, for mixed supervision."""
    labels: Literal["own", "constant", "independent", "wrong"] = "own"
    """Traces: the hypothesis's own, the same for all, from another class independent of the answer, or with
    a state that no hypothesis has."""
    decoys: PositiveInt = 4
    """Hypotheses that give the independent traces."""
    references: PositiveInt = 3
    """Programs h* drawn for a seed."""
    repeats: PositiveInt = 30
    """Samples drawn for each of them."""
    most_examples: PositiveInt = 1024
    """Examples of a sample."""
    eps: OpenShare = 0.02
    """End-to-end error (a fraction) that is to be reached."""
    delta: OpenShare = 0.05
    """Probability with which the bounds may fail."""
    erm_examples: PositiveInt = 64
    """Examples of empirical risk minimisation."""


@dataclass(frozen=True)
class Llama:
    """The transformer that is trained where no model is given: a Llama from scratch."""

    hidden: PositiveInt = 64
    """Width of the residual stream."""
    layers: PositiveInt = 2
    """Blocks."""
    heads: PositiveInt = 4
    """Of attention."""


@dataclass(frozen=True)
class Finetune:
    """Options of `finetune`."""

    traces: Traces = Traces()
    """Your examples. None: membership of words in a shuffle ideal."""
    base_model: OwnModel = OwnModel()
    """Causal language model: folder:DIR or hub:NAME. By default a small one is trained from scratch."""
    ideals: Ideals = Ideals(4, 4, 16)
    """Words, where no examples are given; both answers are equally likely."""
    supervision: Literal["cot", "e2e"] = "cot"
    """Whether the model learns to write the trace before the answer, or the answer alone."""
    labels: Literal["own", "filler", "independent"] = "own"
    """Traces: true ones, as many filler tokens, or those of another program on the same words."""
    examples: PositiveInt = 512
    """Training examples; fewer are taken where there are fewer."""
    test_examples: PositiveInt = 400
    """Examples that measure; of a table without a test split, a random half at most."""
    llama: Llama = Llama()
    """The transformer that is trained where no model is given."""
    steps: PositiveInt = 600
    """Gradient steps, the same with and without traces."""
    batch_size: PositiveInt = 32
    """Examples a gradient step."""
    learning_rates: PositiveFloats = (1e-3, 3e-3)
    """Candidates for AdamW's learning rate; the one with most right answers on held-out examples is used."""
    max_new_tokens: PositiveInt = 64
    """Most tokens of a reply."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of a given model."""
