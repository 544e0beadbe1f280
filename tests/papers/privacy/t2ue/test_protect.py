"""Adding noise to pictures: bounds, names, and files that are not as they should be."""

import numpy as np
import pytest
import torch
from PIL import Image

from assay.papers.privacy.t2ue.method import add_noise, apply_noise, export_noise, protect
from assay.papers.privacy.t2ue.method.protect import match_names

EPS = 8 / 255


def pixels(rows=3, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.permute(1, 2, 0).numpy()).save(path)


def read(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


@pytest.fixture
def made(generator, hash_embed, tmp_path):
    captions = {"a.png": "a cat", "b.png": "a dog", "c": "a car"}
    return export_noise(generator, hash_embed, captions, tmp_path / "noise")


@pytest.fixture
def folder(tmp_path):
    for name, picture in zip("abc", pixels(), strict=True):
        write(tmp_path / "photos" / f"{name}.png", picture)
    return tmp_path / "photos"


def test_no_level_changes_by_more_than_eps_after_rounding():
    original = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[None, :, :, None]
    for size in (1.0, 0.999, 0.4):
        for sign in (1, -1):
            changed = add_noise(original, torch.full(original.shape, sign * size * EPS), EPS)
            difference = (changed.int() - original.int()) * sign
            assert difference.min() >= 0
            assert difference.max() == int(8 * size + 1e-6)


def test_without_eps_nothing_changes():
    original = pixels()
    assert torch.equal(add_noise(original, torch.zeros(original.shape), 0.0), original)


def test_protecting_is_the_same_through_files_and_in_memory(generator, hash_embed, made, folder, tmp_path):
    applied = apply_noise(folder, made, tmp_path / "out")
    assert applied.files == ("a.png", "b.png", "c.png")
    direct = protect(generator, hash_embed, pixels(), ["a cat", "a dog", "a car"])
    for name, expected, original in zip(applied.files, direct, pixels(), strict=True):
        found = read(tmp_path / "out" / name)
        assert (found.int() - expected.int()).abs().max() <= 1  # noise in files has 16 bits
        assert 0 < (found.int() - original.int()).abs().max() <= 8
    assert 0 < applied.largest_change <= 8


def test_captions_that_do_not_match_the_pictures(generator, hash_embed, made, folder, tmp_path):
    with pytest.raises(ValueError, match="2 captions do not match 3 pictures"):
        protect(generator, hash_embed, pixels(), ["a", "b"])
    write(folder / "sub" / "new.png", pixels(1)[0])
    with pytest.raises(ValueError, match=r"1 of 4 pictures have no noise, such as 'sub/new\.png'"):
        apply_noise(folder, made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_noise_without_names_goes_by_order(generator, hash_embed, folder, tmp_path):
    unnamed = export_noise(generator, hash_embed, ["x", "y", "z"], tmp_path / "noise")
    assert match_names(["a", "b", "c"], unnamed) == [0, 1, 2]
    with pytest.raises(ValueError, match="3 captions do not match 2 pictures"):
        match_names(["a", "b"], unnamed)


def test_noise_for_classes_goes_by_folder(generator, hash_embed, tmp_path):
    prompts = {name: f"a photo of a {name}" for name in ("cat", "dog")}
    made = export_noise(generator, hash_embed, prompts, tmp_path / "n", kind="class-wise")
    assert match_names(["dog/1.png", "cat/1.png", "train/dog/2.png"], made) == [1, 0, 1]
    with pytest.raises(ValueError, match="1 of 1 pictures have no noise"):
        match_names(["dog.png"], made)


def test_pictures_of_another_size(generator, hash_embed, tmp_path):
    write(tmp_path / "photos" / "a.png", pixels(1, size=24)[0])
    made = export_noise(generator, hash_embed, {"a.png": "a cat"}, tmp_path / "noise")
    with pytest.raises(ValueError, match="24x24 pixels, the noise 16x16"):
        apply_noise(tmp_path / "photos", made, tmp_path / "out")
    for resize, size in (("noise", 24), ("picture", 16)):
        assert apply_noise(tmp_path / "photos", made, tmp_path / resize, resize).largest_change <= 8
        assert read(tmp_path / resize / "a.png").shape == (3, size, size)


def test_jpeg_alpha_grey_and_turned_pictures(generator, hash_embed, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    grey = Image.fromarray(pixels(1)[0, 0].numpy())
    grey.save(photos / "grey.png")
    grey.convert("RGBA").save(photos / "clear.png")
    turned = Image.fromarray(pixels(1, seed=2)[0].permute(1, 2, 0).numpy())
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.save(photos / "turned.jpg", exif=exif, quality=100, subsampling=0)
    captions = dict.fromkeys(("grey", "clear", "turned", "-"), "x")
    made = export_noise(generator, hash_embed, captions, tmp_path / "n")
    applied = apply_noise(photos, made, tmp_path / "out")
    assert applied.files == ("clear.png", "grey.png", "turned.png")
    notes = " ".join(applied.notes)
    for part in ("1 JPEG", "2 grey", "1 captions had no picture"):
        assert part in notes
    upright = read(tmp_path / "out" / "turned.png").int()
    original = torch.from_numpy(np.array(turned)).permute(2, 0, 1).int().flip(1, 2)
    assert (upright - original).abs().float().mean() < 12
    assert read(tmp_path / "out" / "grey.png").shape == (3, 16, 16)


def test_files_that_are_no_pictures(made, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="has no pictures"):
        apply_noise(tmp_path / "photos", made, tmp_path / "out")
    (tmp_path / "photos" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        apply_noise(tmp_path / "photos", made, tmp_path / "out")
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "photos" / "a.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        apply_noise(tmp_path / "photos", made, tmp_path / "out")
