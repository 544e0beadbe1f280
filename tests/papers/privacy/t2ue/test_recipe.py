"""The recipes: from pairs to a generator, to noise, to protected pictures, to victims."""

import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import torch

import assay
import assay.papers.privacy.t2ue
from assay import options
from assay.cli import running
from assay.errors import InputError
from assay.papers.privacy.t2ue import training
from assay.papers.privacy.t2ue.artefact import NoiseProvider
from assay.papers.privacy.t2ue.config import Learn, Retrieve, Train
from assay.papers.privacy.t2ue.inputs import PictureSplit, read_split
from assay.papers.privacy.t2ue.paper import PAPER
from assay.papers.privacy.t2ue.recipe import learn
from assay.papers.privacy.t2ue.training import noise_for
from assay.trial import Trial

from .card_files import CAPTIONS, photos, write_captions

TINY = PAPER.recipes["learn"].presets["tiny"].settings


def resolved(**settings):
    return options.resolve(Learn, TINY, settings)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


def arm(name, stages, **settings):
    trial = Trial(seed=1000, stages=stages)
    return learn(resolved(**PAPER.recipes["learn"].arm(name).settings, **settings), trial), trial


# --- the check ----------------------------------------------------------------------------------


def test_provider_user_and_test_share_no_tile(stages):
    split = read_split(resolved(), Trial(seed=1000, stages=stages))
    public, published = set(split.public.groups), set(split.published.groups)
    assert not public & published
    assert len(split.public) + len(split.published) == 3000
    assert len(split.test) == 1000
    for pictures in (split.public, split.published):
        assert pictures.labels.bincount(minlength=10).min() > 100
    other = read_split(resolved(), Trial(seed=1001, stages=stages))
    assert set(other.public.groups) != public


def test_each_seed_has_as_many_pictures_as_were_asked_for(stages):
    splits = [read_split(resolved(max_pictures=400), Trial(seed=seed, stages=stages)) for seed in (0, 1)]
    for split in splits:
        assert len(split.public) + len(split.published) == 400
        assert len(split.test) == 1000
    first, second = ({row.tobytes() for row in split.published.pixels.numpy()} for split in splits)
    assert len(first & second) < 0.1 * len(first)


