"""The recipe: results from each source, what is compared, what is kept, what is refused."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, BertModel

import assay
from assay import catalogue, options
from assay.data import Rows
from assay.errors import InputError
from assay.models import ModelSource, OwnModel, Reply, TextModel, tiny_causal_lm, word_tokenizer
from assay.papers.theory.ecm import Item, Strategy, stages
from assay.papers.theory.ecm.artefact import CalibratedCircuit
from assay.papers.theory.ecm.config import Calibrate
from assay.papers.theory.ecm.inputs import (
    EntityCounter,
    Grading,
    Problem,
    QuestionEncoder,
    hops_of,
    problems_of,
    published_replies,
)
from assay.papers.theory.ecm.method import annotated_expressions, evaluate, last_number
from assay.papers.theory.ecm.recipe import calibrate
from assay.papers.theory.ecm.synthetic import (
    IGNORED,
    TOKENS,
    UNITS,
    UnitValues,
    decode,
    encode,
    prompt_row,
    values_row,
)
from assay.trial import Trial
from papers.theory.ecm.card_files import annotated, write_lines, write_results

ENTRY = catalogue.entry("ecm")
RECIPE = ENTRY.paper.recipes["calibrate"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Results of a made-up model, which fails at long questions and is helped by demonstrations."""
    return write_results(tmp_path_factory.mktemp("records"))


def run(config, out=None, seed=1000, stages=None):
    trial = Trial(seed=seed, out=out, stages=stages)
    return calibrate(config, trial), trial


# --- the user's own results ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(records, tmp_path_factory):
    """Metrics and counters of every arm on the user's own results."""
    stages = tmp_path_factory.mktemp("stages")
    configs = {
        arm.name: options.resolve(Calibrate, {"records.source": str(records)}, arm.settings)
        for arm in RECIPE.arms
    }
    return {name: run(config, stages=stages) for name, config in configs.items()}


def test_every_arm_predicts_and_the_permuted_one_does_not(arms):
    metrics = {name: found for name, (found, _) in arms.items()}
    assert metrics["ecm"]["auc"] > 0.65
    assert metrics["logistic"]["auc"] > 0.65
    assert metrics["ecm"]["auc"] > metrics["no-difficulty"]["auc"]
    assert abs(metrics["permuted-outcomes"]["auc"] - 0.5) < 0.15
    assert metrics["estimated"]["auc"] > 0.6  # the numbers in the question tell its steps


def test_arms_are_given_the_same(arms):
    counters = [trial.counters for _, trial in arms.values()]
    assert all(counts["calibration_items"] == counters[0]["calibration_items"] for counts in counters)
    assert {counts["candidates"] for counts in counters} == {10}


def test_metrics_are_declared(arms):
    declared = {metric.name for metric in ENTRY.paper.metrics}
    for metrics, _ in arms.values():
        assert set(metrics) <= declared
        assert all(value is None or np.isfinite(value) for value in metrics.values())


@pytest.fixture(scope="module")
def written(records, tmp_path_factory):
    """What `assay run` writes for the user's own results."""
    folder = tmp_path_factory.mktemp("written") / "circuit"
    return assay.run("ecm", out=folder, overrides={"records": str(records)}, seed=1000)


def test_the_calibrated_circuit_is_loaded_again(arms, written):
    assert written.metrics["auc"] == pytest.approx(arms["ecm"][0]["auc"])
    circuit = assay.load(written.folder)
    easy, hard = (Item("a question", difficulty=(steps, 50.0)) for steps in (1.0, 5.0))
    reading = circuit.predict([easy, hard, Item("Take 3 times 4 times 5.")])
    assert reading.accuracy[0] > reading.accuracy[1]
    assert 0 < reading.accuracy[2] < 1
    ranked = circuit.rank([Strategy("direct", "direct"), Strategy("two", shots=2)], "Take 3 times 4.")
    assert {one.strategy.name for one in ranked} == {"direct", "two"}
    assert len(circuit.retrieve("Take 3 times 4.", 2)) == 2


def test_a_circuit_of_another_encoder_is_refused(written, tmp_path):
    shutil.copytree(written.folder / "circuit", tmp_path / "circuit")
    circuit = CalibratedCircuit.load(tmp_path / "circuit")
    record = tmp_path / "circuit" / "record.json"
    record.write_text(record.read_text().replace(circuit.source.fingerprint(), "another"))
    with pytest.raises(InputError, match="Calibrate again"):
        CalibratedCircuit.load(tmp_path / "circuit")


