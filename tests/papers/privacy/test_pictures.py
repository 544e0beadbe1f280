"""Pictures are read upright, stay in their ball, and come back from disk as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from assay.data import Table
from assay.errors import InputError
from assay.papers.privacy.options import check_eps
from assay.papers.privacy.pictures import (
    check_unit_range,
    clip_to_ball,
    load_written,
    png_paths,
    read_pictures,
    to_uint8_within,
    write_pictures,
)

EPS = 8 / 255


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def picture_folder(folder: Path, sizes: tuple[int, ...] = (8, 8)) -> Path:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number, size in enumerate(sizes):
            pixels = np.full((size, size, 3), 40 * number + (label == "dog"), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


# --- reading ------------------------------------------------------------------------------------


def test_a_folder_is_read_with_classes_and_relative_names(tmp_path: Path) -> None:
    pictures = read_pictures(Table(f"images:{picture_folder(tmp_path / 'in')}").load())
    assert pictures.pixels.shape == (4, 3, 8, 8)
    assert pictures.names == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert pictures.labels.tolist() == [0, 0, 1, 1]
    assert pictures.pixels[3].unique().tolist() == [41]
    assert pictures.float().max() == pytest.approx(41 / 255)
    chosen = pictures.select(torch.tensor([False, False, True, False]))
    assert chosen.names == ("dog/0.png",)
    assert len(chosen) == 1


def test_bundled_pictures_have_texts_groups_and_made_up_names() -> None:
    table = Table("bundled:patches").load()
    pictures = read_pictures(table, table.rows.select([0, 2700]), size=16)
    assert pictures.pixels.shape == (2, 3, 16, 16)
    assert pictures.texts is not None
    assert pictures.groups is not None
    assert pictures.groups[0].startswith("astronaut-")
    assert pictures.names == ("astronaut/0", "dahlia/1")


def test_the_orientation_in_the_exif_data_is_applied(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "in")
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 255  # the right half is white
    exif = PIL.Image.Exif()
    exif[0x0112] = 3  # upside down
    PIL.Image.fromarray(pixels).save(folder / "cat" / "2.png", exif=exif)
    turned = read_pictures(Table(f"images:{folder}").load()).pixels[2]
    assert turned[:, :, :4].unique().tolist() == [255]


def test_pictures_of_several_sizes_need_one(tmp_path: Path) -> None:
    table = Table(f"images:{picture_folder(tmp_path / 'in', sizes=(8, 10))}").load()
    with pytest.raises(InputError, match=r"2 sizes, from 8x8 to 10x10.*set --size"):
        read_pictures(table)
    assert read_pictures(table, size=8).pixels.shape == (4, 3, 8, 8)


def test_what_is_no_8_bit_picture_is_refused(tmp_path: Path) -> None:
    deep = picture_folder(tmp_path / "in")
    PIL.Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(deep / "cat" / "0.png")
    with pytest.raises(InputError, match=r"0\.png .*more than 8 bits"):
        read_pictures(Table(f"images:{deep}").load())
    with pytest.raises(InputError, match="has no pictures"):
        read_pictures(Table("bundled:wine").load())
    with pytest.raises(InputError, match="at least 1 pixel"):
        read_pictures(Table("bundled:digits").load(), size=0)


# --- checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.tensor([0.0, 200.0]), "divide them by 255"),
        (torch.tensor([-1.8, 2.1]), "They look normalised"),
        (torch.tensor([0.5, float("nan")]), "NaN"),
        (torch.tensor([3, 200], dtype=torch.uint8), "got torch.uint8. Divide by 255"),
        (torch.empty(0), "no images"),
    ],
)
def test_images_outside_the_unit_range_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_unit_range(images)


def test_an_absurd_radius_is_refused() -> None:
    check_eps(EPS)
    check_eps(0.0, allow_zero=True)
    check_eps(1.0, largest=2.0)
    with pytest.raises(InputError, match="above 0"):
        check_eps(0.0)
    with pytest.raises(InputError, match=r"For 8 of 255 levels write 0.03137"):
        check_eps(8.0)
    for eps in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"at most 0\.25"):
            check_eps(eps)


# --- the ball -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", 0.5)])
def test_clipping_stays_in_ball_and_range_and_is_idempotent(norm: str, eps: float) -> None:
    images = random_images(6, 3, 8, 8)
    far = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    clipped = clip_to_ball(far, images, eps, norm)  # type: ignore[arg-type]
    change = (clipped - images).flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert length.max() <= eps + 1e-7
    assert length.min() > 0.5 * eps
    assert clipped.min() >= 0
    assert clipped.max() <= 1
    assert torch.equal(clip_to_ball(clipped, images, eps, norm), clipped)  # type: ignore[arg-type]
    assert torch.equal(clip_to_ball(images, images, eps, norm), images)  # type: ignore[arg-type]


def test_a_radius_of_0_gives_the_originals() -> None:
    images = random_images(2, 3, 4, 4)
    assert torch.equal(clip_to_ball(images + 0.3, images, 0.0), images)
    with pytest.raises((ValueError, TypeError), match="linf"):
        clip_to_ball(images, images, 0.1, "l1")  # type: ignore[arg-type]


def test_rounding_keeps_whole_levels_and_never_leaves_the_ball() -> None:
    pixels = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = pixels.float() / 255
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).sign() * EPS
    rounded = to_uint8_within(clip_to_ball(images + noise, images, EPS), pixels, EPS)
    change = rounded.int() - pixels.int()
    inside = (pixels > 8) & (pixels < 247)
    assert torch.equal(change[inside], (noise[inside] * 255).round().int())
    assert change.abs().max() == 8
    assert torch.equal(to_uint8_within(images, pixels, EPS), pixels)
    fraction = to_uint8_within(clip_to_ball(images + noise, images, 7.9 / 255), pixels, 7.9 / 255)
    assert (fraction.int() - pixels.int()).abs().max() == 7


def test_rounding_in_l2_never_lengthens_a_change() -> None:
    pixels = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = pixels.float() / 255
    far = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    rounded = to_uint8_within(clip_to_ball(far, images, 0.7, "l2"), pixels, 0.7, "l2")
    length = ((rounded.double() - pixels.double()) / 255).flatten(1).norm(dim=1)
    assert length.max() <= 0.7
    assert length.min() > 0.6


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_written_pictures_come_back_bit_by_bit(tmp_path: Path, channels: int) -> None:
    pixels = torch.randint(0, 256, (3, channels, 9, 7), generator=torch.Generator().manual_seed(0))
    names = ("a/one.jpg", "a/two", "b/v1.5")
    write_pictures(tmp_path / "out", pixels.to(torch.uint8), names, {"eps": EPS})
    loaded, manifest = load_written(tmp_path / "out")
    assert torch.equal(loaded.long(), pixels)
    assert manifest["files"] == ["a/one.png", "a/two.png", "b/v1.5.png"]
    assert manifest["eps"] == EPS


def test_a_full_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_pictures(tmp_path, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), ("a",), {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside"):
        write_pictures(tmp_path / "out", torch.zeros(1, 3, 2, 2, dtype=torch.uint8), ("../a",), {})
    assert not list(tmp_path.rglob("*"))


def test_names_that_differ_in_their_ending_stay_different() -> None:
    assert png_paths(["a.jpg", "b.jpg"]) == ("a.png", "b.png")
    assert png_paths(["a.jpg", "a.png"]) == ("a.jpg.png", "a.png.png")
    with pytest.raises(InputError, match="Two pictures are called"):
        png_paths(["a", "A"])


def test_a_folder_that_lost_a_picture_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "out", torch.zeros(2, 3, 2, 2, dtype=torch.uint8), ("a", "b"), {})
    (tmp_path / "out" / "b.png").unlink()
    with pytest.raises(InputError, match="does not hold the pictures"):
        load_written(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"eps": 1}))
    with pytest.raises(InputError, match="files"):
        load_written(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no file .*manifest\.json"):
        load_written(tmp_path / "out")