def test_arms_of_a_seed_share_the_generator_and_have_the_same_budget(stages, monkeypatch):
    metrics, trial = arm("sample-wise", stages)
    assert metrics["surrogate_loss"] > 0
    assert 0 < metrics["noise_size"] <= 1

    def forbidden(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr("assay.papers.privacy.t2ue.stages.T2UETrainer.fit", forbidden)
    shuffled, other = arm("shuffled", stages)
    assert shuffled["surrogate_loss"] == metrics["surrogate_loss"]
    assert shuffled["noise_size"] == pytest.approx(metrics["noise_size"])
    assert other.counters == trial.counters
    mixed, _ = arm("mixed", stages)
    half, halved = arm("clean-half", stages)
    assert halved.counters["gradient_steps"] == trial.counters["gradient_steps"]
    assert set(mixed) > set(half) == {"victim_accuracy", "fit"}


def test_shuffling_keeps_the_noises_and_classes_have_one_each(stages):
    trial = Trial(seed=1000, stages=stages)
    split = read_split(resolved(), trial)
    noises = {
        name: noise_for(resolved(protection=name), split, trial).noise
        for name in ("sample-wise", "shuffled", "class-wise", "random-class", "random-sample", "none")
    }
    sums = {name: noise.sum((1, 2, 3)) for name, noise in noises.items()}
    torch.testing.assert_close(sums["shuffled"].sort().values, sums["sample-wise"].sort().values)
    assert not torch.equal(sums["shuffled"], sums["sample-wise"])
    for name in ("class-wise", "random-class"):
        assert len({(label, row.numpy().tobytes()) for label, row in pairs(split, noises[name])}) == 10
    assert all(noise.abs().max() <= 8 / 255 for noise in noises.values())
    assert len(noises["sample-wise"].flatten(1).unique(dim=0)) > 100


def pairs(split, noise):
    return zip(split.published.labels.tolist(), noise, strict=True)


def test_the_generator_never_sees_the_published_pictures(monkeypatch, stages):
    seen = {}
    train = training.train_provider

    def watched(config, data, trial):
        seen["pictures"] = data.pictures
        return train(config, data, trial)

    monkeypatch.setattr(training, "train_provider", watched)
    trial = Trial(seed=1000, stages=stages)
    split = read_split(resolved(), trial)
    noise_for(resolved(), split, trial)
    assert torch.equal(seen["pictures"], split.public.pixels)


def test_error_minimising_noise_is_one_a_class_and_within_eps(stages):
    split = read_split(resolved(), Trial(seed=1000, stages=stages))
    few = torch.arange(0, len(split.published), 10)
    small = PictureSplit(None, split.published.select(few), split.test, split.label_names, split.source)
    noise = noise_for(resolved(protection="em"), small, Trial(seed=1000)).noise
    assert noise.shape == small.published.pixels.shape
    assert noise.abs().max() <= 8 / 255 + 1e-7
    assert len(noise.flatten(1).unique(dim=0)) == 10


def test_labels_without_captions_and_a_split_of_its_own(tmp_path):
    config = resolved(data=f"images:{photos(tmp_path / 'p')}", image_size=8)
    trial = Trial(seed=1000)
    metrics = learn(config, trial)
    assert 0 <= metrics["victim_accuracy"] <= 1
    assert trial.resplit == pytest.approx(1 / 3)


@pytest.mark.parametrize(("eps", "hint"), [(8, "For 8 of 255 levels write 0.03137"), (0.3, ""), (-1, "")])
@pytest.mark.parametrize("config", [Learn, Train])
def test_eps_in_other_units_is_refused(config, eps, hint):
    with pytest.raises(InputError, match="in pixel values from 0 to 1") as error:
        options.resolve(config, {"eps": eps})
    assert hint in str(error.value)


def test_rows_that_say_nothing_are_refused(tmp_path):
    folder = photos(tmp_path / "p", rows=2)
    table = "file_name,text\n" + "".join(f"cat/0{row}.png, \n" for row in range(2))
    (folder / "metadata.csv").write_text(table)
    with pytest.raises(InputError, match=r"empty"):
        running.run(
            "t2ue", "train", out=tmp_path / "o", overrides={"data": f"images:{folder}"}, preset="tiny"
        )
    (folder / "metadata.csv").write_text("file_name\ncat/00.png\ncat/01.png\n")
    with pytest.raises(InputError, match="neither captions nor labels"):
        running.run(
            "t2ue", "train", out=tmp_path / "o", overrides={"data": f"images:{folder}"}, preset="tiny"
        )


# --- the three commands -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator for pictures of 8 pixels."""
    root = tmp_path_factory.mktemp("trained")
    overrides = {"image_size": 8, "data": f"images:{photos(root / 'public')}"}
    running.run("t2ue", "train", out=root / "generator", preset="tiny", overrides=overrides)
    return root / "generator"


@pytest.fixture
def captions(tmp_path):
    return write_captions(tmp_path / "captions.csv")


def make_noise(trained, out, **overrides):
    return running.run("t2ue", "noise", out=out, overrides={"generator": trained, **overrides}, seed=4)


def test_no_picture_is_opened_where_noise_is_made(trained, captions, tmp_path, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("a picture was opened")

    for name in ("open", "new", "fromarray", "frombytes"):
        monkeypatch.setattr(PIL.Image, name, forbidden)
    ran = make_noise(trained, tmp_path / "noise", captions=captions)
    assert ran.metrics["noises"] == 9
    loaded = assay.load(tmp_path / "noise")
    assert len(loaded) == 9
    assert loaded.manifest.names[0] == "cat/00.png"
    assert loaded.all().abs().max() <= 8 / 255


def test_from_captions_to_protected_pictures(trained, captions, tmp_path):
    make_noise(trained, tmp_path / "noise", captions=captions)
    folder = photos(tmp_path / "photos", rows=3)
    overrides = {"images": str(folder), "noise": str(tmp_path / "noise")}
    ran = running.run("t2ue", "protect", out=tmp_path / "out", overrides=overrides)
    assert ran.metrics["pictures"] == 9
    assert 0 < ran.metrics["largest_change"] <= 8
    protected = assay.load(tmp_path / "out")
    for path in protected.paths:
        original = np.array(PIL.Image.open(folder / path.parent.name / path.name)).astype(int)
        difference = np.abs(np.array(PIL.Image.open(path)).astype(int) - original)
        assert 0 < difference.max() <= 8


def test_class_names_are_enough(trained, tmp_path):
    make_noise(trained, tmp_path / "noise", classes=("cat", "dog", "car"))
    overrides = {"images": str(photos(tmp_path / "photos", rows=2)), "noise": str(tmp_path / "noise")}
    assert running.run("t2ue", "protect", out=tmp_path / "out", overrides=overrides).metrics["pictures"] == 6


def test_noise_depends_on_the_seed_and_the_caption_alone(trained, captions, tmp_path):
    make_noise(trained, tmp_path / "all", captions=captions)
    few = tmp_path / "few.csv"
    few.write_text("\n".join(captions.read_text().splitlines()[:3]))
    make_noise(trained, tmp_path / "few", captions=few)
    both = assay.load(tmp_path / "all"), assay.load(tmp_path / "few")
    torch.testing.assert_close(both[1].all(), both[0].all()[:2], atol=1e-6, rtol=0)


def test_what_is_missing_is_named_and_nothing_is_left(trained, captions, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no generator"):
        make_noise(empty, tmp_path / "out", captions=captions)
    with pytest.raises(InputError, match="There is no file"):
        make_noise(trained, tmp_path / "out", captions=tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"has no \{\}"):
        make_noise(trained, tmp_path / "out", classes=("cat",), template="a cat")
    overrides = {"images": str(photos(tmp_path / "photos", rows=4)), "noise": str(empty)}
    with pytest.raises(InputError, match="holds no noise"):
        running.run("t2ue", "protect", out=tmp_path / "out", overrides=overrides)
    make_noise(trained, tmp_path / "noise", captions=captions)
    overrides["noise"] = str(tmp_path / "noise")
    with pytest.raises(InputError, match="3 of 12 pictures have no noise"):
        running.run("t2ue", "protect", out=tmp_path / "out", overrides=overrides)
    assert not (tmp_path / "out").exists()


def test_a_generator_goes_with_its_text_encoder(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    path = copy / "provider" / "record.json"
    changed = re.sub(r'("fingerprint": )"[^"]*"', r'\1"another"', path.read_text())
    path.write_text(changed)
    with pytest.raises(InputError, match="trained with another text encoder"):
        make_noise(copy, tmp_path / "out", classes=("cat",))


# --- the paper's models and formats -------------------------------------------------------------


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A small data set in COCO's format."""
    root = tmp_path_factory.mktemp("coco")
    folder = photos(root / "train2017", rows=6, size=20)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    content = {
        "images": [{"id": row, "file_name": name} for row, name in enumerate(names)],
        "annotations": [
            {"image_id": row, "caption": f"{CAPTIONS[name.split('/')[0]]} {extra}"}
            for row, name in enumerate(names)
            for extra in ("", "with the sky", "and a tree")
        ],
    }
    (root / "captions_train2017.json").write_text(json.dumps(content))
    return {
        "pairs.captions": str(root / "captions_train2017.json"),
        "pairs.images": str(folder),
        "pairs.image_size": 16,
    }


def test_the_papers_setting_on_a_small_clip_and_files_like_cocos(tiny_clip, coco, tmp_path):
    small = coco | {
        "surrogate": f"folder:{tiny_clip}",
        "network.base_channels": 16,
        "network.epochs": 2,
        "network.batch_size": 6,
    }
    ran = running.run("t2ue", "train", out=tmp_path / "g", preset="clip", overrides=small)
    assert ran.metrics["surrogate_loss"] > 0
    provider = assay.load(tmp_path / "g")
    assert isinstance(provider, NoiseProvider)
    assert provider.generator.settings["blocks"] == 7
    assert provider.generator.out_size == 16
    assert provider.embed(["a cat"]).shape == (1, 8)

    paper = PAPER.recipes["learn"].presets["paper"].settings_for()
    quick = {"victim.epochs": 1, "victim.width": 4, "image_size": 12, "pairs.captions": None}
    data = {"data": f"images:{photos(tmp_path / 'cifar', size=12)}", "provider": str(tmp_path / "g")}
    metrics = learn(options.resolve(Learn, paper, data, quick), Trial(seed=1000))
    assert 0 < metrics["noise_size"] <= 1
    assert metrics["surrogate_loss"] is None


def test_a_clip_from_scratch_retrieves(trained, tiny_clip, coco, tmp_path):
    make_noise(trained, tmp_path / "noise", captions=coco["pairs.captions"])
    settings = coco | {"surrogate": f"folder:{tiny_clip}", "epochs": 3, "batch_size": 7, "test": 0.3}
    found = {}
    for name, protection in (("clean", {}), ("protected", {"protection": str(tmp_path / "noise")})):
        ran = running.run("t2ue", "retrieve", out=tmp_path / name, overrides=settings | protection)
        found[name] = ran.metrics
        assert set(found[name]) >= {"image_to_text_hit", "text_to_image_rank"}
        assert 1 <= found[name]["image_to_text_rank"] <= 18
    assert isinstance(assay.load(tmp_path / "clean"), dict)
    with pytest.raises(InputError, match="is a bert; its sizes must be those of a CLIP"):
        running.run(
            "t2ue",
            "retrieve",
            out=tmp_path / "no",
            overrides=settings | {"surrogate": "bundled:minilm"},
        )
    assert options.resolve(Retrieve).epochs == 32