GOOD = {"question": "q 1", "solution": "<<2*3=6>>", "correct": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "question must be a text"),
        ({"solution": "no annotation"}, "no annotation such as"),
        ({"solution": None}, "no annotation such as"),
        ({"correct": "yes"}, "correct must be true or false"),
        ({"correct": None}, "correct must be true or false"),
        ({"way": "guess"}, "none of direct, cot"),
        ({"samples": 0}, "whole number from 1"),
        ({"difficulty": [1]}, "difficulty must be two numbers"),
        ({"difficulty": [-1, 2]}, "at least 0"),
        ({"demos": [3]}, "a demo must be"),
    ],
)
def test_bad_records_are_named_by_their_line(change, message, tmp_path):
    path = write_lines(tmp_path / "bad.jsonl", [GOOD, GOOD | change])
    with pytest.raises(InputError, match=f"line 2: .*{re.escape(message)}"):
        run(Calibrate(records=Rows(str(path))))


def test_files_that_hold_nothing_to_calibrate_on_are_refused(tmp_path, records):
    few = write_lines(tmp_path / "few.jsonl", [GOOD] * 5)
    with pytest.raises(InputError, match="There are 5 items"):
        run(Calibrate(records=Rows(str(few))))
    same = write_lines(tmp_path / "same.jsonl", [GOOD | {"question": f"q {n}"} for n in range(60)])
    with pytest.raises(InputError, match="all right or all wrong"):
        run(Calibrate(records=Rows(str(same))))
    (tmp_path / "broken.jsonl").write_text('{"question": "q"\n')
    with pytest.raises(InputError, match="line 1, column"):
        run(Calibrate(records=Rows(str(tmp_path / "broken.jsonl"))))
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="expected an object"):
        run(Calibrate(records=Rows(str(tmp_path / "list.jsonl"))))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        run(Calibrate(records=Rows(str(tmp_path / "empty.jsonl"))))
    with pytest.raises(InputError, match="none"):
        run(Calibrate(records=Rows(str(tmp_path / "none.jsonl"))))
    with pytest.raises(InputError, match="exclude each other"):
        run(Calibrate(records=Rows(str(records)), replies=Rows(str(records))))
    with pytest.raises(InputError, match="give --solver"):
        run(Calibrate(problems=Rows("hub:openai/gsm8k/main")))
    with pytest.raises(InputError, match="give --problems"):
        run(Calibrate(solver=OwnModel("hub:Qwen/Qwen2.5-7B-Instruct")))


# --- published replies and benchmarks -----------------------------------------------------------


def reply_row(number, origin, reply):
    pred = [{"role": "user", "content": "..."}, {"role": "assistant", "content": reply}]
    return {"index": str(number), "pred": pred, "origin": origin}


def test_published_replies_are_read(tmp_path):
    random = np.random.default_rng(1)
    files = []
    for name, worst in (("cot", 4), ("direct", 3)):
        rows = []
        for number in range(40):
            steps = int(random.integers(1, 6))
            question, solution = annotated(random, steps)
            right = solution.split("#### ")[1]
            reply = f"So 1 + 1 = {right}" if steps <= worst and random.random() < 0.8 else "It is = 0"
            rows.append(reply_row(number, {"question": question, "answer": solution}, reply))
        rows.append(reply_row(40, {"question": "no steps", "answer": "5"}, "5"))
        files.append(Rows(str(write_lines(tmp_path / f"{name}.jsonl", rows))))
    metrics, trial = run(Calibrate(replies=files[0], direct_replies=files[1]))
    assert metrics["auc"] > 0.7
    assert trial.counters["calibration_items"] < 100
    assert metrics["demo_gain"] is None
    bad = write_lines(tmp_path / "bad.jsonl", [{"index": 1, "pred": []}])
    with pytest.raises(InputError, match="line 1: a reply has"):
        run(Calibrate(replies=Rows(str(bad))))


def test_replies_whose_content_is_a_list_of_parts(tmp_path):
    parts = [{"type": "text", "text": "3 * 4 = "}, {"type": "text", "text": "12"}]
    origin = {"question": "q", "answer": "<<3*4=12>>12\n#### 12"}
    rows = [
        {"pred": [[{"role": "assistant", "content": parts}]], "origin": origin},
        reply_row(1, origin, parts),
    ]
    path = write_lines(tmp_path / "parts.jsonl", rows)
    records = published_replies(str(path), "cot", Grading("math", len))
    assert [record.correct for record in records] == [True, True]


def test_all_items_may_measure(records):
    published = {"constants": "published", "measured": "all"}
    metrics, trial = run(options.resolve(Calibrate, {"records.source": str(records)}, published))
    assert trial.counters["calibration_items"] == 110
    held, _ = run(options.resolve(Calibrate, {"records.source": str(records)}, {"constants": "published"}))
    assert metrics["item_log_loss"] != held["item_log_loss"]


