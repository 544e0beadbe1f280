"""The command on a user's own model and files, the artefact, the check's parts, and bad input."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import assay
from assay import options
from assay.cli import running
from assay.data import Rows
from assay.errors import InputError
from assay.papers.privacy.uoe import recipe
from assay.papers.privacy.uoe.config import Unlearn
from assay.papers.privacy.uoe.evaluation import Measured, Measurement
from assay.papers.privacy.uoe.inputs import read_documents
from assay.papers.privacy.uoe.method import (
    ExpertDelta,
    SelectedExpertUnlearner,
    Unlearning,
    attribute_experts,
)
from assay.papers.privacy.uoe.paper import PAPER
from assay.papers.privacy.uoe.recipe import Attempt, chosen_part, kept_on_validation
from assay.trial import Trial
from papers.privacy.uoe.card_files import write_model
from papers.privacy.uoe.moe_models import lines, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A folder with a model of many experts, so that one of them is a small part of it."""
    return write_model(tmp_path_factory.mktemp("model"), tokenizer)


def run(folder, forget, retain, out, **settings):
    overrides = {
        "model": f"folder:{folder}",
        "forget": forget,
        "retain": retain,
        "forget_level": 0.0,
        "learning_rates": (1e-2,),
        "unlearning_steps": 2,
    }
    return running.run("uoe", out=out, overrides=overrides | settings)


# --- the user's own model and files -------------------------------------------------------------


def knows_something(monkeypatch):
    """An untrained model answers nothing; say that it does."""
    whole = Measurement.of

    def of(self, model):
        found = whole(self, model)
        return Measured(max(found.forget, 0.5), *list(vars(found).values())[1:])

    monkeypatch.setattr(Measurement, "of", of)


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


@pytest.mark.filterwarnings("ignore:expert")
def test_a_run_writes_a_model_and_a_small_delta(folder, tmp_path, monkeypatch):
    knows_something(monkeypatch)
    forget, retain = lines(tmp_path / "f.jsonl", texts(0, 8)), lines(tmp_path / "r.jsonl", texts(11, 12))
    out = tmp_path / "out"
    run(folder, forget, retain, out)
    before = AutoModelForCausalLM.from_pretrained(folder)
    after = AutoModelForCausalLM.from_pretrained(out / "model")
    different = [
        name
        for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(old, new)
    ]
    assert len(different) == 3
    assert len({name.split(".mlp.")[0] for name in different}) == 1
    loaded = assay.load(out)
    assert isinstance(loaded["delta"], ExpertDelta)
    loaded["delta"].apply(before)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(before(ids).logits, after(ids).logits)
    assert torch.equal(loaded["model"].model(ids).logits, after(ids).logits)
    assert loaded["model"].tokenizer(" word3")["input_ids"]
    sizes = [size_of(out / name) for name in ("delta", "model")]
    assert sizes[0] < 0.01 * sizes[1]
    report = assay.load(out, "report")
    assert report.metrics["trained_share"] < 0.01
    assert report.targets[0][0] in range(6)
    assert assay.load(out, "attribution").scores.shape == (6, 32)


@pytest.mark.filterwarnings("ignore:expert")
@pytest.mark.parametrize("objective", ["ga", "npo", "rmu"])
def test_other_objectives_run_on_questions(folder, tmp_path, objective, monkeypatch):
    knows_something(monkeypatch)
    rows = [{"question": f"word{n} word{n + 1}", "answer": f"word{n + 2}"} for n in range(20)]
    forget, retain = lines(tmp_path / "f.jsonl", rows[:6]), lines(tmp_path / "r.jsonl", rows[6:])
    ran = run(folder, forget, retain, tmp_path / "out", objective=objective, trained_part="2:5")
    assert assay.load(tmp_path / "out", "report").targets == ((2, 5),)
    assert ran.metrics["trained_share"] < 0.01


def test_a_model_that_knows_nothing_has_nothing_to_forget(folder, tmp_path):
    rows = [{"question": f"word{n}", "answer": "word29 word28 word27"} for n in range(10)]
    forget = lines(tmp_path / "f.jsonl", rows[:3])
    retain = lines(tmp_path / "r.jsonl", [row | {"answer": "word1"} for row in rows[3:]])
    with pytest.raises(InputError, match="nothing to unlearn"):
        run(folder, forget, retain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"retain": None}, "needs --forget FILE and --retain FILE"),
        ({"forget": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"measured": "retrained"}, "leave --model out"),
    ],
)
def test_what_is_missing_is_named(folder, tmp_path, settings, match):
    forget, retain = lines(tmp_path / "f.jsonl", texts(0, 8)), lines(tmp_path / "r.jsonl", texts(11, 12))
    with pytest.raises(InputError, match=match):
        run(folder, **({"forget": forget, "retain": retain, "out": tmp_path / "out"} | settings))


