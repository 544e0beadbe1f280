"""The protocol: what a system is given, what is made of what it returns, and what gives it away."""

import json
import types

import numpy as np
import pytest
import torch

import assay
from assay.errors import InputError
from assay.papers.speech.esb.method import (
    Benchmark,
    BenchmarkResult,
    OneSystemGuard,
    SpeechDataset,
    Transcribing,
    fingerprint,
)

TEXTS = {"low": ["One, two.", "Um, three"], "high": ["FOUR FIVE", "SIX", "SEVEN EIGHT NINE"]}
LEVELS = {"low": 0.1, "high": 0.3}


def code(dataset, number):
    """A sound whose level tells the utterance, and whose length tells it too."""
    level = LEVELS[dataset] + number / 100
    return np.full(1600 * (number + 1), level, np.float32)


SETS = [
    SpeechDataset.from_arrays(name, [code(name, number) for number in range(len(texts))], texts)
    for name, texts in TEXTS.items()
]
KNOWN = {
    round(float(code(name, number)[0]), 2): text
    for name, texts in TEXTS.items()
    for number, text in enumerate(texts)
}


def perfect(audio):
    return [KNOWN[round(float(sound[0]), 2)] for sound in audio]


def lower(audio):
    return [text.lower().replace(",", "") for text in perfect(audio)]


def test_a_perfect_system_makes_no_errors():
    result = Benchmark(SETS).run(perfect)
    assert result.macro() == result.macro("normalised") == 0
    assert not result.violations
    assert result.system == "perfect"
    assert [row.pred_text for row in result.sets[1].transcripts] == TEXTS["high"]


def test_scores_are_pooled_in_a_set_and_averaged_over_sets():
    result = Benchmark(SETS).run(lower)
    low, high = result.scores["low"], result.scores["high"]
    assert low.orthographic == pytest.approx(2 / 4)  # One, Um,: both differ
    assert (low.plain, low.normalised, high.orthographic) == (0, 0, 1)
    assert high.breakdown.case == 6
    assert result.macro() == pytest.approx((0.5 + 1) / 2)
    assert result.macro("plain") == 0
    assert low.artefact_gap == pytest.approx(0.5)


def test_a_reference_that_the_normaliser_empties_is_not_scored():
    fillers = SpeechDataset.from_arrays("fillers", [code("low", 0), code("low", 1)], ["um", "three"])
    result = Benchmark([fillers]).run(perfect)
    assert result.scores["fillers"].normalised == 0  # "One, two." against nothing does not count


def test_systems_get_bare_arrays_of_all_sets_mixed():
    seen = []

    def system(audio):
        seen.append(audio)
        return perfect(audio)

    Benchmark(SETS, sample=0).run(system)
    (batch,) = seen
    assert all(type(sound) is np.ndarray and sound.dtype == np.float32 for sound in batch)
    sets = ["low" if sound[0] < 0.2 else "high" for sound in batch]
    assert sets != sorted(sets)
    assert sets != sorted(sets, reverse=True)


def test_results_do_not_depend_on_the_order_or_on_the_batches():
    first = Benchmark(SETS, seed=1).run(lower, batch_seconds=0.2)
    second = Benchmark(SETS, seed=2).run(lower)
    assert [found.edits()[0].tolist() for found in first.sets] == [
        found.edits()[0].tolist() for found in second.sets
    ]


def test_time_counts_the_calls_alone(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("assay.papers.speech.esb.method.benchmark.time.perf_counter", lambda: next(clock))
    result = Benchmark(SETS, sample=0).run(perfect)
    seconds = sum(len(code(name, n)) for name, texts in TEXTS.items() for n in range(len(texts))) / 16_000
    assert result.rtfx == pytest.approx(seconds / 1)


def test_long_sounds_are_transcribed_in_parts_and_joined():
    sound = np.concatenate([code("low", 0), code("high", 0)] * 2)
    lengths = []

    def system(audio):
        lengths.extend(len(part) for part in audio)
        return ["part"] * len(audio)

    dataset = SpeechDataset.from_arrays("long", [sound], ["part part part part"])
    result = Benchmark([dataset], chunk_seconds=0.1, sample=0).run(system)
    assert sum(lengths) == len(sound)
    assert max(lengths) <= 1600
    assert result.sets[0].transcripts[0].pred_text == " ".join(["part"] * len(lengths))


# --- violations ---------------------------------------------------------------------------------


def test_a_system_that_listens_to_the_company_of_a_sound_is_found_out():
    def spying(audio):
        quiet = np.mean([sound[0] for sound in audio]) < 0.25
        return [text.lower() if quiet else text for text in perfect(audio)]

    (violation,) = Benchmark(SETS).run(spying, batch_seconds=0.1).violations
    assert violation.rule == "independent-of-batch"
    assert violation.ids


def test_a_system_that_remembers_is_found_out():
    heard = []

    def counting(audio):
        heard.extend(audio)
        return [f"{text} {len(heard)}" for text in perfect(audio)]

    violations = Benchmark(SETS).run(counting).violations
    assert "independent-of-batch" in [violation.rule for violation in violations]


def test_a_system_that_changes_while_it_transcribes_is_found_out():
    network = torch.nn.Linear(1, 1)

    class Learner:
        def __init__(self):
            self.network = network

        def __call__(self, audio):
            with torch.no_grad():
                self.network.weight += 1
            return perfect(audio)

    (violation,) = Benchmark(SETS).run(Learner()).violations
    assert violation.rule == "one-system"
    assert "VIOLATION of one-system" in "".join(Benchmark(SETS).run(Learner()).notes())


def test_fingerprints_tell_code_options_and_weights_apart():
    def shout(audio):
        return [text.upper() for text in perfect(audio)]

    network = torch.nn.Linear(2, 2)
    first = types.SimpleNamespace(network=network)
    before = fingerprint(perfect), fingerprint(shout)
    assert before[0] != before[1]
    assert before == (fingerprint(perfect), fingerprint(shout))

    def closure(mark):
        return lambda audio: [text + mark for text in perfect(audio)]

    assert fingerprint(closure(".")) != fingerprint(closure("!"))

    def forward(audio):
        return first.network

    del forward
    old = fingerprint(network)
    with torch.no_grad():
        network.weight[0, 0] += 1
    assert fingerprint(network) != old


def test_systems_that_ask_for_the_set_are_refused():
    def tuned(audio, domain="low"):
        return perfect(audio)

    with pytest.raises(InputError, match=r"parameter 'domain'. No system may know which set"):
        OneSystemGuard(tuned)
    with pytest.raises(InputError, match=r"needs audio, name; it must take a list of sounds"):
        Benchmark(SETS).run(lambda audio, name: audio)
    with pytest.raises(InputError, match=r"A system is a function .* not str"):
        Benchmark(SETS).run("whisper")
    with pytest.raises(InputError, match=r"dict is a class\. Give an object of it"):
        Benchmark(SETS).run(dict)


# --- bad outputs --------------------------------------------------------------------------------


def test_none_counts_as_no_words_and_is_warned_of():
    with pytest.warns(Transcribing, match=r"returned None for 5 sounds"):
        result = Benchmark(SETS).run(lambda audio: [None] * len(audio))
    assert result.macro() == 1
    assert all(found.breakdown.deletions == found.breakdown.words for found in result.scores.values())


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (
            lambda audio: perfect(audio)[:-1],
            r"returned 4 texts for the batch of 5 from '.*' on; .* one for each",
        ),
        (lambda audio: "all in one", "returned str .* a list with one text each"),
        (lambda audio: None, "returned NoneType"),
        (lambda audio: [1.5] * len(audio), "returned float in place of a text"),
    ],
)
def test_outputs_that_are_not_one_text_each_are_refused(system, message):
    with pytest.raises(InputError, match=message):
        Benchmark(SETS).run(system)


