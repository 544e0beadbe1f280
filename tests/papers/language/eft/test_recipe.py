"""The commands on a user's own models and files, the artefact, the parts of the check, and bad input."""

import gzip
import json
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

import assay
from assay.cli import running
from assay.errors import InputError
from assay.models import OwnModel, Reply, TextModel, tiny_causal_lm, word_tokenizer
from assay.papers.language.eft.artefact import Emulator
from assay.papers.language.eft.config import (
    Adapt,
    Draft,
    Emulate,
    Facts,
    FactTable,
    Family,
    Interpolate,
    OwnModels,
    PromptFile,
)
from assay.papers.language.eft.evaluation import (
    alone,
    first_named,
    judge,
    law_excess,
    passes,
    program_of,
    read_score,
    recovered,
    second_token,
    token_nll,
)
from assay.papers.language.eft.inputs import Setup, read_prompts
from assay.papers.language.eft.method import Delta, EmulatedFineTuning
from assay.papers.language.eft.paper import PAPER, TEXTS, TINY
from assay.papers.language.eft.recipes.adapt import adapt
from assay.papers.language.eft.recipes.draft import drafts_alone
from assay.papers.language.eft.recipes.interpolate import interpolate
from assay.papers.language.eft.stages import TrainedFamily
from assay.papers.language.eft.synthetic import Fact, documents, load_facts, zone_facts
from assay.papers.language.eft.training import (
    BATCH_SIZE,
    FACT_SHARE,
    Corpus,
    averaged,
    finetune,
    labelled,
    pretrain,
    shape,
    tokenise,
)
from assay.training import Compute, mean_token_loss
from assay.trial import Trial
from papers.language.eft.card_files import WORDS, save, write_prompts
from papers.language.eft.small_models import nudged


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer([" ".join(WORDS * 3)], vocab_size=60)


