"""The audit on models whose answers follow from what they are."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from assay.errors import InputError
from assay.models import tiny_causal_lm, word_tokenizer
from assay.papers.privacy.ununlearning.method import (
    FactRecord,
    StringFilter,
    UnUnlearningAudit,
    rouge_l_recall,
)
from assay.papers.privacy.ununlearning.synthetic import FORM


@pytest.fixture(scope="module")
def audited(lookup, copier, guesser, facts, words):
    lost = [fact.fact for fact in facts if fact.split == "forget"]
    models = {"original": lookup, "retrained": copier, "same": lookup, "guesser": guesser}
    filters = {"exact": StringFilter(lost), "all": lambda prompt, completion: True}
    return UnUnlearningAudit(
        models,
        words.tokenizer,
        facts,
        ("direct", "wrong_fact", "paraphrase"),
        n_distractors=(2,),
        scoring="greedy",
        placements=2,
        filters=filters,
        form=FORM,
    ).run()


def mean(report, model, level, split="forget", screen=None, what="accuracy"):
    return float(np.mean(getattr(report.cell(model, level, split, screen), what)))


def test_a_model_that_copies_learns_everything_again(audited):
    assert mean(audited, "retrained", "closed_book") == 0
    assert mean(audited, "retrained", "irrelevant") == 0
    assert mean(audited, "retrained", "direct") == 1
    assert mean(audited, "retrained", "wrong_fact") == 0
    assert mean(audited, "retrained", "wrong_fact", what="copied") == 1
    found = audited.finding("retrained", "direct")
    assert found.forgetting.value == found.recovery.value == found.uplift.value == found.ceiling == 1
    assert (found.recovery.low, found.recovery.high) == (1, 1)
    assert found.parity is None
    assert audited.verdict["retrained"].startswith("no verdict: the model is broken")


def test_a_model_that_looks_up_ignores_the_context(audited):
    for level in ("closed_book", "irrelevant", "direct", "wrong_fact"):
        assert mean(audited, "same", level) == 1
    assert mean(audited, "same", "wrong_fact", what="copied") == 0
    found = audited.finding("same", "direct")
    assert found.forgetting.value == 0
    assert found.recovery is None
    assert found.recovery_clipped is None
    assert found.parity.value == 0
    assert audited.verdict["same"] == "no verdict: nothing was unlearned, or too little to tell"


def test_a_model_that_guesses_is_at_chance_everywhere(audited):
    for level in ("irrelevant", "direct", "wrong_fact"):
        cells = [audited.cell("guesser", level, split) for split in ("forget", "retain")]
        answered, prompts = sum(cell.answered for cell in cells), sum(cell.prompts for cell in cells)
        assert prompts == 64
        interval = binomtest(answered, prompts).proportion_ci(0.99)
        assert interval.low <= 1 / 32 <= interval.high


def test_filters_block_what_they_should(audited):
    assert audited.cell("retrained", "direct", "forget", "exact").blocked == 1
    assert audited.cell("retrained", "direct", "retain", "exact").blocked == 0
    assert audited.cell("retrained", "irrelevant", "forget", "exact").blocked == 0
    assert audited.cell("retrained", "direct", "forget", "exact").unblocked_accuracy is None
    assert mean(audited, "retrained", "direct", screen="exact") == 0
    assert mean(audited, "retrained", "direct", "retain", screen="exact") == 1
    assert mean(audited, "retrained", "direct", "retain", screen="all") == 0


def test_the_guess_baseline_and_what_is_missing_are_reported(audited):
    assert audited.cell("retrained", "direct").guess == pytest.approx(1 / 3)
    assert audited.cell("retrained", "irrelevant").guess == pytest.approx(1 / 32)
    assert "paraphrase: 32 of 32 facts lack what it needs" in audited.notes
    with pytest.raises(KeyError):
        audited.cell("retrained", "derivation")


def test_scoring_by_choices_gives_probabilities(lookup, copier, facts, words):
    report = UnUnlearningAudit(
        {"original": lookup, "unlearned": copier},
        words.tokenizer,
        facts,
        ("direct",),
        n_distractors=(2,),
        placements=1,
        form=FORM,
    ).run()
    assert report.scoring == "choices"
    cell = report.cell("unlearned", "direct")
    assert np.allclose(cell.probability, 1, atol=1e-6)
    flat = report.cell("unlearned", "closed_book")
    assert np.allclose(flat.probability, 1 / 32)
    assert np.allclose(cell.logprob, 0, atol=1e-6)
    assert any("exact unlearning was not tested" in note for note in report.notes)
    assert report.finding("unlearned", "direct").parity is None


def test_an_audit_of_real_models_in_free_text_does_not_depend_on_the_batch():
    people = ("Ana", "Bela", "Carl", "Dora", "Egon", "Fritz")
    records = [
        FactRecord(
            p, p, f"Where does {p} live?", f"in town {p}ville", f"{p} lives in town {p}ville.", split=split
        )
        for p, split in zip(people, ("forget", "forget", *["retain"] * 4), strict=True)
    ]
    tokenizer = word_tokenizer([f"Question: {f.question}\nAnswer: {f.answer} {f.fact}" for f in records], 100)
    models = {
        name: tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, seed=seed)
        for seed, name in enumerate(("original", "unlearned"))
    }
    reports = [
        UnUnlearningAudit(
            models,
            tokenizer,
            records,
            ("direct",),
            n_distractors=(0, 2),
            placements=1,
            scoring="rouge",
            batch_size=size,
        ).run()
        for size in (1, 8)
    ]
    for first, second in zip(reports[0].cells, reports[1].cells, strict=True):
        assert np.allclose(first.logprob, second.logprob, atol=1e-4)
        assert np.allclose(first.accuracy, second.accuracy)
    assert reports[0].cell("unlearned", "direct").guess == pytest.approx((1 + 1 / 3) / 2)


def test_rouge_l_recall():
    assert rouge_l_recall("The cat sat on the mat", "cat on mat.") == 1
    assert rouge_l_recall("mat on cat", "cat on mat") == pytest.approx(1 / 3)
    assert rouge_l_recall("", "cat") == 0
    assert rouge_l_recall("cat", "...") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("unlearned",)}, "needs the model before unlearning, called 'original'"),
        ({"models": ("original",)}, "and another one; got original"),
        ({"levels": ("directly",)}, "no level 'directly'"),
        ({"split": "forget"}, "an audit needs both"),
        ({"placements": 0}, "0 placements"),
        ({"twice": True}, "to be forgotten, and the same fact"),
        ({"free": True, "scoring": "choices"}, "needs `choices` in every fact"),
    ],
)
def test_bad_input_is_refused(change, message, lookup, facts, words):
    models = dict.fromkeys(change.get("models", ("original", "unlearned")), lookup)
    records = [fact for fact in facts if fact.split == change.get("split", fact.split)]
    if change.get("twice"):
        first = next(fact for fact in facts if fact.split == "forget")
        records.append(
            FactRecord("again", first.entity, first.question, first.answer, first.fact, split="retain")
        )
    if change.get("free"):
        records.append(FactRecord("free", "Ana", "Where?", "Rome", "Ana is in Rome."))
    with pytest.raises(InputError, match=message):
        UnUnlearningAudit(
            models,
            words.tokenizer,
            records,
            change.get("levels", ("direct",)),
            placements=change.get("placements", 5),
            scoring=change.get("scoring", "auto"),
        )


def test_a_model_is_left_in_the_mode_in_which_it_came(facts, words):
    model = tiny_causal_lm(words.tokenizer, hidden=16, layers=1, heads=2).train()
    UnUnlearningAudit(
        {"original": model, "unlearned": model},
        words.tokenizer,
        facts,
        ("direct",),
        n_distractors=(1,),
        placements=1,
        scoring="greedy",
        form=FORM,
    ).run()
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
