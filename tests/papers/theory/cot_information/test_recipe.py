"""The recipes: classes, candidates, checkpoints, language models, artefacts, and what they refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import assay
from assay import catalogue, options
from assay.errors import InputError
from assay.models import OwnModel, tiny_causal_lm, word_tokenizer
from assay.papers.theory.cot_information.artefact import Writer
from assay.papers.theory.cot_information.config import (
    Autoregressive,
    Estimate,
    Finetune,
    Ideals,
    Learn,
    Llama,
    RandomAutomata,
    Traces,
)
from assay.papers.theory.cot_information.inputs import read_rows
from assay.papers.theory.cot_information.method import (
    CheckpointPool,
    CoTInformation,
    Record,
    RecordedPool,
    Traced,
    TraceFormat,
    canonical,
    split_reply,
    token_rows,
)
from assay.papers.theory.cot_information.recipe import across, estimate, examples_of, finetune, learn
from assay.trial import Trial

from .card_files import rows_of, write_jsonl, write_pool

ENTRY = catalogue.entry("cot_information")
RECIPE = ENTRY.paper.recipes["learn"]
SMALL = {**RECIPE.presets["tiny"].settings, "repeats": 10}


@pytest.fixture
def pool(tmp_path):
    """Your examples and three candidates."""
    write_pool(tmp_path)
    return tmp_path


def of(pool, **settings):
    return Estimate(
        traces=Traces(f"json:{pool / 'mine.jsonl'}"), candidate_folder=str(pool / "candidates"), **settings
    )


# --- estimate: a class by name ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ideals", "automata", "autoregressive"])
def test_a_class_by_name_is_computed_and_estimated(name, tmp_path):
    config = Estimate(
        class_name=name,
        ideals=Ideals(3, 3, 12),
        automata=RandomAutomata(4, 2, 40, 10),
        autoregressive=Autoregressive(4, 8),
        word_count=3000,
        eps_grid=(0.0, 0.1),
    )
    estimate(config, Trial(seed=1000, out=tmp_path / "drawn"))
    exact = estimate(replace(config, exact=True), Trial(seed=1000, out=tmp_path / "exact"))
    drawn = CoTInformation.load(tmp_path / "drawn" / "information")
    truth = CoTInformation.load(tmp_path / "exact" / "information")
    assert truth.exact
    assert truth.about == drawn.about
    assert np.all(drawn.lower <= truth.info)
    assert np.all(drawn.upper >= truth.info)
    assert exact["predicted_cot"] <= exact["predicted_e2e"]


def test_balanced_words_change_the_base_rate():
    config = Estimate(ideals=Ideals(4, 4, 32), exact=True)
    uniform, balanced = (estimate(replace(config, balance=on), Trial(seed=1000)) for on in (False, True))
    assert uniform["base_rate"] > 0.97
    assert balanced["base_rate"] == 0.5
    assert uniform["information"] == pytest.approx(4.49, abs=0.05)  # 200 times eps = 0.02
    assert balanced["value_ratio"] < uniform["value_ratio"]


# --- estimate: your candidates ------------------------------------------------------------------


def test_candidates_are_compared_with_your_examples(pool, tmp_path):
    assay.run(
        "cot_information",
        out=tmp_path / "report",
        overrides={
            "traces": f"json:{pool / 'mine.jsonl'}",
            "candidate_folder": str(pool / "candidates"),
            "split": 0.0,
        },
    )
    curve = assay.load(tmp_path / "report")
    assert isinstance(curve, CoTInformation)
    assert curve.names == ("answers", "same", "traces")
    assert curve.names[curve.witness[0]] == "answers"  # wrong on a quarter, and right otherwise
    assert curve.info[0] == pytest.approx(-math.log(0.75))
    assert curve.at(0.3).info == math.inf
    assert "no hypothesis was seen to err on more" in curve.describe(0.3)
    assert curve.about["candidates"] == 3


def test_a_candidate_can_be_the_reference_and_agnostic_goes_on(pool):
    (pool / "candidates" / "same.jsonl").unlink()
    with pytest.raises(InputError, match=r"No candidate of 2 .*--reference-name.*--agnostic"):
        estimate(of(pool), Trial(seed=0))
    assert estimate(of(pool, reference_name="traces"), Trial(seed=0))["base_rate"] == 14 / 40
    metrics = estimate(of(pool, agnostic=True, split=0.0), Trial(seed=0))
    assert metrics["information"] == pytest.approx(-math.log(0.75))
    with pytest.raises(InputError, match="no candidate 'other'; there are answers, traces"):
        estimate(of(pool, reference_name="other"), Trial(seed=0))


def test_records_that_do_not_fit_are_refused(pool, tmp_path):
    lacking = rows_of(1)
    del lacking[4]["cot"]
    write_jsonl(pool / "candidates" / "x.jsonl", lacking)
    with pytest.raises(InputError, match=r"x.jsonl, row 5, has no 'cot'"):
        estimate(of(pool), Trial(seed=0))
    write_jsonl(pool / "candidates" / "x.jsonl", [{"input": "q 1", "answer": 3}])
    with pytest.raises(InputError, match=r"There is no column with the cot in .*'cot'"):
        estimate(of(pool), Trial(seed=0))
    write_jsonl(pool / "candidates" / "x.jsonl", rows_of(1, range(30)))
    with pytest.raises(InputError, match="has no record of the input 'q 30'"):
        estimate(of(pool), Trial(seed=0))
    write_jsonl(pool / "candidates" / "x.jsonl", rows_of(1) + rows_of(2))
    with pytest.raises(InputError, match="two different records of the input 'q 0'"):
        estimate(of(pool), Trial(seed=0))
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, message in (("", "--traces needs"), ("nowhere", "no folder"), (str(empty), "no candidates")):
        with pytest.raises(InputError, match=message):
            estimate(replace(of(pool), candidate_folder=folder), Trial(seed=0))


def test_estimate_refuses_options_that_make_no_sense(pool):
    for settings, message in [
        ({"eps_grid": (1.0,)}, "error rate"),
        ({"eps": 1.5}, "error rate"),
        ({"candidate_folder": "somewhere"}, "need --traces"),
        ({"reference_row": 300}, "not in the class, whose 256"),
        ({"class_name": "autoregressive", "balance": True}, "needs a class of automata"),
        ({"delta": 0.0}, "delta is a probability"),
    ]:
        with pytest.raises(InputError, match=message):
            estimate(Estimate(word_count=50, **settings), Trial(seed=0))
    with pytest.raises(InputError, match="no space"):
        Traces(separator=" ")


def test_checkpoints_write_their_own_traces(pool):
    texts = [f"q {x} = {x} {x + 1} #### {x % 3}" for x in range(40)]
    tokenizer = word_tokenizer(texts, 200)
    model = tiny_causal_lm(tokenizer, hidden=8, layers=1, heads=2)
    model.save_pretrained(pool / "candidates" / "untrained")
    tokenizer.save_pretrained(pool / "candidates" / "untrained")
    metrics = estimate(of(pool, max_new_tokens=4, split=0.0), Trial(seed=0))
    assert metrics["information"] == pytest.approx(-math.log(0.75))  # it agrees nowhere
    with pytest.raises(InputError, match=r"has no \{input\}"):
        estimate(of(pool, prompt="say"), Trial(seed=0))


# --- pools --------------------------------------------------------------------------------------


def test_traces_of_different_length_are_different_and_missing_ones_agree_with_none():
    labels = [Record((1, 2), "a"), Record((1, 2), "a"), Record("t", "b"), Record("t", None)]
    other = [Record((1, 2, 0), "a"), Record((1, 2), "a"), Record("t", "c"), Record("t", None)]
    pool = RecordedPool(("mine", "other"), (tuple(labels[:3] * 2), tuple(other[:3] * 2)))
    found = pool.agreements("mine")
    assert found.unpack(found.both)[1].tolist() == [False, True, False] * 2
    assert found.unpack(found.answers)[1].tolist() == [True, True, False] * 2
    assert found.base_rate == pytest.approx(2 / 3)
    silent = RecordedPool(("a", "b"), ((labels[3],), (other[3],)))
    with pytest.raises(ValueError, match="on all 1 inputs"):
        silent.agreements("a")


def test_pools_that_do_not_fit_are_refused():
    record = Record("t", "a")
    with pytest.raises(ValueError, match="at least one candidate"):
        RecordedPool((), ())
    with pytest.raises(ValueError, match=r"different numbers of inputs \(a: 1, b: 2\)"):
        RecordedPool(("a", "b"), ((record,), (record, record)))
    with pytest.raises(ValueError, match="the same name"):
        RecordedPool(("a", "a"), ((record,), (record,)))
    with pytest.raises(ValueError, match="2 records, the candidates have 1"):
        RecordedPool(("a",), ((record,),)).agreements([record, record])
    with pytest.raises(ValueError, match="gave 1 replies to 2 prompts"):
        CheckpointPool({"a": lambda prompts: ["x"]}).record(["1", "2"])


def test_replies_are_taken_apart_at_the_last_separator():
    assert split_reply("2 + 2 = 4 ####  so\n#### 4 ") == Record("2 + 2 = 4 #### so", "4")
    assert split_reply("no idea") == Record("no idea", None)
    assert canonical([1, "a  b ", 2.0, {"k": None}]) == ("1", "a b", "2", (("k", None),))
    pool = CheckpointPool({"echo": lambda prompts: [f"{p} #### {len(p)}" for p in prompts]}).record(
        ["a", "bb"]
    )
    assert pool.records == ((Record("a", "1"), Record("bb", "2")),)


# --- learn --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """Metrics and counters of all arms of one seed at a small size."""
    stages = tmp_path_factory.mktemp("stages")
    found = {}
    for arm in RECIPE.arms:
        trial = Trial(seed=1000, arm=arm.name, stages=stages)
        found[arm.name] = (learn(options.resolve(Learn, SMALL, arm.settings), trial), trial)
    return found


def test_controls_need_as_many_examples_as_no_traces_at_all(arms):
    metrics = {name: found for name, (found, _) in arms.items()}
    for rule in ("worst", "mean", "first"):
        name = f"samples_{rule}"
        assert metrics["constant"][name] == metrics["e2e"][name]
        assert metrics["independent"]["samples_worst"] == metrics["e2e"]["samples_worst"]
        assert metrics["cot"][name] <= metrics["mixed"][name] <= metrics["e2e"][name]
        assert metrics["cot-balanced"][name] <= metrics["e2e-balanced"][name]


def test_all_arms_see_as_many_words_and_the_bounds_hold(arms):
    assert len({trial.counters["words"] for _, trial in arms.values()}) == 1
    for name, (metrics, trial) in arms.items():
        if name == "cot-wrong":
            assert set(metrics) == {"erm_error"}
            continue
        assert metrics["violations"].value <= 0.2
        assert metrics["information_slack"] is None or metrics["information_slack"] >= 0
        assert [point["step"] for point in trial.curve()][:3] == [1, 2, 4]
    assert arms["e2e-balanced"][0]["base_rate"] == 0.5


def test_wrong_traces_leave_the_mean_error_of_the_class(arms):
    assert arms["cot-wrong"][0]["erm_error"] > arms["e2e"][0]["erm_error"]


def test_the_ratio_of_samples_is_held_against_that_of_informations(arms):
    metrics = {name: found for name, (found, _) in arms.items()}
    for where in ("-balanced", "-short", "-binary"):
        metrics[f"e2e{where}"] = {"samples_worst": 40.0}
        metrics[f"cot{where}"] = {"samples_worst": 4.0, "information_gain": 5.0}
    assert across(metrics)["prediction_error"] == pytest.approx(math.log(2))
    metrics["cot-short"]["samples_worst"] = None
    assert across(metrics)["prediction_error"] is None


def test_a_run_of_learn_keeps_the_first_programs_curve(tmp_path):
    metrics = learn(options.resolve(Learn, SMALL, {"references": 1}), Trial(seed=1000, out=tmp_path))
    curve = CoTInformation.load(tmp_path / "information")
    assert curve.exact
    assert curve.at(0.02).info == pytest.approx(metrics["information"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most_examples": 40_000}, "--most-examples is 40000; it must be 1 to 32766"),
        ({"erm_examples": 600}, "1 to --most-examples"),
        ({"most_examples": 20, "erm_examples": 5, "supervision": "e2e"}, "raise --most-examples above 20"),
        ({"family": "autoregressive", "balance": True}, "needs a class of automata"),
    ],
)
def test_learn_refuses_options_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        learn(options.resolve(Learn, SMALL, settings), Trial(seed=0))


# --- finetune -----------------------------------------------------------------------------------

QUICK = Finetune(
    examples=24,
    test_examples=12,
    ideals=Ideals(3, 2, 8),
    llama=Llama(hidden=16, layers=1),
    steps=4,
    learning_rates=(1e-2,),
    max_new_tokens=14,
)


@pytest.mark.parametrize("supervision", ["cot", "e2e"])
def test_only_the_completion_is_learnt(supervision):
    example, style = Traced("a b", "0 1", "yes"), TraceFormat()
    tokenizer = word_tokenizer(["a b = 0 1 #### yes"], 50)
    (ids,), (labels,) = token_rows(tokenizer, [example], supervision, style)
    learnt = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    expected = " 0 1 #### yes</s>" if supervision == "cot" else " #### yes</s>"
    assert tokenizer.decode(learnt) == expected
    assert tokenizer.decode(ids) == "<s>a b =" + expected
    assert style.parse(tokenizer.decode(learnt[:-1])).answer == "yes"
    with pytest.raises(ValueError, match="no answer"):
        token_rows(tokenizer, [Traced("a", "0", "")], supervision, style)


def test_a_trained_writer_is_kept_and_answers_by_itself(tmp_path):
    metrics = finetune(QUICK, Trial(seed=1000, out=tmp_path))
    assert 0 <= metrics["exact_match"] <= 1
    assert metrics["base_rate"] <= 0.9
    writer = Writer.load(tmp_path / "writer")
    replies = writer.answer(["a b c", "c b"])
    assert len(replies) == 2
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt"))


def test_arms_see_the_same_words_and_traces_differ_only_in_what_they_say():
    parts = {
        labels: examples_of(replace(QUICK, labels=labels), Trial(seed=1000))
        for labels in ("own", "filler", "independent")
    }
    for part in parts.values():
        assert [each.input for each in part.test] == [each.input for each in parts["own"].test]
        assert [each.answer for each in part.train] == [each.answer for each in parts["own"].train]
    for own, filler in zip(parts["own"].train, parts["filler"].train, strict=True):
        assert len(own.trace.split()) == len(filler.trace.split()) == 8
        assert set(filler.trace.split()) == {"."}
    used = [{each.input for each in part} for part in (parts["own"].train, parts["own"].test)]
    assert not used[0] & used[1]


GSM8K = [
    {
        "question": f"Ann has {x} nuts and finds {x}. How many has she?",
        "answer": f"She has {x}+{x} = <<{x}+{x}={2 * x}>>{2 * x} nuts.\n#### {2 * x}",
    }
    for x in range(40)
]


def test_gsm8k_is_read_as_it_is_published(tmp_path):
    import pandas as pd

    for split, rows in (("train", GSM8K[:30]), ("test", GSM8K[30:])):
        pd.DataFrame(rows).to_parquet(tmp_path / f"{split}.parquet")
    config = options.resolve(
        Finetune,
        {
            "examples": 2000,
            "test_examples": 1319,
            "traces.source": f"parquet:{tmp_path}",
            "traces.input": "question",
            "traces.cot": "answer",
            "base_model": None,
            "steps": 3,
            "learning_rates": (1e-3,),
            "max_new_tokens": 8,
            "llama.hidden": 16,
        },
    )
    rows = read_rows(config.traces, config.traces.source)
    assert len(rows) == 30
    assert rows[3].record == Record("She has 3+3 = <<3+3=6>>6 nuts.", "6")
    parts = examples_of(config, Trial(seed=0))
    assert [each.answer for each in parts.test] == [str(2 * x) for x in range(30, 40)]
    assert len(parts.train) + len(parts.validation) == 30
    assert finetune(config, Trial(seed=0))["exact_match"] == 0.0
    broken = [GSM8K[0] | {"answer": "no mark"}]
    path = write_jsonl(tmp_path / "broken.jsonl", broken)
    with pytest.raises(InputError, match=r"row 1: 'answer' holds trace and answer, but there is no '####'"):
        read_rows(replace(config.traces, source=f"json:{path}"), f"json:{path}")


def test_a_model_of_your_own_is_trained_on_your_traces(tmp_path):
    rows = [{"input": f"n {x}", "cot": f"{x} then {x}", "answer": x % 2} for x in range(30)]
    path = write_jsonl(tmp_path / "mine.jsonl", rows)
    tokenizer = word_tokenizer([f"n {x} = {x} then {x} #### {x % 2} ." for x in range(30)], 100)
    tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    config = replace(
        QUICK, traces=Traces(f"json:{path}"), base_model=OwnModel(f"folder:{tmp_path / 'model'}")
    )
    trial = Trial(seed=0, out=tmp_path / "out")
    metrics = finetune(config, trial)
    assert trial.resplit > 0  # seeds split the same rows
    assert metrics["base_rate"] < 1
    before = torch.load  # loading never goes through pickle
    assert Writer.load(tmp_path / "out" / "writer").model.config.hidden_size == 16
    assert torch.load is before
    with pytest.raises(InputError, match="for words"):
        finetune(replace(config, labels="independent"), Trial(seed=0))
    short = write_jsonl(tmp_path / "short.jsonl", rows[:5])
    with pytest.raises(InputError, match="has 5 rows; give 8 or more"):
        finetune(replace(config, traces=Traces(f"json:{short}")), Trial(seed=0))