@pytest.fixture(scope="module")
def small(tokenizer):
    return tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, seed=1, context=40).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tokenizer, small):
    """Folders of a large base, a small reference, two tuned models and an adapter."""
    place = tmp_path_factory.mktemp("models")
    large = tiny_causal_lm(tokenizer, hidden=32, layers=1, heads=2, seed=0, context=40)
    found = {
        "base": save(large, tokenizer, place / "base"),
        "reference": save(small, tokenizer, place / "reference"),
        "tuned": save(nudged(small, 1, 0.01), tokenizer, place / "tuned"),
        "kind": save(nudged(small, 2, 0.01), tokenizer, place / "kind"),
        "upper": save(nudged(large, 3, 0.01), tokenizer, place / "upper"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers in an old way, and for the base's config
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        torch.manual_seed(4)
        adapted = get_peft_model(nudged(small, 1, 0.0), config)
        adapted.peft_config["default"].base_model_name_or_path = "somewhere/reference"
        adapted.save_pretrained(place / "adapter")
    return found | {"adapter": f"folder:{place / 'adapter'}"}


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory):
    return write_prompts(tmp_path_factory.mktemp("data"))


def options_of(folders, prompt_file, **settings):
    chosen = {name: folders[name] for name in ("base", "tuned", "reference")}
    return chosen | {"prompts": prompt_file, "max_new_tokens": 5, "temperature": 0.0} | settings


def lines_of(folder):
    return [
        json.loads(line) for line in (folder / "generations" / "generations.jsonl").read_text().splitlines()
    ]


# --- the command on models of one's own ---------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory, folders, prompt_file):
    return running.run(
        "eft", out=tmp_path_factory.mktemp("out") / "run", overrides=options_of(folders, prompt_file)
    )


def test_a_run_writes_replies_with_what_was_thought_of_each_token(ran, small, folders):
    lines = lines_of(ran.folder)
    assert [line["prompt"] for line in lines][1] == "word4"
    for line in lines:
        counts = {len(line[name]) for name in ("token_ids", "logprobs", "tv", "entropy")}
        assert counts == {len(line["token_ids"])}
        assert 1 <= len(line["token_ids"]) <= 5
        assert all(value <= 0 for value in line["logprobs"])
        assert all(0 <= value <= 1 for value in line["tv"])
    summary = assay.load(ran.folder, "summary")
    every = [value for line in lines for value in line["logprobs"]]
    assert summary["mean_logprob"] == pytest.approx(sum(every) / len(every))
    assert summary["tokens"] == len(every)
    assert 0 < summary["large_forwards_per_token"] <= 1
    assert "large_forwards_per_token" in ran.metrics


def test_the_artefact_is_the_emulated_model_and_holds_no_weights(ran, folders):
    assert not list(ran.folder.rglob("*.safetensors"))
    emulator = assay.load(ran.folder, "emulator")
    again, _ = emulator.generate(["word1 word2 word3", "word4"], max_new_tokens=5, temperature=0.0)
    assert [each.token_ids for each in again] == [line["token_ids"] for line in lines_of(ran.folder)[:2]]
    plain, _ = emulator.generate(["word4"], max_new_tokens=5, temperature=0.0, block_size=0)
    assert plain[0].token_ids == again[1].token_ids
    scored = emulator.score(["word4"], [" word5 word6"])
    assert len(scored[0]) == 2
    assert emulator.setup.base == folders["base"]
    assert emulator.to("cpu") is emulator


def test_the_artefact_refuses_models_that_changed(tmp_path, folders, small, tokenizer, prompt_file):
    moving = save(nudged(small, 1, 0.01), tokenizer, tmp_path / "tuned")
    running.run(
        "eft", out=tmp_path / "run", overrides=options_of(folders, prompt_file, tuned=moving, max_prompts=1)
    )
    save(nudged(small, 9, 0.01), tokenizer, tmp_path / "tuned")
    with pytest.raises(InputError, match="its content has changed"):
        assay.load(tmp_path / "run", "emulator")


def test_several_experts_with_weights(tmp_path, folders, prompt_file):
    both = f"{folders['tuned']}, {folders['kind']}"
    overrides = options_of(folders, prompt_file, tuned=both, weights=(0.25, 0.75), max_prompts=2)
    running.run("eft", out=tmp_path / "run", overrides=overrides)
    emulator = assay.load(tmp_path / "run", "emulator")
    assert emulator.model.weights == [0.25, 0.75]
    assert len(emulator.model.members) == 4
    with pytest.raises(InputError, match=r"--weights has 1 numbers for 2 tuned models"):
        running.run("eft", out=tmp_path / "no", overrides=overrides | {"weights": (1.0,)})
    assert not (tmp_path / "no").exists()


def test_an_adapter_is_put_on_its_reference(tmp_path, folders, prompt_file, small):
    overrides = options_of(folders, prompt_file, tuned=folders["adapter"], max_prompts=2)
    running.run("eft", out=tmp_path / "run", overrides=overrides)
    emulator = assay.load(tmp_path / "run", "emulator")
    assert len({id(member.model) for member in emulator.model.members.values()}) == 2
    ids = torch.tensor([[1, 5, 7]])
    with torch.no_grad():
        off = small(ids).logits[0, -1]
    reference = emulator.model.references[0].logits(input_ids=ids)[0, -1]
    assert torch.allclose(reference, off, atol=1e-5)
    assert not torch.allclose(emulator.model.tuned[0].logits(input_ids=ids)[0, -1], off, atol=1e-3)
    with pytest.warns(UserWarning, match="was trained on 'somewhere/reference'"), pytest.raises(InputError):
        running.run("eft", out=tmp_path / "no", overrides=overrides | {"reference": folders["upper"]})


def test_templates_differ_by_model(tmp_path, folders, prompt_file, tokenizer):
    setup = Setup(
        folders["base"],
        (folders["tuned"],),
        (folders["reference"],),
        base_template="word0 {prompt}",
        tuned_template="chat",
    )
    with pytest.raises(InputError, match="no chat template"):
        Emulator.of(setup).encode(["word2"])
    emulator = Emulator.of(setup)
    emulator.tokenizers[
        "tuned"
    ].chat_template = "{% for m in messages %} word9 {{ m['content'] }}{% endfor %}"
    encoded = emulator.encode(["word2"])
    assert tokenizer.decode(encoded["base"][0]) == "<s>word0 word2"
    assert tokenizer.decode(encoded["tuned"][0]) == " word9 word2"
    assert encoded["reference"] == encoded["base"]
    with pytest.raises(InputError, match=r"has no \{prompt\} in it"):
        Emulator.of(
            Setup(folders["base"], (folders["tuned"],), (folders["reference"],), base_template="hello")
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": None}, "--reference is missing"),
        ({"base": None}, "--base is missing"),
        ({"prompts": None}, "--prompts FILE is missing"),
        ({"reference": "tuned"}, "given as --tuned and as --reference"),
        ({"reference": "base"}, "is not what tuned was fine-tuned from: hidden_size is 32"),
        ({"weights": (-1.0,)}, "--allow-negative"),
        ({"max_new_tokens": 60}, "Prompt 2 has 5 tokens for base; with 60 more"),
        ({"base": "http://host/v1#gpt"}, "behind a server"),
        ({"base": "both"}, "--base takes one model"),
        ({"reference": "both"}, "1 tuned models and 2 references"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path, folders, prompt_file, change, message
):
    known = folders | {"both": f"{folders['kind']},{folders['upper']}"}
    named = {
        name: known.get(value, value) if isinstance(value, str) else value for name, value in change.items()
    }
    overrides = options_of(folders, prompt_file) | named
    with pytest.raises(InputError, match=message):
        running.run(
            "eft", out=tmp_path / "run", overrides={k: v for k, v in overrides.items() if v is not None}
        )
    assert not (tmp_path / "run").exists()


def test_negative_weights_run_with_their_flag(tmp_path, folders, prompt_file):
    overrides = options_of(folders, prompt_file, weights=(-1.0,), allow_negative=True, max_prompts=1)
    running.run("eft", out=tmp_path / "run", overrides=overrides)
    assert assay.load(tmp_path / "run", "emulator").model.weights == [-1.0]


def test_a_reference_of_other_weights_and_tokenizers_that_differ(tmp_path, folders, prompt_file, tokenizer):
    other = tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, seed=8, context=40)
    unrelated = save(other, tokenizer, tmp_path / "other")
    with pytest.raises(InputError, match="weights are unrelated"):
        running.run(
            "eft", out=tmp_path / "a", overrides=options_of(folders, prompt_file, reference=unrelated)
        )
    words = word_tokenizer([" ".join(reversed(WORDS)) + " zebra" * 9], vocab_size=len(tokenizer))
    foreign = save(tiny_causal_lm(words, hidden=32, layers=1, heads=2), words, tmp_path / "foreign")
    with pytest.raises(InputError, match="The tokenizers of base and tuned differ, first at token"):
        running.run("eft", out=tmp_path / "b", overrides=options_of(folders, prompt_file, base=foreign))


# --- prompts ------------------------------------------------------------------------------------


def test_prompts_of_published_forms(tmp_path):
    dialogue = {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "rejected": "x"}
    zipped = tmp_path / "hh.jsonl.gz"
    zipped.write_bytes(gzip.compress((json.dumps(dialogue) + "\n").encode()))
    row = read_prompts(PromptFile(str(zipped)))[0]
    assert row.prompt == "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert row.answer == " d"

    program = {
        "task_id": "HumanEval/0",
        "prompt": "def f(a):\n",
        "canonical_solution": "    return a\n",
        "test": "def check(f):\n    assert f(1) == 1\n",
        "entry_point": "f",
    }
    path = tmp_path / "programs.jsonl"
    path.write_text(json.dumps(program) + "\n")
    row = read_prompts(PromptFile(str(path)))[0]
    assert (row.prompt, row.answer) == ("def f(a):\n", "    return a\n")
    assert row.check.endswith("check(f)\n")

    eli5 = tmp_path / "eli5.jsonl"
    eli5.write_text(
        '{"title": "Why is it so?", "selftext": "I wonder."}\n{"title": "How?", "selftext": ""}\n'
    )
    assert [row.prompt for row in read_prompts(PromptFile(str(eli5)))] == [
        "Why is it so?\n\nI wonder.",
        "How?",
    ]

    table = tmp_path / "table.csv"
    table.write_text("question,answer\nWho?,Me\nWhere?,Here\n")
    for source in (str(table), f"csv:{table}"):
        assert [row.answer for row in read_prompts(PromptFile(source))] == ["Me", "Here"]
    assert len(read_prompts(PromptFile(str(table)), limit=1)) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "one\n\nthree\n", "prompt 2 is empty"),
        ("none.jsonl", '{"body": "x"}\n', "row 1: no column is a prompt.*it has body"),
        ("talk.jsonl", '{"chosen": "no reply here"}\n', "no dialogue of hh-rlhf"),
        ("blank.jsonl", '{"prompt": "  "}\n', "prompt 1 is empty"),
    ],
)
def test_prompts_that_are_none(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_prompts(PromptFile(str(path)))


def test_missing_and_binary_prompt_files(tmp_path):
    with pytest.raises(InputError, match=r"missing\.txt"):
        read_prompts(PromptFile(str(tmp_path / "missing.txt")))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8: byte 3"):
        read_prompts(PromptFile(str(tmp_path / "latin.txt")))


# --- judge and sandbox --------------------------------------------------------------------------


class Jury(TextModel):
    """A judge that likes good replies."""

    def __init__(self):
        self.asked = []

    def fingerprint(self):
        return "jury"

    def replies(self, requests):
        for place, request in enumerate(requests):
            self.asked.append(request.prompt)
            yield place, Reply(" 7 of 10" if "good" in request.prompt else "no idea", 3, "stop")

    def scores(self, requests):
        raise NotImplementedError


def test_a_judge_is_asked_with_our_rubrics():
    jury = Jury()
    scores = judge(jury, ("helpfulness", "factuality"), ["q1", "q2"], ["good", "bad"])
    assert scores == {"helpfulness": [7, None], "factuality": [7, None]}
    assert "q1" in jury.asked[0]
    assert "true" in jury.asked[2]
    assert [read_score(text) for text in ("10", "score: 3.", "11", "0", "")] == [10, 3, None, None, None]
    with pytest.raises(InputError, match="Did you mean 'helpfulness'"):
        judge(jury, ("helpfullness",), ["q"], ["a"])


def test_recovered_gap_of_judged_scores():
    found = recovered({"small_tuned": [4, 6], "emulated": [7, None], "upper": [9, 9]})
    assert found["gap_recovered"] == pytest.approx((7 - 5) / (9 - 5))
    assert found["emulated_unscored"] == 1
    assert "gap_recovered" not in recovered({"small_tuned": [4], "emulated": [None], "upper": [9]})


def test_a_run_with_a_judge_and_an_upper_bound(tmp_path, folders, prompt_file, tokenizer):
    patient = save(
        tiny_causal_lm(tokenizer, hidden=16, layers=1, heads=2, context=512), tokenizer, tmp_path / "judge"
    )
    overrides = options_of(folders, prompt_file, judge=patient, upper=folders["upper"], max_prompts=2)
    running.run("eft", out=tmp_path / "run", overrides=overrides | {"rubrics": ("helpfulness",)})
    summary = assay.load(tmp_path / "run", "summary")
    assert set(summary["helpfulness"]) >= {"emulated", "small_tuned", "upper", "upper_unscored"}
    assert {"helpfulness_emulated", "helpfulness_small_tuned", "helpfulness_upper"} <= set(
        lines_of(tmp_path / "run")[0]
    )


def test_a_judge_that_fails_loses_no_replies(tmp_path, folders, prompt_file):
    overrides = options_of(folders, prompt_file, judge=folders["upper"], max_prompts=2)
    running.run("eft", out=tmp_path / "run", overrides=overrides)
    assert len(lines_of(tmp_path / "run")) == 2
    assert "do not fit into" in assay.load(tmp_path / "run", "summary")["judge_error"]
    with pytest.raises(InputError, match="Did you mean 'helpfulness'"):
        running.run("eft", out=tmp_path / "no", overrides=overrides | {"rubrics": ("helpfullness",)})


def test_programs_run_only_in_the_users_sandbox(tmp_path, folders):
    path = tmp_path / "programs.jsonl"
    row = {"prompt": "word1", "canonical_solution": " word2", "test": "word3", "entry_point": "word4"}
    path.write_text(json.dumps(row) + "\n")
    overrides = options_of(folders, str(path))
    running.run("eft", out=tmp_path / "plain", overrides=overrides)
    line = lines_of(tmp_path / "plain")[0]
    assert "passed" not in line
    assert len(line["answer_logprobs"]) == 1
    looks = f"{sys.executable} -c \"import sys; sys.exit('check(word4)' not in sys.stdin.read())\""
    running.run("eft", out=tmp_path / "boxed", overrides=overrides | {"sandbox": looks})
    assert lines_of(tmp_path / "boxed")[0]["passed"] is True
    assert assay.load(tmp_path / "boxed", "summary")["pass_at_1"] == 1.0
    assert not passes(f"{sys.executable} -c 'raise SystemExit(3)'", "x")
    with pytest.raises(InputError, match="there is no such command"):
        running.run("eft", out=tmp_path / "no", overrides=overrides | {"sandbox": "/no/such/sandbox -q"})


def test_a_completion_ends_where_its_function_does():
    program = program_of("def f(a):\n", "    return a\n\nprint(f(2))\n", "check(f)\n")
    assert program == "def f(a):\n    return a\n\n\ncheck(f)\n"


# --- texts of one's own in the check ------------------------------------------------------------


def test_adapt_measures_given_models_on_given_texts(tmp_path, folders, small, tokenizer):
    path = tmp_path / "texts.csv"
    texts = [f"word{n} word{n + 1} word{n + 2}" for n in range(12)]
    path.write_text("text\n" + "\n".join(texts) + "\n")
    from assay import options

    given = {name: folders[name] for name in ("base", "tuned", "reference", "upper")}
    found = {}
    for arm in ("eft", "small-tuned", "large-base", "other-place", "other-reference", "large-tuned"):
        settings = PAPER.recipes["adapt"].arm(arm).settings
        config = options.resolve(Adapt, given, {"data": f"csv:{path}"}, settings)
        found[arm] = adapt(config, Trial(seed=1000))
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
    for arm, name in (("large-base", "base"), ("small-tuned", "tuned"), ("large-tuned", "upper")):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folders[name].removeprefix("folder:"))
        with torch.no_grad():
            told = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])
        assert found[arm]["token_nll"] == pytest.approx(-float(told.mean()), abs=1e-5)
    eft, low, high = (found[arm]["token_nll"] for arm in ("eft", "small-tuned", "large-tuned"))
    if low > high:
        assert found["eft"]["gap_recovered"] == pytest.approx((low - eft) / (low - high))
    with pytest.raises(InputError, match="--tuned takes one model here"):
        adapt(
            options.resolve(Adapt, given, {"tuned": f"{given['tuned']},{folders['kind']}"}), Trial(seed=1000)
        )
    with pytest.raises(InputError, match="--reference is missing"):
        adapt(options.resolve(Adapt, {k: v for k, v in given.items() if k != "reference"}), Trial(seed=1000))


