"""Noise from captions: prompts, random vectors, and files without pictures."""

import json

import pytest
import torch

from assay.papers.privacy.t2ue.method import (
    NoiseFolder,
    class_prompts,
    export_noise,
    make_noise,
    noise as noise_module,
    random_vectors,
    varied_prompts,
)

CAPTIONS = ["a red car", "a house", "a red car", "the sky"]
EPS = 8 / 255


def test_prompts_of_classes():
    assert class_prompts(["cat", "sea_lion"]) == ["a photo of a cat", "a photo of a sea lion"]
    assert class_prompts(["cat"], "one {} here") == ["one cat here"]
    for names in ([], ["cat", "cat"], ["cat", " "]):
        with pytest.raises(ValueError, match="Class names"):
            class_prompts(names)
    with pytest.raises(ValueError, match=r"has no \{\}"):
        class_prompts(["cat"], "a cat")


def test_varied_prompts_name_the_class_and_depend_on_the_seed():
    prompts = varied_prompts(["cat"] * 200, seed=1)
    assert all("cat" in text for text in prompts)
    assert len(set(prompts)) == 10
    assert prompts == varied_prompts(["cat"] * 200, seed=1) != varied_prompts(["cat"] * 200, seed=2)


def test_a_rows_random_vector_does_not_depend_on_how_many_there_are():
    many = random_vectors(50, 20, seed=3)
    torch.testing.assert_close(random_vectors(2, 20, seed=3, start=7), many[7:9])
    assert not torch.equal(many, random_vectors(50, 20, seed=4))
    assert abs(many.mean().item()) < 0.1
    assert many.std().item() == pytest.approx(1, abs=0.1)


def test_noise_is_the_same_in_any_batch_and_differs_by_caption_and_vector(generator, hash_embed):
    embedded = hash_embed(CAPTIONS)
    noise = make_noise(generator, embedded, seed=5)
    torch.testing.assert_close(make_noise(generator, embedded, 5, batch_size=1), noise, atol=1e-6, rtol=0)
    assert len({row.sum().item() for row in noise}) == 4  # equal captions have vectors of their own
    shared = make_noise(generator, embedded, seed=5, one_vector=True)
    assert torch.equal(shared[0], shared[2])
    assert len({row.sum().item() for row in shared}) == 3


def test_making_noise_leaves_a_generator_in_training_as_it_was(generator, hash_embed):
    generator.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    make_noise(generator, hash_embed(CAPTIONS), seed=0)
    assert generator.training
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())


def test_files_hold_the_noise_and_no_captions(generator, hash_embed, tmp_path, monkeypatch):
    monkeypatch.setattr(noise_module, "ROWS_A_FILE", 3)
    captions = dict(zip(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], CAPTIONS, strict=True))
    written = export_noise(generator, hash_embed, captions, tmp_path / "n", seed=5)
    read = NoiseFolder(tmp_path / "n")
    assert read.manifest == written.manifest
    assert read.manifest.names == tuple(captions)
    assert read.manifest.files == ("noise-00000.safetensors", "noise-00001.safetensors")
    expected = make_noise(generator, hash_embed(CAPTIONS), seed=5)
    torch.testing.assert_close(read.all(), expected, atol=EPS / 500, rtol=0)
    assert read.all().double().abs().max().item() <= EPS
    read.save(tmp_path / "copy")
    assert torch.equal(NoiseFolder.load(tmp_path / "copy").all(), read.all())
    text = (tmp_path / "n" / "noise.json").read_text()
    assert "red car" not in text
    assert read.manifest.captions[0] == read.manifest.captions[2] != read.manifest.captions[1]


def test_class_wise_files_hold_one_noise_a_class(generator, hash_embed, tmp_path):
    classes = ["cat", "dog", "house"]
    prompts = dict(zip(classes, class_prompts(classes), strict=True))
    made = export_noise(generator, hash_embed, prompts, tmp_path / "n", kind="class-wise")
    assert len(made) == len({row.sum().item() for row in made.all()}) == 3


@pytest.mark.parametrize(
    ("captions", "message"),
    [([], "no captions"), ({"x": "a", "y": "  "}, "1 of 2 captions are empty, the first is number 2")],
)
def test_captions_that_cannot_be_used_write_nothing(generator, hash_embed, tmp_path, captions, message):
    with pytest.raises(ValueError, match=message):
        export_noise(generator, hash_embed, captions, tmp_path / "n")
    assert not (tmp_path / "n").exists()


def test_damaged_folders_are_refused(generator, hash_embed, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no noise"):
        NoiseFolder(tmp_path)
    made = export_noise(generator, hash_embed, CAPTIONS, tmp_path / "n")
    (tmp_path / "n" / made.manifest.files[0]).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged or missing"):
        made.all()
    manifest = tmp_path / "n" / "noise.json"
    outside = json.loads(manifest.read_text()) | {"files": ["../elsewhere.safetensors"]}
    for content in ("{", "{}", "[]", json.dumps(outside)):
        manifest.write_text(content)
        with pytest.raises(ValueError, match=r"line 1|does not describe noise"):
            NoiseFolder(tmp_path / "n")
