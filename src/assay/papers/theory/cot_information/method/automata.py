"""Classes of automata: the answer is whether the last state accepts, the trace is the visited states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, UInt8
from numpy import ndarray

from .agreements import CHUNK_BYTES, Agreements, base_rate


@dataclass(frozen=True)
class Automata:
    """Deterministic automata over symbols 0..A-1 with states 0..Q-1; all start in state 0.

    y = 1 if the last state accepts, else 0; z = (s_1, ..., s_n), the states after each symbol.
    """

    transitions: Int[ndarray, "H Q A"]
    """The state that follows a state and a symbol."""
    accepting: Bool[ndarray, "H Q"]
    """Which states accept."""

    def __post_init__(self) -> None:
        states = self.transitions.shape[1]
        if self.transitions.min() < 0 or self.transitions.max() >= states:
            raise ValueError(
                f"Transitions must lead to the states 0 to {states - 1}, not to"
                f" {self.transitions.min()}..{self.transitions.max()}."
            )

    def __len__(self) -> int:
        return len(self.transitions)

    @property
    def states(self) -> int:
        """Q."""
        return int(self.transitions.shape[1])

    @property
    def alphabet(self) -> int:
        """A."""
        return int(self.transitions.shape[2])

    @property
    def automata(self) -> Automata:
        """The class itself, as classes that are made of automata have it."""
        return self

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N n"]]:
        """Run some automata on all words; see `HypothesisClass.evaluate`."""
        self._check(inputs)
        table = self.transitions[rows].reshape(-1).astype(np.int16)
        offsets = (np.arange(len(rows), dtype=np.int64) * self.states)[:, None]
        state = np.zeros((len(rows), len(inputs)), dtype=np.int16)
        traces = np.empty((*state.shape, inputs.shape[1]), dtype=np.int16)
        for step, symbols in enumerate(inputs.T):
            state = table[(offsets + state) * self.alphabet + symbols]
            traces[:, :, step] = state
        accepts = np.take_along_axis(self.accepting[rows], state.astype(np.int64), 1)
        return accepts.astype(np.int8), traces

    def answers(self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]) -> Int[ndarray, "h N"]:
        """Return the answers alone, without keeping the traces."""
        table = self.transitions[rows].reshape(-1).astype(np.int16)
        offsets = (np.arange(len(rows), dtype=np.int64) * self.states)[:, None]
        state = np.zeros((len(rows), len(inputs)), dtype=np.int16)
        for symbols in inputs.T:
            state = table[(offsets + state) * self.alphabet + symbols]
        return np.take_along_axis(self.accepting[rows], state.astype(np.int64), 1).astype(np.int8)

    def compare(self, reference: int, inputs: Int[ndarray, "N n"]) -> Agreements:
        """Compare all automata with one of them, without their traces.

        Two automata visit the same states on a word iff they have the same transitions wherever the
        reference comes along: a product of two small boolean matrices.
        """
        visited = self.visited(reference, inputs).reshape(len(inputs), -1)
        differs = (self.transitions != self.transitions[reference]).reshape(len(self), -1)
        labels = self.answers(np.array([reference]), inputs)[0]
        both, answers = [], []
        chunk = max(1, CHUNK_BYTES // (16 * len(inputs)))
        for start in range(0, len(self), chunk):
            rows = np.arange(start, min(start + chunk, len(self)))
            same = self.answers(rows, inputs) == labels
            met = differs[rows].astype(np.float32) @ visited.T.astype(np.float32)
            answers.append(np.packbits(same, 1))
            both.append(np.packbits(same & (met == 0), 1))
        return Agreements(np.concatenate(both), np.concatenate(answers), len(inputs), base_rate(labels))

    def visited(self, reference: int, inputs: Int[ndarray, "N n"]) -> Bool[ndarray, "N Q A"]:
        """Return which symbols one automaton reads in which states, word by word."""
        self._check(inputs)
        table, words = self.transitions[reference], np.arange(len(inputs))
        visited = np.zeros((len(inputs), self.states, self.alphabet), dtype=bool)
        state = np.zeros(len(inputs), dtype=np.int64)
        for symbols in inputs.T:
            visited[words, state, symbols] = True
            state = table[state, symbols].astype(np.int64)
        return visited

    def _check(self, inputs: Int[ndarray, "N n"]) -> None:
        if inputs.size and not 0 <= inputs.min() <= inputs.max() < self.alphabet:
            raise ValueError(
                f"The words have symbols from {inputs.min()} to {inputs.max()}; the alphabet of this class is"
                f" 0 to {self.alphabet - 1}."
            )


def random_automata(states: int, alphabet: int, count: int, generator: np.random.Generator) -> Automata:
    """Draw automata with uniform transitions; each state accepts with probability 1/2, state 0 never does
    while the last one does, so that no automaton gives one answer everywhere by construction.

    Raises:
        ValueError: fewer than two states, one symbol or one automaton.
    """
    if states < 2 or alphabet < 1 or count < 1:
        raise ValueError(
            f"Random automata need 2 states, 1 symbol and a count of 1 or more, got {states}, {alphabet} and"
            f" {count}."
        )
    transitions = generator.integers(0, states, (count, states, alphabet), dtype=np.int16)
    accepting = generator.random((count, states)) < 0.5
    accepting[:, 0], accepting[:, -1] = False, True
    return Automata(transitions, accepting)


@dataclass(frozen=True)
class ShuffleIdeals:
    """All languages "u is a subsequence of x" for u in Sigma^k: |H| = alphabet^k.

    State s goes to s + 1 iff the symbol is u_{s+1}; y = 1[s_n = k]; z = (s_1, ..., s_n). Hypotheses are
    numbered as u is in base `alphabet`, the first symbol first.
    """

    alphabet: int
    """|Sigma|."""
    pattern: int
    """k."""

    def __post_init__(self) -> None:
        if self.alphabet < 2 or self.pattern < 1:
            raise ValueError(
                f"Shuffle ideals need 2 symbols and a pattern of 1 or more, got {self.alphabet} and"
                f" {self.pattern}."
            )

    def __len__(self) -> int:
        return int(self.alphabet**self.pattern)

    @cached_property
    def patterns(self) -> Int[ndarray, "H k"]:
        """u of each hypothesis."""
        places = self.alphabet ** np.arange(self.pattern)[::-1]
        return (np.arange(len(self))[:, None] // places % self.alphabet).astype(np.int8)

    @cached_property
    def automata(self) -> Automata:
        """The same class as transition tables."""
        k = self.pattern
        tables = np.broadcast_to(np.arange(k + 1)[:, None], (len(self), k + 1, self.alphabet)).astype(np.int8)
        moves = self.patterns[:, :, None] == np.arange(self.alphabet)
        tables[:, :k] += moves
        accepting = np.broadcast_to(np.arange(k + 1) == k, (len(self), k + 1))
        return Automata(tables, accepting)

    def evaluate(
        self, rows: Int[ndarray, " h"], inputs: Int[ndarray, "N n"]
    ) -> tuple[Int[ndarray, "h N"], Int[ndarray, "h N n"]]:
        """Run some hypotheses on all words; see `HypothesisClass.evaluate`."""
        return self.automata.evaluate(rows, inputs)

    def compare(self, reference: int, inputs: Int[ndarray, "N n"]) -> Agreements:
        """Compare all hypotheses with one of them, prefix by prefix.

        Hypotheses that begin alike share their work. Traces agree iff each symbol of u moves on exactly where
        the reference's does, symbol by symbol; an answer needs the first place at which a prefix is complete.
        """
        single = _one(self.alphabet, self.patterns[reference])
        allowed = _allowed(single, inputs)
        labels = single.answers(np.array([0]), inputs)[0]
        walk = _Walk(self.alphabet, self.pattern, allowed, _Occurrences.of(inputs, self.alphabet), labels)
        both, answers = walk.run()
        return Agreements(both & answers, answers, len(inputs), base_rate(labels))


def _one(alphabet: int, pattern: Int[ndarray, " k"]) -> Automata:
    """Return the automaton of one pattern."""
    k = len(pattern)
    table = np.broadcast_to(np.arange(k + 1)[:, None], (k + 1, alphabet)).astype(np.int16)
    table[np.arange(k), pattern] += 1
    return Automata(table[None], (np.arange(k + 1) == k)[None])


def _allowed(single: Automata, inputs: Int[ndarray, "N n"]) -> UInt8[ndarray, "k A bytes"]:
    """Return on which words the trace stays the same, for each symbol at each place of the pattern."""
    visited = single.visited(0, inputs)[:, :-1]
    own = single.transitions[0, :-1] != np.arange(single.states - 1)[:, None]
    moved = (visited & own).any(2, keepdims=True)
    never_read = ~visited.any(2, keepdims=True)
    fits = np.where(own, True, ~visited & ~moved)
    return np.packbits((fits | never_read).transpose(1, 2, 0), axis=2)


@dataclass(frozen=True)
class _Occurrences:
    """Where symbols stand in words. Places count from 0; a prefix that ends at place p goes on after p."""

    following: Int[ndarray, "A cells"]
    """For each symbol, word and place + 1: the next place with the symbol, or n."""
    last: Int[ndarray, "A N"]
    """The last place of each symbol in each word, or -1."""
    stride: int

    @classmethod
    def of(cls, inputs: Int[ndarray, "N n"], alphabet: int) -> _Occurrences:
        count, length = inputs.shape
        kind = np.int8 if length < 127 else np.int16 if length < 2**15 - 1 else np.int32
        following = np.full((alphabet, count, length + 2), length, dtype=kind)
        last = np.full((alphabet, count), -1, dtype=kind)
        for symbol in range(alphabet):
            for place in range(length - 1, -1, -1):
                here = inputs[:, place] == symbol
                following[symbol, :, place] = np.where(here, place, following[symbol, :, place + 1])
            for place in range(length):
                last[symbol, inputs[:, place] == symbol] = place
        return cls(following.reshape(alphabet, -1), last, length + 2)


@dataclass(frozen=True)
class _Walk:
    """A walk over the tree of patterns, a block of siblings at a time."""

    alphabet: int
    pattern: int
    allowed: UInt8[ndarray, "k A bytes"]
    occurrences: _Occurrences
    labels: Int[ndarray, " N"]

    def run(self) -> tuple[UInt8[ndarray, "H bytes"], UInt8[ndarray, "H bytes"]]:
        """Return where traces and where answers agree, in the order of the patterns."""
        count = len(self.labels)
        root = np.full((1, count), -1, dtype=self.occurrences.last.dtype)
        all_agree = np.packbits(np.ones((1, count), dtype=bool), axis=1)
        return self._below(0, root, all_agree)

    def _below(
        self, depth: int, ends: Int[ndarray, "b N"], both: UInt8[ndarray, "b bytes"]
    ) -> tuple[UInt8[ndarray, "h bytes"], UInt8[ndarray, "h bytes"]]:
        """Return the agreements of all patterns that begin with the block's prefixes, which end at `ends`."""
        most = max(1, CHUNK_BYTES // (16 * self.alphabet * ends.shape[1]))
        if len(ends) > most:
            starts = range(0, len(ends), most)
            parts = [
                self._below(depth, ends[start : start + most], both[start : start + most]) for start in starts
            ]
            traces, answers = zip(*parts, strict=True)
            return np.concatenate(traces), np.concatenate(answers)
        longer = (both[:, None] & self.allowed[depth]).reshape(-1, both.shape[1])
        if depth + 1 == self.pattern:
            accepts = ends[:, None] < self.occurrences.last
            same = (accepts == self.labels.astype(bool)).reshape(-1, ends.shape[1])
            return longer, np.packbits(same, axis=1)
        cells = np.arange(ends.shape[1]) * self.occurrences.stride + 1 + ends
        following = np.stack([table[cells] for table in self.occurrences.following], 1)
        return self._below(depth + 1, following.reshape(-1, ends.shape[1]), longer)