def test_sets_that_overlap_and_sets_that_are_too_small_are_refused(folder, tmp_path):
    forget = lines(tmp_path / "f.jsonl", texts(0, 3))
    with pytest.raises(InputError, match="is to be forgotten, and the same fact"):
        run(folder, forget, lines(tmp_path / "r.jsonl", [*texts(11, 5), *texts(2, 1)]), tmp_path / "out")
    with pytest.raises(InputError, match="gives 2 documents; at least 4"):
        run(folder, forget, lines(tmp_path / "r.jsonl", texts(11, 2)), tmp_path / "out")
    with pytest.raises(InputError, match="--forget and --retain need --model"):
        running.run("uoe", out=tmp_path / "out", preset="tiny", overrides={"forget": forget})


def test_a_dense_model_is_refused(tmp_path, tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "dense")
    tokenizer.save_pretrained(tmp_path / "dense")
    forget, retain = lines(tmp_path / "f.jsonl", texts(0, 8)), lines(tmp_path / "r.jsonl", texts(11, 12))
    with pytest.raises(InputError, match=r"\(llama\) is dense"):
        run(tmp_path / "dense", forget, retain, tmp_path / "out")


# --- parts of the check -------------------------------------------------------------------------


def test_parts_by_their_names(qwen, forget):
    found = attribute_experts(qwen, forget)
    trial = Trial(seed=1000)

    def part(name):
        return chosen_part(options.resolve(Unlearn, {"trained_part": name}), qwen, found, trial)

    assert part("top3") == found.ranked()[:3]
    assert part("lowest") == [found.ranked()[-1]]
    assert part("shared") == [(found.top()[0][0], "shared")]
    assert part("1:shared") == [(1, "shared")]
    assert part("2:4") == [(2, 4)]
    assert part("random") == part("random") != found.top()
    assert part("no-routers") == "no-routers"
    with pytest.raises(InputError, match="'best' is unknown"):
        part("best")


def test_candidates_that_do_not_forget_are_ranked_by_how_near_they_come(qwen):
    def attempt(*points):
        curve = {step: Measured(forget, kept, kept, 1.0, 1.0) for step, (forget, kept) in enumerate(points)}
        return Attempt(SelectedExpertUnlearner(qwen), curve)

    reached = attempt((1.0, 1.0), (0.0, 0.5))
    near, far = attempt((1.0, 1.0), (0.3, 0.9)), attempt((1.0, 1.0), (0.8, 1.0))
    scores = [kept_on_validation(each, 0.2) for each in (reached, near, far)]
    assert scores == pytest.approx([0.6, -0.1, -0.6])


def test_metrics_at_a_level_by_hand(qwen, forget):
    curve = {0: Measured(1.0, 1.0, 1.0, 1.0, 1.0), 2: Measured(0.0, 0.0, 0.5, 0.6, 0.8)}
    unlearner = SelectedExpertUnlearner(qwen, targets=[(0, 0)])
    unlearner.prepare(forget)
    found = recipe.metrics_of(Attempt(unlearner, curve), 0.5, Trial(seed=1000))
    assert found["retain_at_level"] == pytest.approx(0.75)
    assert found["steps_to_level"] == pytest.approx(1.0)
    assert (found["forget_overlap"], found["retain_overlap"]) == pytest.approx((0.8, 0.9))
    assert found["retained_area"] == pytest.approx(sum(1 - n / 80 for n in range(1, 21)) / 20)
    stuck = recipe.metrics_of(Attempt(unlearner, {0: curve[0]}), 0.5, Trial(seed=1000))
    assert stuck["retain_at_level"] is None
    assert stuck["retained_area"] == 0.0


def test_measuring_from_an_inner_layer_gives_the_same(folder, tokenizer, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    parts = [
        read_documents(Rows(lines(tmp_path / f"{n}.jsonl", texts(n, 5))), tokenizer, 20, None)
        for n in (0, 7, 14)
    ]
    whole = Measurement(*parts, model, batch_size=4)
    inner = whole.from_layer(3)
    assert vars(whole.of(model))["retain_overlap"] == vars(inner.of(model))["forget_overlap"] == 1.0
    unlearner = SelectedExpertUnlearner(
        model, Unlearning("ga", learning_rate=5e-2, steps=5), targets=[(3, 1)]
    )
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    whole, inner = Measurement(*parts, base, batch_size=4), Measurement(*parts, base, 3, batch_size=4)
    unlearner.fit(parts[0].sequences)
    found = [vars(each.of(model)) for each in (whole, inner)]
    assert found[0] == pytest.approx(found[1])
    assert found[0]["forget_overlap"] < 1.0


def test_every_comparison_gets_the_same_candidates():
    laptop = PAPER.recipes["unlearn"].presets["laptop"].settings
    rates = laptop["learning_rates"]
    assert len(rates) == 4
    for arm in PAPER.recipes["unlearn"].arms:
        assert not {"learning_rates", "unlearning_steps", "forget_level"} & set(arm.settings)
