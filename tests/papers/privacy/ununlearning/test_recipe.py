"""The recipe on models and facts of the user's own, and what it refuses."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoTokenizer, Qwen2MoeConfig, Qwen2MoeForCausalLM

import assay
from assay import catalogue, options
from assay.cli.running import run
from assay.errors import InputError
from assay.models import OwnModel, tiny_causal_lm, word_tokenizer
from assay.papers.privacy.knowledge import FactRecord, read_facts, write_facts
from assay.papers.privacy.ununlearning.config import Audit, Facts
from assay.papers.privacy.ununlearning.inputs import load_facts
from assay.papers.privacy.ununlearning.method import AuditReport
from assay.papers.privacy.ununlearning.recipe import audit
from assay.trial import Trial
from papers.privacy.ununlearning.card_files import write_models

ENTRY = catalogue.entry("ununlearning")
RECIPE = ENTRY.paper.recipes["audit"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Facts and two models that know all of them or those to retain, as `save_pretrained` writes them."""
    return write_models(tmp_path_factory.mktemp("given"))


def given(folder, **more):
    return {
        "original": f"folder:{folder}/original",
        "retrained": f"folder:{folder}/retrained",
        "facts": f"{folder}/facts.jsonl",
        "placements": 2,
        **more,
    }


def test_an_audit_of_model_folders_is_written_and_read(folder, tmp_path):
    ran = run("ununlearning", out=tmp_path / "audit", preset="laptop", overrides=given(folder), seed=1000)
    report = assay.load(tmp_path / "audit")
    assert isinstance(report, AuditReport)
    assert report.cell("original", "closed_book").accuracy == (1.0, 1.0, 1.0, 1.0)
    guessed = report.cell("retrained", "closed_book").accuracy
    assert ran.metrics["forgetting"] == pytest.approx(1 - sum(guessed) / len(guessed))
    text = "".join(
        (tmp_path / "audit/report" / name).read_text() for name in ("report.md", "report.json", "record.json")
    )
    fact = read_facts(folder / "facts.jsonl")[0]
    for secret in (fact.entity, fact.answer, fact.question):
        assert secret not in text


def test_an_unlearned_model_alone_is_audited_without_parity(folder, tmp_path):
    settings = given(
        folder, unlearned=f"folder:{folder}/retrained", show_facts=True, levels=("direct", "paraphrase")
    )
    del settings["retrained"]
    run("ununlearning", out=tmp_path / "audit", overrides=settings, seed=1000)
    report = assay.load(tmp_path / "audit")
    assert list(report.verdict) == ["unlearned"]
    assert report.finding("unlearned", "paraphrase").parity is None
    assert len(report.facts) == 14
    assert any("exact unlearning was not tested" in note for note in report.notes)


@pytest.mark.parametrize("screen", ["exact", "words", "similarity"])
def test_filters_are_applied(folder, screen):
    config = options.resolve(
        Audit,
        given(folder, screen=screen, answers="screened", levels=("direct",), similarity=-1.0),
        {"audited": ("retrained",)},
    )
    metrics = audit(config, Trial(seed=1000))
    assert metrics["accuracy"] == 0
    assert metrics["blocked"] == 1  # facts of fewer than eight words count as a whole
    assert metrics["falsely_blocked"] == (1 if screen == "similarity" else 0)


def test_a_filter_of_the_working_folder_is_applied(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_filter.py").write_text(
        "def lives(prompt, completion):\n    return 'lives in' in prompt\n"
    )

    def config(name):
        settings = {"screen": name, "answers": "screened", "levels": ("direct",)}
        return options.resolve(Audit, given(folder, **settings))

    named = config("own_filter:lives")
    metrics = audit(named, Trial(seed=1000))
    assert metrics["blocked"] == metrics["falsely_blocked"] == 1
    before = named.screen.fingerprint()
    (tmp_path / "own_filter.py").write_text("def lives(prompt, completion):\n    return False\n")
    assert named.screen.fingerprint() != before
    for name, message in (("nowhere:f", "no module 'nowhere'"), ("own_filter:live", "Did you mean 'lives'")):
        with pytest.raises(InputError, match=message):
            audit(config(name), Trial(seed=1000))
    with pytest.raises(InputError, match=r"no filter 'exakt'. Did you mean 'exact'"):
        config("exakt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"original": None}, "only --retrained is given"),
        ({"retrained": None}, "only --original is given"),
        ({"facts": None}, "--facts is missing"),
        ({"original": None, "retrained": None}, "--facts needs models"),
        ({"level": "derivation"}, "--level derivation was not measured"),
        ({"audited": ("unlearned",)}, "--unlearned is missing"),
        ({"answers": "screened", "screen": "none"}, "--answers screened needs a filter"),
        ({"chat": "on"}, "no chat template"),
    ],
)
def test_bad_settings_are_refused(folder, settings, message):
    config = options.resolve(Audit, given(folder, levels=("direct",)), settings)
    with pytest.raises(InputError, match=message):
        audit(config, Trial(seed=1000))