def test_empty_hypotheses_are_all_deletions_and_brackets_are_noted():
    empty = Benchmark(SETS).run(lambda audio: [""] * len(audio))
    assert empty.macro() == 1
    bracketed = Benchmark(SETS).run(lambda audio: ["(one) two"] * len(audio))
    assert "5 hypotheses have words in brackets, which the normaliser deletes" in bracketed.notes()


def test_sets_need_names_of_their_own():
    with pytest.raises(InputError, match=r"each with its own name"):
        Benchmark([SETS[0], SETS[0]])
    with pytest.raises(InputError, match=r"needs sets, each with its own name; these are \[\]"):
        Benchmark([])


# --- on disk and side by side -------------------------------------------------------------------


def test_results_are_written_and_scored_again(tmp_path):
    result = Benchmark(SETS).run(lower)
    result.save(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "low.jsonl").read_text().splitlines()]
    assert rows[1] | {"time": 0} == {
        "id": "low-000001",
        "duration": 0.2,
        "time": 0,
        "text": "Um, three",
        "pred_text": "um three",
        "norm_text": "3",
        "norm_pred": "3",
    }
    summary = json.loads((tmp_path / "results.json").read_text())
    assert summary["macro"]["orthographic"] == pytest.approx(0.75)
    assert "whisper-english" in summary["normaliser"]
    assert "| macro average | | 75.00 | 0.00 |" in (tmp_path / "table.md").read_text()
    again = BenchmarkResult.load(tmp_path)
    assert (again.system, again.macro(), again.sets) == ("lower", 0.75, result.sets)


def test_corrected_references_are_scored_again(tmp_path):
    Benchmark(SETS).run(lower).save(tmp_path)
    path = tmp_path / "high.jsonl"
    path.write_text(path.read_text().replace("SIX", "six"))
    assert BenchmarkResult.load(tmp_path).scores["high"].orthographic == pytest.approx(5 / 6)
    path.write_text(path.read_text().replace('"text": "six"', '"text": ""'))
    scores = BenchmarkResult.load(tmp_path).scores["high"]
    assert scores.counts.rate == scores.orthographic == 1  # what has no words counts nowhere
    assert scores.breakdown.edits == 5


def test_damaged_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no results.json"):
        BenchmarkResult.load(tmp_path)
    Benchmark(SETS).run(lower).save(tmp_path)
    (tmp_path / "low.jsonl").write_text('{"id": "1"}\n')
    with pytest.raises(InputError, match=r"low.jsonl, line 1 is damaged: duration is None"):
        BenchmarkResult.load(tmp_path)
    (tmp_path / "low.jsonl").unlink()
    with pytest.raises(InputError, match=r"There is no file .*low.jsonl"):
        BenchmarkResult.load(tmp_path)


def test_two_systems_are_compared_on_the_same_utterances():
    first, second = (Benchmark(SETS).run(system) for system in (perfect, lower))
    found = first.compare(second, draws=200)
    assert found.macro.value == pytest.approx(-0.75)
    assert found.macro.better == 1
    assert first.compare(second, "plain", draws=50).macro.value == 0
    other = Benchmark(SETS[:1]).run(perfect)
    with pytest.raises(InputError, match=r"different sets"):
        first.compare(other)
    renamed = SpeechDataset.from_arrays("low", [code("low", 0), code("low", 1)], ["One, two.", "Three"])
    with pytest.raises(InputError, match=r"different utterances or references in the set 'low'"):
        other.compare(Benchmark([renamed]).run(perfect))


def test_the_public_names_are_those_of_the_method():
    from assay.papers.speech import esb

    assert esb.Benchmark is Benchmark
    assert assay.__version__
