"""Captions and pictures in the formats in which COCO and Flickr come."""

import json

import pytest
import torch
from PIL import Image

from assay.errors import InputError
from assay.papers.privacy.t2ue.config import Pairs
from assay.papers.privacy.t2ue.inputs import CaptionedPictures, find_pairs, read_captions, read_square

COCO = {
    "images": [{"id": 7, "file_name": "07.jpg"}, {"id": 3, "file_name": "03.jpg"}],
    "annotations": [
        {"image_id": 3, "caption": "A cat."},
        {"image_id": 7, "caption": "A dog."},
        {"image_id": 3, "caption": "A small cat, asleep."},
    ],
}
EXPECTED = {"03.jpg": ["A cat.", "A small cat, asleep."], "07.jpg": ["A dog."]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions_train2017.json", json.dumps(COCO)),
        ("captions.txt", 'image,caption\n03.jpg,A cat.\n07.jpg,A dog.\n03.jpg,"A small cat, asleep."\n'),
        ("mine.csv", 'file_name,text\n03.jpg,A cat.\n03.jpg,"A small cat, asleep."\n07.jpg,A dog.\n'),
        (
            "mine.jsonl",
            '{"image": "03.jpg", "caption": "A cat."}\n\n{"image": "07.jpg", "caption": "A dog."}\n'
            '{"image": "03.jpg", "caption": "A small cat, asleep."}\n',
        ),
    ],
)
def test_formats(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_captions(tmp_path / name) == EXPECTED


def test_one_caption_a_line(tmp_path):
    (tmp_path / "c.txt").write_text("a cat, asleep\na dog\n")
    assert read_captions(tmp_path / "c.txt") == {"0": ["a cat, asleep"], "1": ["a dog"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", '{"captions": []}', "COCO's annotations: 'images' is missing"),
        ("c.json", '{"images": [], "annotations": []}', "has no captions"),
        ("c.json", "{", "line 1"),
        ("c.csv", "name,words\na,b\n", "line 2 has the fields name, words; give image"),
        ("c.csv", "image,caption\na.png,a cat, asleep\n", "line 2: 3 fields where the header has 2"),
        ("c.csv", "image,caption\na.png,\n", "empty captions for 1 of 1 pictures, such as 'a.png'"),
        ("c.txt", "a cat\n\na dog\n", "empty captions for 1 of 3"),
        ("c.jsonl", "\n", "is empty"),
        ("c.parquet", "x", "should be a file that ends in"),
        ("c.csv", "", "is empty"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_captions(tmp_path / name)


def test_pairs_are_found_and_read(tmp_path):
    for name, shade in (("03.jpg", 30), ("07.jpg", 200)):
        Image.new("RGB", (40, 20), (shade,) * 3).save(tmp_path / name)
    (tmp_path / "c.json").write_text(json.dumps(COCO))
    pairs = Pairs(captions=str(tmp_path / "c.json"), images=str(tmp_path), image_size=8)
    found = find_pairs(pairs)
    assert found.captions == list(EXPECTED.values())
    assert found.size == 8
    assert found.texts == [text for own in EXPECTED.values() for text in own]
    loader = found.batches(2, torch.Generator().manual_seed(0))
    assert len(loader) == 1
    pixels, rows = next(iter(loader))
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels.dtype == torch.uint8
    assert {
        row: round(picture.float().mean().item()) for row, picture in zip(rows.tolist(), pixels, strict=True)
    } == {
        0: 30,
        1: 200,
    }
    before = pairs.fingerprint()
    (tmp_path / "c.json").write_text(json.dumps(COCO | {"info": 1}))
    assert pairs.fingerprint() != before
    assert Pairs().fingerprint() == "none"
    (tmp_path / "07.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 2 pictures with captions are not in .*'07\.jpg'"):
        find_pairs(pairs)
    with pytest.raises(InputError, match=r"--pairs\.images is missing"):
        find_pairs(Pairs(captions="c.json"))


def test_the_middle_square_is_kept(tmp_path):
    picture = Image.new("RGB", (30, 10), (255, 0, 0))
    picture.paste((0, 0, 255), (10, 0, 20, 10))
    picture.save(tmp_path / "wide.png")
    assert read_square(tmp_path / "wide.png", 10).float().mean((1, 2)).tolist() == [0, 0, 255]
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_square(tmp_path / "bad.png", 10)


def test_turned_and_deep_pictures(tmp_path):
    picture = Image.new("RGB", (10, 10), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 5, 10, 10))
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read_square(tmp_path / "turned.png", 10)[:, 0, 0].tolist() == [0, 0, 255]
    Image.new("I;16", (10, 10)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        read_square(tmp_path / "deep.png", 10)


def test_a_ragged_last_batch_is_dropped():
    generator = torch.Generator().manual_seed(0)
    for rows, expected in ((10, 2), (3, 1)):
        pictures = CaptionedPictures(torch.zeros(rows, 3, 2, 2, dtype=torch.uint8), [["a"]] * rows)
        assert len(pictures.batches(4, generator)) == expected