def test_a_model_with_another_vocabulary_is_refused(folder, tmp_path):
    other = word_tokenizer(["a b c"], 200)
    tiny_causal_lm(other, hidden=16, layers=1, heads=2).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    config = options.resolve(Audit, given(folder, retrained=f"folder:{tmp_path}/other"))
    with pytest.raises(InputError, match="give models with one vocabulary"):
        audit(config, Trial(seed=1000))


def test_a_mixture_of_experts_is_audited_too(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder / "original")
    config = Qwen2MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=128,
    )
    Qwen2MoeForCausalLM(config).save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    settings = given(folder, retrained=None, unlearned=f"folder:{tmp_path}/moe", audited=("unlearned",))
    metrics = audit(options.resolve(Audit, settings), Trial(seed=1000))
    assert metrics["forgetting"] > 0
    assert metrics["answered"].trials == 8


def test_where_facts_are():
    assert [table.source for table in Facts("tofu:forget10").tables()] == [
        "hub:locuslab/TOFU/forget10_perturbed",
        "hub:locuslab/TOFU/retain_perturbed",
    ]
    assert Facts("rwku:level2").tables()[1].source == "hub:jinzhuoran/RWKU/neighbor_level2"
    with pytest.raises(InputError, match=r"write FILE\.jsonl, tofu:forget10"):
        Facts("tofu:forget20")
    with pytest.raises(InputError, match="There is no file"):
        Facts("nothing.jsonl").fingerprint()


def test_tofu_from_files_of_its_format(tmp_path):
    for name, first in (("forget01_perturbed", 0), ("retain_perturbed", 100)):
        pd.DataFrame(
            {
                "question": [f"Question {n}?" for n in range(first, first + 21)],
                "answer": [f"Answer {n}." for n in range(first, first + 21)],
                "paraphrased_answer": [f"It is {n}." for n in range(first, first + 21)],
                "perturbed_answer": [[f"No {n}.", f"Never {n}."] for n in range(first, first + 21)],
                "paraphrased_question": [f"What of {n}?" for n in range(first, first + 21)],
            }
        ).to_parquet(tmp_path / f"{name}.parquet")
    source = Facts(f"tofu:{tmp_path}/forget01")
    facts = load_facts(source)
    assert [fact.split for fact in facts] == ["forget"] * 21 + ["retain"] * 21
    assert facts[21].choices == ("Answer 100.", "No 100.", "Never 100.")
    assert facts[0].paraphrases == ("What of 0? It is 0.",)
    before = source.fingerprint()
    (tmp_path / "retain_perturbed.parquet").write_bytes(
        (tmp_path / "forget01_perturbed.parquet").read_bytes()
    )
    assert source.fingerprint() != before


def test_the_paper_preset_names_models_and_facts():
    config = options.resolve(Audit, RECIPE.presets["paper"].settings_for())
    assert config.original == OwnModel("hub:open-unlearning/tofu_Llama-3.2-1B-Instruct_full")
    assert config.facts.tables() is not None
    assert config.scoring == "rouge"


def test_a_fact_that_holds_its_answer_is_noted(folder, tmp_path):
    facts = read_facts(folder / "facts.jsonl")
    told = dataclasses.replace(facts[0], question=f"Does {facts[0].entity} live in {facts[0].answer}?")
    write_facts(tmp_path / "facts.jsonl", [told, *facts[1:]])
    run(
        "ununlearning",
        out=tmp_path / "audit",
        overrides=given(folder, facts=f"{tmp_path}/facts.jsonl"),
        seed=1000,
    )
    assert any("1 questions hold their own answer" in note for note in assay.load(tmp_path / "audit").notes)


def test_records_are_facts():
    assert FactRecord("1", "Ana", "q", "a", "f").split == "forget"
    assert Path(ENTRY.folder / "README.md").exists()