def test_numbers_that_are_none_are_refused(tmp_path):
    path = tmp_path / "nan.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + '{"question": "q", "difficulty": [NaN, 2], "correct": true}\n')
    with pytest.raises(InputError, match=r"line 2.*NaN is no JSON number"):
        run(Calibrate(records=Rows(str(path))))


def test_answers_and_difficulties_of_other_tasks():
    planning, hopping, curing = (Grading(task, len) for task in ("plan", "multihop", "medical"))
    plan = problems_of([{"query": "Blocks.", "ground_truth_plan": "(unstack b c)\n(put-down b)\n"}], "plan")[
        0
    ]
    assert planning.is_correct("[PLAN]\n(unstack b c)\n( put-down  b)\n[PLAN END]", plan)
    assert not planning.is_correct("(unstack b c)", plan)
    assert planning.difficulty(plan) == (3, 2)  # the empty line after the last counts
    row = {
        "question": "Where?",
        "answer": "The Hague",
        "supporting_facts": {"title": ["A", "B", "B"], "sent_id": [1, 0, 9]},
        "context": {"title": ["A", "B"], "sentences": [["zero", "one"], ["two"]]},
    }
    assert hops_of(row) == ["one", "two"]
    problem = problems_of([row], "multihop")[0]
    assert hopping.is_correct("I think it is the Hague.", problem)
    assert not hopping.is_correct("Delft", problem)
    assert hopping.is_correct("A city.\n#### the hague ", problem)
    assert not hopping.is_correct("The Hague, I think.\n#### Hague", problem)
    assert hopping.difficulty(problem) == (3, 2)
    known = {"question": "Where?", "answer": "x\n#### Delft", "hop": ["a b", "c"], "knowledge_num": 7}
    assert hopping.difficulty(problems_of([known], "multihop")[0]) == (7, 2)
    assert hopping.is_correct("#### delft", problems_of([known], "multihop")[0])
    cured = problems_of(
        [{"question": "What?", "exp": "One. Two. Six", "cop": 2, "knowledge_num": 4}], "medical"
    )[0]
    assert curing.difficulty(cured) == (3, 4)
    assert curing.is_correct("(A) no. [[Answer]] (B)", cured)
    assert not curing.is_correct("(B) [[Answer]] (C)", cured)
    assert Grading("math", len, signed=False).is_correct("= -5", Problem("q", "#### 5"))
    with pytest.raises(InputError, match="has no question and answer"):
        problems_of([{"text": "q"}], "math")


@pytest.fixture(scope="module")
def words():
    return word_tokenizer(["Take 3 times 4 . [ QUESTION ] [ ANSWER ] # 1 2 5 6 7 8 9 Alice Delft"], 60)


def test_entities_are_counted_by_their_beginnings(tmp_path, words):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        id2label={0: "O", 1: "B-PER"},
        label2id={"O": 0, "B-PER": 1},
    )
    model = BertForTokenClassification(config)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data = torch.tensor([0.0, 1.0])
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    counter = EntityCounter(OwnModel(f"folder:{tmp_path}"))
    assert counter("Alice Delft") == 3  # every token begins one here, <s> too
    path = write_lines(tmp_path / "hops.jsonl", [{"question": "q", "hops": ["Alice"], "correct": True}])
    with pytest.raises(InputError, match="--entities"):
        run(Calibrate(records=Rows(str(path)), task="multihop"))


class Canned(TextModel):
    """Answers short questions rightly, and long ones not."""

    def __init__(self, solved):
        self.solved = solved

    def fingerprint(self):
        return "canned"

    def scores(self, requests):
        return iter(())

    def replies(self, requests):
        for place, request in enumerate(requests):
            question = request.prompt.rpartition("[QUESTION]\n")[2].split("\n")[0]
            right = len(question.split()) < 8 or question.endswith("8.")
            yield place, Reply(f"= {self.solved[question] if right else 0}", 3, "stop")


@pytest.fixture
def benchmark(tmp_path):
    """Problems and a pool as files, with two equations in a solution or four."""
    random = np.random.default_rng(2)
    rows = [
        dict(zip(("question", "answer"), annotated(random, 2 + 2 * (n % 2)), strict=True)) for n in range(60)
    ]
    rows.append({"question": "no annotation", "answer": "3"})
    write_lines(tmp_path / "problems.jsonl", rows)
    write_lines(tmp_path / "pool.jsonl", rows[:20])
    return rows