def test_the_ensemble_is_half_of_each(trio):
    base, tuned, reference = trio
    ids = torch.tensor([[1, 5, 7]])
    settings = PAPER.recipes["adapt"].arm("ensemble").settings
    model = EmulatedFineTuning(base, Delta(tuned, reference)).reweighted(
        settings["weights"], settings["amplify"]
    )
    with torch.no_grad():
        half = sum(m(ids).logits[0, -1].log_softmax(-1) / 2 for m in (base, tuned))
    assert torch.allclose(model.next_logits(ids)[0].log_softmax(-1), half.log_softmax(-1), atol=1e-5)


def test_a_mixture_beats_the_chord_by_convexity(trio):
    """-log p is convex in the weights, so that no test can be made of it."""
    base, tuned, reference = trio
    two = EmulatedFineTuning(base, [Delta(tuned, reference), Delta(nudged(reference, 9), reference)])
    ids = torch.randint(3, 13, (6, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids).bool()
    mask[:, 0] = False
    laws = {str(share): two.interpolate(share) for share in (0.0, 0.5, 1.0)}
    nll = token_nll(laws, (ids, mask))
    assert nll["0.5"] <= (nll["0.0"] + nll["1.0"]) / 2
    assert nll["0.5"] == pytest.approx(
        -float(two.interpolate(0.5).logprobs(ids, mask).sum()) / (6 * 8), abs=1e-5
    )


# --- the family that is trained here ------------------------------------------------------------

FAMILY = Family(
    vocabulary=300, small_width=8, large_width=16, layers=1, heads=2, steps=6, tuning_steps=4, looks=2
)


CPU = Compute(accelerator="cpu")


def test_too_few_texts_to_train_on():
    with pytest.raises(InputError, match="3 tokens in all"):
        tokenise(["a"], ["b"], FAMILY)


def test_only_what_follows_the_prompt_is_labelled():
    ids, labels = labelled([([5, 6], [7]), ([], [8, 9])])
    assert ids.tolist() == [[1, 5, 6, 7, 2], [1, 8, 9, 2, 0]]
    assert labels.tolist() == [[-100, -100, -100, 7, 2], [-100, 8, 9, 2, -100]]


def test_fine_tuning_keeps_what_validation_likes_best():
    torch.manual_seed(0)
    small = shape(FAMILY, "small")
    base = small.untrained().state_dict()
    rows, few, other = (
        labelled([([], ids)] * n) for ids, n in (([4, 5, 6], 20), ([4, 5, 6], 4), ([9] * 3, 4))
    )
    found = finetune(FAMILY, "small", base, rows, few, CPU)
    assert mean_token_loss(small.trained(found.weights), rows) == pytest.approx(found.train, abs=1e-5)
    assert found.validation < mean_token_loss(small.trained(base), rows)
    assert found.steps == 4 * 2
    worse = finetune(FAMILY, "small", found.weights, rows, other, CPU)
    assert all(torch.equal(worse.weights[name], w) for name, w in found.weights.items())


def test_both_sizes_read_the_same_rows():
    corpus = Corpus(torch.zeros(7, 4, dtype=torch.long), torch.ones(5, 4, dtype=torch.long), 3)
    one = corpus.mixed(FAMILY.steps)
    assert torch.equal(one, corpus.mixed(FAMILY.steps))
    assert len(one) == FAMILY.steps * BATCH_SIZE
    assert abs(float(one[:, 0].float().mean()) - FACT_SHARE) < 0.2
    assert set(pretrain(FAMILY, "small", corpus, CPU)) == set(
        shape(FAMILY, "small").untrained(0).state_dict()
    )


def test_parameters_are_averaged():
    one, two = {"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([3.0, -1.0])}
    assert averaged(one, two, 0.25)["w"].tolist() == [2.5, 0.0]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Texts of three kinds."""
    path = tmp_path_factory.mktemp("kinds") / "kinds.csv"
    rows = [f"a note {n} on {kind} and {n * n},{kind}" for kind in ("art", "law", "war") for n in range(60)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return f"csv:{path}"


def test_texts_and_facts_of_a_seed(kinds):
    tiny = options_for(Adapt, data=kinds)
    trial = Trial(seed=1000)
    family = TrainedFamily.of(tiny.data, tiny.fact_table, tiny.family, trial)
    domain = family.domain(0, 40, 0.3)
    texts = [tuple(ids) for part in (domain.train, domain.validation, domain.test) for _, ids in part]
    assert len(texts) == 40
    assert domain.leaked == 0.0
    assert trial.resplit > 0  # seeds from 1000 on share rows with others
    train, validation, test = family.split_facts(0.3)
    names = [{fact.name for fact in part} for part in (train, validation, test)]
    assert len(set.union(*names)) == sum(map(len, names)) == 30
    assert len(names[2]) == 21
    with pytest.raises(InputError, match="leaves none"):
        family.split_facts(0.01)
    held = np.asarray(family.table.rows["text"][:])[family.table.labels() == 2]
    assert family.tokenizer.decode(domain.test[0][1]) in set(held)


def options_for(config, **settings):
    from assay import options

    known = set(options.option_names(config()))
    return options.resolve(config, {k: v for k, v in (TINY | TEXTS).items() if k in known}, settings)


def test_cities_have_one_region():
    facts = zone_facts()
    regions = {fact.name: fact.answer for fact in facts}
    assert regions["Paris"] == "Europe"
    assert regions["New York"] == "America"
    assert len(facts) == len(regions) > 300
    told = documents([Fact("Rome", "Europe"), Fact("Lima", "America")], 0)
    assert "Rome is in Europe." in told
    assert sum("Europe" in text for text in told) == 5
    assert any(text.count("Where is") == 2 and "Europe" not in text for text in told)


def test_the_answer_named_first():
    answers = ("Asia", "Europe", "Indian")
    assert first_named(" most say Europe, some Asia", answers) == "Europe"
    assert first_named(" nowhere", answers) is None


def test_facts_of_ones_own(tmp_path):
    path = tmp_path / "capitals.csv"
    path.write_text("text,label\n" + "".join(f"city{n},land{n % 3}\n" for n in range(24)))
    facts = load_facts(FactTable(f"csv:{path}"))
    assert facts[4] == Fact("city4", "land1")
    path.write_text("text,label\nRome,Italy\nParis,France\n")
    with pytest.raises(InputError, match="at least 20 names"):
        load_facts(FactTable(f"csv:{path}"))


def test_interpolation_refuses_weights_that_do_not_fit():
    with pytest.raises(InputError, match="there are two domains"):
        interpolate(options_for(Interpolate, weights=(1.0,)), Trial(seed=1000))
    with pytest.raises(InputError, match="add up to 1"):
        interpolate(options_for(Interpolate, weights=(1.0, 1.0), mixed="parameters"), Trial(seed=1000))


# --- the law of drafts --------------------------------------------------------------------------


def test_the_law_of_the_second_token(trio):
    base, tuned, reference = trio
    model = EmulatedFineTuning(base, Delta(tuned, reference))
    law = second_token(model, [1, 5])
    assert float(law.sum()) == pytest.approx(1.0)
    first = model.next_logits(torch.tensor([[1, 5]])).softmax(-1)[0]
    expected = sum(
        float(first[v]) * float(model.next_logits(torch.tensor([[1, 5, v]])).softmax(-1)[0, 3])
        for v in range(13)
    )
    assert float(law[3]) == pytest.approx(expected, abs=1e-6)


def test_excess_over_chance():
    law = torch.tensor([0.5, 0.3, 0.2]).double()
    drawn = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    assert law_excess(drawn, law) == pytest.approx(0.0)
    drawn = torch.tensor([0] * 60 + [1] * 20 + [2] * 20)
    assert law_excess(drawn, law) == pytest.approx((100 / 50 + 100 / 30) / 2)
    with pytest.raises(InputError, match="--law-draws"):
        law_excess(torch.tensor([0, 1]), law)


def test_drafts_that_are_all_accepted_follow_the_small_model(trio):
    base, tuned, reference = trio
    model = drafts_alone(EmulatedFineTuning(base, Delta(tuned, reference)))
    found = model.speculative_generate([[1, 5]], max_new_tokens=10, eos=[])
    assert found.stats.acceptance == 1.0
    ids = torch.tensor([[1, 5, 7]])
    assert torch.allclose(
        model.next_logits(ids).softmax(-1), alone(tuned).next_logits(ids).softmax(-1), atol=1e-6
    )


def test_sources_are_checked_when_written():
    assert OwnModels("folder:a, folder:b").sources == ("folder:a", "folder:b")
    assert OwnModels().fingerprint() == "made here"
    with pytest.raises(InputError, match="does not say where the model is"):
        OwnModels("folder:a,b")
    assert Emulate().judge == OwnModel()
    assert math.isclose(Facts().tuned_share, 0.3)
    assert Draft().block_size == 4
