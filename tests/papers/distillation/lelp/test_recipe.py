"""The recipe on users' tables, its artefact, given teachers, and what it refuses."""

import datasets
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AlbertConfig, AlbertForSequenceClassification, AlbertModel, PreTrainedTokenizerFast

import assay
from assay import options
from assay.cli import running
from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.distillation.lelp.artefact import DistilledStudent
from assay.papers.distillation.lelp.baselines import candidates
from assay.papers.distillation.lelp.config import Distil
from assay.papers.distillation.lelp.inputs import merge_classes
from assay.papers.distillation.lelp.paper import PAPER
from assay.papers.distillation.lelp.recipe import across, distil
from assay.papers.distillation.lelp.stages import class_order, crop_and_flip
from assay.papers.distillation.lelp.training import possible_subclasses
from assay.trial import Trial

from .card_files import BAD, GOOD, THINGS, reviews

ONE_EACH = {"class_temperatures": (1.0,), "subclass_temperatures": (0.5,)}
QUICK = ONE_EACH | {"teaching.steps": 30, "learning.steps": 30, "n_subclasses": 2}


def run(trial=None, **settings):
    return distil(options.resolve(Distil, QUICK | settings), trial or Trial(seed=1000))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "reviews.csv"
    reviews().to_csv(path, index=False)
    return {"data": f"csv:{path}", "data.text": "review", "data.label": "stars"}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    random = np.random.default_rng(0)
    label = np.arange(120) % 2
    table = pd.DataFrame(random.normal(size=(120, 4)) + 2 * label[:, None], columns=list("abcd"))
    path = tmp_path_factory.mktemp("numbers") / "table.csv"
    table.assign(label=np.where(label, "yes", "no")).to_csv(path, index=False)
    return {"data": f"csv:{path}"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A Parquet table of pictures in six classes, as CIFAR comes from the hub: columns img and fine_label."""
    random = np.random.default_rng(0)
    labels = np.arange(96) % 6
    images = [
        PIL.Image.fromarray((random.random((8, 8, 3)) * 80 + 30 * label).astype(np.uint8)) for label in labels
    ]
    features = datasets.Features(
        {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=[f"c{n}" for n in range(6)])}
    )
    folder = tmp_path_factory.mktemp("pictures")
    table = datasets.Dataset.from_dict({"img": images, "fine_label": labels}, features=features)
    table.select(range(72)).to_parquet(folder / "train.parquet")
    table.select(range(72, 96)).to_parquet(folder / "test.parquet")
    return {"data": f"parquet:{folder}", "data.image": "img", "data.label": "fine_label"}


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = ["<pad>", "<unk>", *GOOD, *BAD, *THINGS, "a", "number"]
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")


@pytest.fixture(scope="module")
def albert(tmp_path_factory, tokenizer):
    """Write an untrained ALBERT as `save_pretrained` does; return its source."""

    def make(classes=("1", "5"), hidden=16):
        torch.manual_seed(0)
        config = AlbertConfig(
            vocab_size=len(tokenizer), embedding_size=8, hidden_size=hidden, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=16, max_position_embeddings=32, pad_token_id=0,
            id2label=dict(enumerate(classes)), label2id={name: n for n, name in enumerate(classes)},
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("albert")
        (AlbertForSequenceClassification(config) if classes else AlbertModel(config)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return f"folder:{folder}"

    return make


# --- what a run leaves --------------------------------------------------------------------------


def test_a_run_on_texts_leaves_a_student_of_raw_texts(texts, tmp_path):
    running.run("lelp", out=tmp_path / "student", overrides=QUICK | texts | {"learning.steps": 80})
    student = assay.load(tmp_path / "student")
    assert isinstance(student, DistilledStudent)
    assert student.label_names == ("1", "5")
    assert student.predict(["a superb film", "an awful film"]) == ["5", "1"]
    torch.testing.assert_close(student.predict_proba(["a dull plot", "a lovely cast"]).sum(1), torch.ones(2))
    table = pd.DataFrame({"stars": [5, 1], "review": ["a superb film", "an awful film"]})
    assert student.predict(table) == ["5", "1"]  # the column's texts, not the columns' names
    assert student.targets.projector.n_subclasses == 2
    assert (student.targets.class_temperature, student.targets.subclass_temperature) == (1.0, 0.5)


def test_a_run_on_numbers_leaves_a_student_of_raw_rows(numbers, tmp_path):
    ran = running.run("lelp", out=tmp_path / "student", overrides=QUICK | numbers | {"learning.steps": 80})
    student = assay.load(tmp_path / "student")
    assert student.predict([[2.0] * 4, [0.0] * 4]) == ["yes", "no"]
    assert ran.metrics["accuracy"] > 0.8
    table = pd.DataFrame({"d": [2.0, 0.0], "label": ["?", "?"], "a": [2.0, 0], "b": [2.0, 0], "c": [2.0, 0]})
    assert student.predict(table) == ["yes", "no"]  # columns by name, one answer a row
    with pytest.raises(ValueError, match=r"reads \[n, 4\] numbers; got shape \(1, 3\)"):
        student.predict([[1.0, 2.0, 3.0]])


def test_a_loaded_student_says_what_the_trained_one_said(numbers, tmp_path):
    class Keep:
        def save(self, name, value):
            self.value = value

    trial = Trial(seed=1000)
    keep = trial.artefacts = Keep()
    run(trial, **numbers)
    keep.value.save(tmp_path)
    rows = torch.randn(9, 4)
    assert torch.equal(DistilledStudent.load(tmp_path).predict_proba(rows), keep.value.predict_proba(rows))


def test_pictures_are_merged_into_halves_and_augmented(pictures, tmp_path):
    shape = {"image_size": 8, "merge": "halves", "augment": True, "labelled": 1.0}
    running.run("lelp", out=tmp_path / "student", overrides=QUICK | pictures | shape)
    student = assay.load(tmp_path / "student")
    assert student.label_names == ("c0+c1+c2", "c3+c4+c5")
    assert student.predict_proba(torch.rand(3, 3, 8, 8)).shape == (3, 2)
    trial = Trial(seed=1000)
    found = run(trial, **pictures, **shape | {"augment": False, "objective": "oracle"})
    assert found["subclasses_known"] == 3
    assert trial.resplit == 0  # the table's own test rows measured


# --- arms ---------------------------------------------------------------------------------------

OBJECTIVES = sorted(
    {arm.settings["objective"] for recipe in PAPER.recipes.values() for arm in recipe.arms}
    - {"none", "oracle"}
)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_runs_on_a_users_table(numbers, objective):
    found = run(**numbers, objective=objective)
    assert 0 <= found["accuracy"] <= 1


def test_every_objective_tries_equally_many_candidates():
    presets = [preset for recipe in PAPER.recipes.values() for preset in recipe.presets.values()]
    for settings in ({}, *(preset.settings_for() for preset in presets)):
        configs = [options.resolve(Distil, settings, {"objective": name}) for name in [*OBJECTIVES, "oracle"]]
        assert len({len(candidates(config)) for config in configs}) == 1
    assert len(candidates(Distil())) == 4
    with pytest.raises(InputError, match="kd has grids of 1, 4 and 9 candidates"):
        candidates(Distil(objective="kd", class_temperatures=(1.0, 2.0, 3.0)))


def test_arms_share_split_teacher_and_steps(texts, tmp_path):
    counters = []
    for objective in ("lelp", "kd", "random", "oracle", "subclass_distillation"):
        trial = Trial(seed=1000, stages=tmp_path)
        run(trial, **texts, objective=objective, subclass="about")
        counters.append((trial.counters["gradient_steps"], trial.counters["candidates"]))
    assert len(set(counters)) == 1
    stages = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(stages) == 3  # sentence embeddings, one teacher for all, and Subclass Distillation's own


def test_without_known_subclasses_the_oracle_says_so(numbers, texts):
    said = []
    found = run(Trial(seed=1000, report=said.append), **numbers, objective="oracle")
    assert found == {"accuracy": None, "subclasses_known": 0.0}
    assert "name their column with --subclass" in said[0]
    assert run(**texts, objective="oracle", subclass="about")["subclasses_known"] == 2


def test_room_is_the_oracles_lead_or_else_the_teachers():
    arms = {"kd": {"accuracy": 0.7}, "teacher": {"accuracy": 0.9}, "oracle": {"accuracy": 0.75}}
    assert across(arms)["room"] == pytest.approx(0.05)
    assert across(arms | {"oracle": {"accuracy": None}})["room"] == pytest.approx(0.2)


def test_subclass_distillation_pays_for_its_teachers(numbers):
    flops = {
        name: run(**numbers, objective=name)["preparation_flops"]
        for name in ("lelp", "subclass_distillation")
    }
    assert flops["subclass_distillation"] > 3 * flops["lelp"]


def test_one_subclass_gives_vanilla_distillations_student(numbers):
    lelp, kd = (run(**numbers, objective=name, n_subclasses=1) for name in ("lelp", "kd"))
    assert lelp["accuracy"] == kd["accuracy"]
    assert lelp["agreement"] == kd["agreement"]


def test_a_dozen_rows_a_class_are_enough_for_fewer_subclasses(tmp_path):
    path = tmp_path / "small.csv"
    reviews(24).to_csv(path, index=False)
    found = run(data=f"csv:{path}", **{"data.text": "review", "data.label": "stars"}, n_subclasses=5)
    assert found["accuracy"] is not None


def test_subclasses_are_limited_by_the_smallest_class():
    labels, weight = torch.tensor([0] * 30 + [1] * 7), torch.zeros(2, 64)
    assert possible_subclasses(8, weight, labels) == 4
    assert possible_subclasses(3, weight, labels) == 3


# --- transformers -------------------------------------------------------------------------------


def test_a_given_teacher_is_asked_and_not_trained(texts, albert):
    trial = Trial(seed=1000)
    source = albert(("1", "5"))
    found = run(trial, **texts, teacher=source, objective="kd")
    swapped = run(**texts, teacher=albert(("5", "1")), objective="none")
    straight = run(**texts, teacher=source, objective="none")
    assert found["preparation_flops"] > 0
    assert swapped["accuracy"] == pytest.approx(
        1 - straight["accuracy"]
    )  # the same model, its classes by name


def test_classes_are_matched_by_name_or_else_by_number():
    source = ModelSource("folder:x")
    assert class_order(source, ("neg", "pos"), {0: "POS", 1: "NEG"}, 2) == [1, 0]
    assert class_order(source, ("neg", "pos"), {0: "LABEL_0", 1: "LABEL_1"}, 2) == [0, 1]
    with pytest.raises(InputError, match=r"has 3 classes, the table 2 \(neg, pos\)"):
        class_order(source, ("neg", "pos"), {0: "a", 1: "b", 2: "c"}, 3)


def test_the_paper_presets_albert_pair_runs_from_folders(texts, albert, tmp_path):
    """The preset's path: a pretrained teacher is fine-tuned with a new head and teaches a smaller one."""
    settings = PAPER.recipes["distil"].presets["paper"].settings_for()
    local = {"teacher": albert(), "teaching.epochs": 1, "teaching.batch_size": 8, "student": albert(hidden=8)}
    overrides = settings | ONE_EACH | texts | local | {"learning.steps": 3, "n_subclasses": 2}
    running.run("lelp", out=tmp_path / "student", overrides=overrides)
    student = assay.load(tmp_path / "student")
    assert student.predict_proba(["a great film"]).shape == (1, 2)
    assert student.classifier.body.model.config.hidden_size == 8


def test_the_cifar_preset_runs_on_a_local_table(pictures):
    settings = PAPER.recipes["compare"].presets["paper-cifar100"].settings_for()
    small = {"resnets": (11, 11), "teaching.steps": 2, "learning.steps": 2, "image_size": 8}
    found = run(**settings | ONE_EACH | pictures | small | {"n_subclasses": 2})
    assert found["accuracy"] is not None


# --- parts --------------------------------------------------------------------------------------


def test_cropping_keeps_pixels_and_flips_half():
    torch.manual_seed(0)
    images = torch.arange(1.0, 65).reshape(1, 1, 8, 8).expand(400, 3, 8, 8).clone()
    views = crop_and_flip(images)
    assert views.shape == images.shape
    assert set(views.unique().tolist()) <= {0.0, *range(1, 65)}
    rising = (views[:, 0, 4, 5] > views[:, 0, 4, 4]).float().mean()
    assert 0.4 < rising < 0.6


def test_classes_are_merged_by_half_or_by_parity():
    classes = np.array([0, 1, 2, 3, 4])
    labels, names = merge_classes(classes, list("abcde"), "halves")
    assert (labels.tolist(), names) == ([0, 0, 0, 1, 1], ("a+b+c", "d+e"))
    labels, names = merge_classes(classes, list("abcde"), "parity")
    assert (labels.tolist(), names) == ([0, 1, 0, 1, 0], ("a+c+e", "b+d"))


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subclass": "colour"}, "no column of .* 'colour'"),
        ({"teacher": "folder:/nowhere"}, "a model of texts"),
        ({"student": "folder:/nowhere"}, "a model of texts"),
        ({"teaching.epochs": 2}, "give --teacher"),
        ({"augment": True}, "crops and flips pictures"),
        ({"label_weight": 0.5, "labelled": 0.5}, "--labelled 1"),
        ({"data": "bundled:digits", "merge": "no", "n_subclasses": 60}, None),
    ],
)
def test_options_that_do_not_fit_are_refused(numbers, settings, message):
    if message is None:
        assert run(**settings)["accuracy"] is not None  # 60 subclasses become as many as fit
        return
    with pytest.raises(InputError, match=message):
        run(**numbers | settings)


def test_a_table_of_many_classes_is_refused(tmp_path):
    table = pd.DataFrame({"x": np.arange(300.0), "label": [f"k{n % 30}" for n in range(300)]})
    table.to_csv(tmp_path / "many.csv", index=False)
    with pytest.raises(InputError, match="30 classes; pseudo-subclasses are for few"):
        run(data=f"csv:{tmp_path / 'many.csv'}")


def test_a_tables_texts_are_not_taken_for_features_by_a_loaded_student(texts, tmp_path):
    running.run("lelp", out=tmp_path / "student", overrides=QUICK | texts)
    with pytest.raises(ValueError, match="reads texts"):
        assay.load(tmp_path / "student").predict([[1.0, 2.0]])