def on_benchmark(folder, **settings):
    return Calibrate(
        problems=Rows(f"json:{folder / 'problems.jsonl'}"),
        demo_pool=Rows(f"json:{folder / 'pool.jsonl'}"),
        shots=(0, 2),
        max_new_tokens=3,
        temperature=0.0,
        **settings,
    )


def test_a_language_model_answers_a_benchmark(tmp_path, benchmark, monkeypatch):
    solved = {row["question"]: row["answer"].rpartition(" ")[2] for row in benchmark}
    monkeypatch.setattr(stages, "open_text_model", lambda source, device, cache: Canned(solved))
    config = on_benchmark(tmp_path, solver=OwnModel("http://localhost:1/v1#canned"))
    metrics, trial = run(config)
    assert 0.5 < metrics["solver_accuracy"] < 0.9
    assert metrics["auc"] > 0.7
    assert trial.counters["calibration_items"] == 30
    with pytest.raises(InputError, match="21 demonstrations are asked for"):
        run(dataclasses.replace(config, shots=(21,)))


def test_replies_of_a_local_model_are_kept(tmp_path, benchmark, words):
    tiny_causal_lm(words, hidden=16, layers=1).save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    config = on_benchmark(tmp_path, solver=OwnModel(f"folder:{tmp_path / 'model'}"), max_queries=44)
    with pytest.raises(InputError, match="all right or all wrong"):  # it knows nothing
        run(config, stages=tmp_path / "store" / "stages")
    assert len(list((tmp_path / "store" / "replies").rglob("*.json"))) >= 40


# --- the small model's world --------------------------------------------------------------------


def test_problems_are_solved_and_annotated_as_they_say():
    random = np.random.default_rng(3)
    units = UnitValues.draw(random)
    assert len(set(units.values)) == len(UNITS)
    for steps in (1, 2, 5):
        problem = units.journey(random, steps)
        equations = annotated_expressions(problem.solution)
        assert len(equations) == steps
        assert evaluate(equations[-1]).value == problem.answer == last_number(problem.solution)
        assert equations[-1].endswith(f"*{units.values[problem.unit]}")


def test_replies_are_decoded_to_what_was_encoded():
    solution = "A zib is 7.\n<<12*7=84>>\n#### 84"
    assert decode(encode(solution)) == solution
    assert all(token in TOKENS for token in ("#### ", "zib", "hiker"))


def test_only_answers_are_learnt():
    tokens, labels = prompt_row(np.random.default_rng(4), 2, 9)
    learnt = decode([token for token, label in zip(tokens, labels, strict=True) if label != IGNORED])
    assert learnt.count("#### ") == 3
    assert "QUESTION" not in learnt
    tokens, labels = values_row(np.random.default_rng(4), 9)
    assert all(TOKENS[label].isdigit() for label in labels if label != IGNORED)


# --- encoders -----------------------------------------------------------------------------------


def test_the_pooler_reads_underscores_as_spaces(tmp_path, words):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=0,
    )
    BertModel(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    encoder = QuestionEncoder(ModelSource(f"folder:{tmp_path}"), "pooler")
    first, second, other = encoder(["Alice_Delft", "Alice Delft", "Take"])
    assert torch.allclose(first, second, atol=1e-6)
    assert not torch.allclose(first, other, atol=1e-3)
    assert first.abs().max() <= 1  # tanh


# --- PlanBench ----------------------------------------------------------------------------------


def test_a_planning_benchmark_is_read_without_its_other_domains(tmp_path, monkeypatch):
    rows = []
    for number in range(50):
        plan = "\n".join(["(unstack b c)", "(put-down b)"] * (1 + number % 3))
        domain = "blocksworld_3" if number < 45 else "logistics"
        rows.append({"query": f"Blocks {number}.", "ground_truth_plan": plan, "domain": domain})
    write_lines(tmp_path / "problems.jsonl", rows)
    seen = []

    class Planner(Canned):
        def replies(self, requests):
            for place, request in enumerate(requests):
                seen.append(request.prompt)
                plan = "(unstack b c)\n(put-down b)" if len(request.prompt) % 2 else "(pick-up a)"
                yield place, Reply(plan, 3, "stop")

    monkeypatch.setattr(stages, "open_text_model", lambda source, device, cache: Planner({}))
    config = Calibrate(
        problems=Rows(f"json:{tmp_path / 'problems.jsonl'}"),
        solver=OwnModel("http://localhost:1/v1#planner"),
        task="plan",
        shots=(0,),
        direct=0.0,
        bin_width=1.0,
    )
    metrics, _ = run(config)
    assert len(seen) == 45
    assert 0 < metrics["solver_accuracy"] < 0.5
