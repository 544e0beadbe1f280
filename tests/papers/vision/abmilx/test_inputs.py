"""Bags from tables, folders, slides, features and LMDB files, and what is refused."""

import pickle

import datasets
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from assay.data import Table
from assay.errors import InputError
from assay.papers.vision.abmilx.config import Bags, Slides
from assay.papers.vision.abmilx.inputs import bags as bags_module
from assay.papers.vision.abmilx.inputs.bags import BagLoader, Joined
from assay.papers.vision.abmilx.inputs.reading import read_bags
from assay.papers.vision.abmilx.inputs.slides import Slide, tissue
from assay.papers.vision.abmilx.synthetic import GRADE, Instances, draw_bags, read_instances
from papers.vision.abmilx.bag_files import TISSUE, jpeg, patch, write_csv, write_lmdb, write_slide

DIGITS = Table("bundled:digits")
CUT = Slides(patch=32, downsamples=(1.0, 2.0), least_tissue=0.5)
OUTCOME = ("time", "died")


def from_files(source, labels, slides=CUT, pixels=None, survival=None):
    return read_bags(Bags(source, str(labels)), slides, pixels, survival)


def from_table(source, survival=None, **columns):
    return read_bags(Bags(source, **columns), CUT, None, survival)


def refused(message, *given, **more):
    with pytest.raises(InputError, match=message):
        from_files(*given, **more)


class Harmful:
    def __reduce__(self):
        return eval, ("print('this ran')",)


# --- drawn bags ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return read_instances(DIGITS, "8")


def test_drawn_bags_have_as_many_key_instances_as_their_class_says(digits):
    bags = draw_bags(digits, GRADE, 40, np.random.default_rng(0), "train")
    assert np.bincount(bags.labels).tolist() == [10, 10, 10, 10]
    for bag in bags:
        low, high = GRADE.counts[bag.label]
        assert low <= bag.keys.sum() <= high
        flat = bag.read().flatten(1)
        assert len(flat) == 32
    keys = digits.values[digits.labels == digits.key].flatten(1)
    bag = bags.bags[3]
    shown = bag.read().flatten(1)[torch.from_numpy(bag.keys)]
    assert all((keys == row).all(dim=1).any() for row in shown)


def test_bags_that_cannot_be_drawn_are_refused(digits):
    few = Instances(digits.values[:40], digits.labels[:40], digits.key)
    with pytest.raises(InputError, match="cannot be drawn from"):
        draw_bags(few, GRADE, 4, np.random.default_rng(0), "train")
    with pytest.raises(InputError, match=r"--drawn.key: There is no class 'eight'"):
        read_instances(DIGITS, "eight")


# --- tables -------------------------------------------------------------------------------------


def features(bags=6, width=4):
    rng = np.random.default_rng(0)
    return [
        {"bag_id": bag, "bag_label": bag % 2, "group": f"p{bag}", "features": rng.normal(size=width).tolist()}
        for bag in range(bags)
        for _ in range(2 + bag % 3)
    ]


def parquet(path, rows):
    datasets.Dataset.from_list(rows).to_parquet(path)
    return f"parquet:{path}"


def test_rows_with_features_become_bags(tmp_path):
    bags = from_table(parquet(tmp_path / "rows.parquet", features()))
    assert [bag.bag_id for bag in bags] == ["0", "1", "2", "3", "4", "5"]
    assert [len(bag) for bag in bags] == [2, 3, 4, 2, 3, 4]
    assert bags.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert [bag.group for bag in bags][:2] == ["p0", "p1"]
    expected = [row["features"] for row in features() if row["bag_id"] == 1]
    torch.testing.assert_close(bags.bags[1].read(), torch.tensor(expected, dtype=torch.float32))


def test_a_csv_with_columns_of_its_own_names_becomes_bags(tmp_path):
    rows = [{"molecule": f"m{n // 2}", "musk": n // 2, "f1": 0.5 * n, "f2": -n} for n in range(4)]
    source = f"csv:{write_csv(tmp_path / 'musk.csv', rows)}"
    bags = from_table(source, bag="molecule", label="musk")
    assert [bag.bag_id for bag in bags] == ["m0", "m1"]
    assert bags.label_names == ("0", "1")
    assert bags.bags[1].read().tolist() == [[1.0, -2.0], [1.5, -3.0]]


def test_rows_with_pictures_keep_their_places_and_a_test_split(tmp_path):
    kinds = datasets.Features(
        image=datasets.Image(),
        bag_id=datasets.Value("int64"),
        bag_label=datasets.ClassLabel(names=["normal", "tumour"]),
        x=datasets.Value("int64"),
        y=datasets.Value("int64"),
    )
    for part, first in (("train", 0), ("test", 4)):
        rows = [
            {
                "image": Image.fromarray(patch(n, n % 2)),
                "bag_id": first + n // 2,
                "bag_label": n // 2 % 2,
                "x": n,
                "y": 5,
            }
            for n in range(8)
        ]
        datasets.Dataset.from_list(rows, kinds).to_parquet(tmp_path / f"{part}.parquet")
    bags = from_table(f"parquet:{tmp_path}")
    assert bags.label_names == ("normal", "tumour")
    assert [bag.part for bag in bags] == ["train"] * 4 + ["test"] * 4
    assert bags.bags[1].coords.tolist() == [[2, 5], [3, 5]]
    assert np.array_equal(bags.bags[1].read()[1].permute(1, 2, 0).numpy(), patch(3, True))


def test_bad_rows_are_refused(tmp_path):
    rows = features()
    rows[1]["bag_label"] = 1 - rows[1]["bag_label"]
    with pytest.raises(InputError, match="bag '0' have several values of label"):
        from_table(parquet(tmp_path / "two.parquet", rows))
    rows = features()
    rows[2]["features"][0] = float("nan")
    with pytest.raises(InputError, match=r"row 3|NaN|not finite|missing"):
        from_table(parquet(tmp_path / "nan.parquet", rows))
    rows = features()
    rows[2]["bag_label"] = None
    with pytest.raises(InputError, match="bag_label"):
        from_table(parquet(tmp_path / "none.parquet", rows))
    with pytest.raises(InputError, match="no column 'bag_id' that names bags"):
        from_table("bundled:digits")


def test_a_patient_in_both_published_parts_is_refused(tmp_path):
    for part in ("train", "test"):
        rows = [row | {"bag_id": f"{part}{row['bag_id']}"} for row in features()]
        parquet(tmp_path / f"{part}.parquet", rows)
    with pytest.raises(InputError, match="'p0' has bags in train and in test"):
        from_table(f"parquet:{tmp_path}")


def test_a_bag_in_both_published_parts_is_refused(tmp_path):
    for part in ("train", "test"):
        rows = [{name: value for name, value in row.items() if name != "group"} for row in features()]
        parquet(tmp_path / f"{part}.parquet", rows)
    with pytest.raises(InputError, match="two bags '0'"):
        from_table(f"parquet:{tmp_path}")


def test_survival_comes_from_two_columns(tmp_path):
    rows = [row | {"time": 1.5 + row["bag_id"], "died": row["bag_id"] % 2} for row in features()]
    bags = from_table(parquet(tmp_path / "rows.parquet", rows), survival=OUTCOME)
    assert [bag.time for bag in bags] == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert [bag.died for bag in bags] == [False, True] * 3
    with pytest.raises(InputError, match="no column 'months'"):
        from_table(parquet(tmp_path / "rows.parquet", rows), survival=("months", "died"))
    for changes in ({"time": -1.0}, {"died": 2}):
        wrong = [*rows[:2], *(row | changes for row in rows[2:])]
        with pytest.raises(InputError, match=r"row 3: .* must be a number from 0 up, and 0 or 1"):
            from_table(parquet(tmp_path / "wrong.parquet", wrong), survival=OUTCOME)


# --- folders ------------------------------------------------------------------------------------


def test_folders_of_pictures_become_bags(folder_of_bags):
    bags = from_files(f"folder:{folder_of_bags / 'images'}", folder_of_bags / "labels.csv")
    assert len(bags) == 16
    assert bags.label_names == ("normal", "tumour")
    bag = bags.bags[4]
    assert (bag.bag_id, len(bag), bag.sizes, bag.group) == ("bag4", 4, (4, 4), "patient10")
    assert np.array_equal(bag.read(torch.tensor([2]))[0].permute(1, 2, 0).numpy(), patch(42, False))
    assert bag.coords.tolist() == [[0, 0], [12, 0], [24, 0], [36, 0]]
    assert bag.read(torch.tensor([0]), 1).shape == (1, 3, 12, 12)


def test_pictures_are_resized_where_asked(folder_of_bags):
    bags = from_files(f"folder:{folder_of_bags / 'images'}", folder_of_bags / "labels.csv", pixels=6)
    assert bags.bags[0].read().shape == (3, 3, 6, 6)
    assert bags.bags[0].patch == 12  # pixels of the slide, as the coordinates are


def test_bad_folders_are_refused(folder_of_bags, tmp_path):
    images, labels = folder_of_bags / "images", tmp_path / "labels.csv"
    with pytest.raises(InputError, match="name a CSV"):
        read_bags(Bags(f"folder:{images}"), CUT, None)
    refused(
        "none of the 1 slides .* 'bagg1'.*Did you mean 'bag1'",
        f"folder:{images}",
        write_csv(labels, [{"bag": "bagg1", "label": 1}]),
    )
    refused("none of the 1 slides", f"folder:{images}", write_csv(labels, [{"bag": "../..", "label": 1}]))
    (tmp_path / "images" / "a").mkdir(parents=True)
    one = write_csv(labels, [{"bag": "a", "label": 1}])
    refused("bag 'a' has no picture", f"folder:{tmp_path / 'images'}", one)
    (tmp_path / "images" / "a" / "p.png").write_bytes(b"\x89PNG no picture")
    refused("p.png cannot be read as a picture", f"folder:{tmp_path / 'images'}", one)
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a" / "p.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "a" / "q.png")
    with pytest.raises(InputError, match=r"5x4 pixels.*--patches.pixels"):
        from_files(f"folder:{tmp_path / 'images'}", one).bags[0].read()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"bag": "a", "label": ""}], "line 2: the bag 'a' has no label"),
        ([{"bag": "a", "label": 1}, {"bag": "a", "label": 0}], "line 3: an earlier line says something else"),
        ([{"bag": "", "label": 1}], "there is no bag"),
        ([{"name": "a", "label": 1}], "no column 'bag'"),
        ([{"bag": "a", "grade": 1}], "no column 'label'"),
        ([{"bag": "a", "label": 1, "split": "third"}], "the split 'third'"),
        (
            [
                {"bag": "a", "label": 1, "patient": "p", "split": "train"},
                {"bag": "b", "label": 0, "patient": "p", "split": "test"},
            ],
            "'p' has bags in train and in test",
        ),
    ],
)
def test_bad_labels_are_refused(tmp_path, rows, message):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "p.png")
    refused(message, f"folder:{tmp_path}", write_csv(tmp_path / "labels.csv", rows))


@pytest.mark.parametrize(
    "outcome",
    [
        {"time": -1, "died": 1},
        {"time": 3, "died": 2},
        {"time": "soon", "died": 1},
        {"time": "inf", "died": 0},
    ],
)
def test_bad_survival_times_are_refused(tmp_path, outcome):
    path = write_csv(tmp_path / "labels.csv", [{"bag": "a"} | outcome])
    refused("must be a number from 0 up, and 0 or 1", f"folder:{tmp_path}", path, survival=OUTCOME)


def test_labels_in_another_encoding_ragged_or_blank_are_refused(tmp_path):
    path = tmp_path / "labels.csv"
    for content, message in (
        ("bag,label,patient\nb0,a,Müller\n".encode("latin-1"), "labels.csv .*UTF-8"),
        (b"bag,label\nb0,a\nb1,b,c,d\n", "line 3: 4 fields where the header has 2"),
        (b"\n\n", "labels.csv"),
    ):
        path.write_bytes(content)
        refused(message, f"folder:{tmp_path}", path)


def test_sixteen_bits_are_refused_and_orientation_is_kept(tmp_path):
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    (tmp_path / "images" / "b0").mkdir(parents=True)
    Image.fromarray(deep).save(tmp_path / "images" / "b0" / "p_0_0.png")
    labels = write_csv(tmp_path / "labels.csv", [{"bag": "b0", "label": 1}])
    refused("more than 8 bits a channel", f"folder:{tmp_path / 'images'}", labels)
    turned = Image.fromarray(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    turned.save(tmp_path / "images" / "b0" / "p_0_0.png", exif=exif)
    (bag,) = from_files(f"folder:{tmp_path / 'images'}", labels)
    assert bag.read().shape == (1, 3, 8, 4)


# --- the authors' label files -------------------------------------------------------------------


def survival_row(case, slides, time=10.5, died=0, part="train"):
    about = {"Study": "LUAD", "ID": case, "Event": time, "Status": died, "WSI": slides, "RNA": ""}
    return about | {"Label": 2, "Split": part}


@pytest.fixture
def feature_files(tmp_path):
    """Features of four slides, of two cases, as the authors and others save them."""
    folder = tmp_path / "pt_files"
    folder.mkdir()
    tensors = {f"C{n // 2}-DX{n % 2}": torch.arange(6.0).reshape(3, 2) + 10 * n for n in range(4)}
    for name, tensor in list(tensors.items())[:3]:
        torch.save(tensor, folder / f"{name}.pt")
    both = {"features": tensors["C1-DX1"], "coords": torch.tensor([[0, 0], [8, 0], [0, 8]])}
    safetensors.torch.save_file(both, folder / "C1-DX1.safetensors")
    return tmp_path, tensors


def test_a_survival_bag_is_a_case_with_all_its_slides(feature_files):
    folder, tensors = feature_files
    rows = [
        survival_row("C0", "C0-DX0.pt;C0-DX1.pt"),
        survival_row("C1", "C1-DX0.pt", 12.0, 1),
        survival_row("C1", "C1-DX1.pt", 12.0, 1),
        survival_row("C1", "C1-DX1.pt", 12.0, 1),
    ]
    labels = write_csv(folder / "l.csv", rows)
    bags = from_files(f"features:{folder}", labels, survival=OUTCOME)
    assert [(bag.bag_id, len(bag), bag.time, bag.died, bag.group, bag.copies) for bag in bags] == [
        ("C0", 6, 10.5, False, "C0", 1),
        ("C1", 6, 12.0, True, "C1", 2),  # a row that is there twice counts twice
    ]
    whole = torch.cat([tensors["C0-DX0"], tensors["C0-DX1"]])
    assert torch.equal(bags.bags[0].read(), whole)
    assert torch.equal(bags.bags[0].read(torch.tensor([4, 0, 3])), whole[[4, 0, 3]])
    unlisted = [{"ID": "C0", "time": 3, "died": 1}]  # those whose names contain its id
    (bag,) = from_files(f"features:{folder}", write_csv(folder / "l.csv", unlisted), survival=OUTCOME)
    assert torch.equal(bag.read(), whole)


def test_slides_that_are_missing_are_counted(feature_files):
    folder, _ = feature_files
    rows = [survival_row("C0", "C0-DX0.pt;C0-DX7.pt"), survival_row("C9", "C9-DX0.pt")]
    labels = write_csv(folder / "l.csv", rows)
    with pytest.warns(UserWarning, match=r"lacks 2 slides .*'C0-DX7.pt'. 1 of 2 bags are left out"):
        bags = from_files(f"features:{folder}", labels, survival=OUTCOME)
    assert [(bag.bag_id, len(bag)) for bag in bags] == [("C0", 3)]


def test_files_of_features_give_places_and_are_refused_where_they_do_not_fit(feature_files):
    folder, tensors = feature_files
    labels = write_csv(folder / "l.csv", [{"slide": f"C1-DX{n}", "label": n} for n in range(2)])
    plain, placed = from_files(f"features:{folder}", labels)
    assert plain.coords is None
    assert placed.coords.tolist() == [[0, 0], [8, 0], [0, 8]]
    assert torch.equal(placed.read(), tensors["C1-DX1"])
    torch.save(torch.zeros(3, 5), folder / "pt_files" / "C1-DX0.pt")
    refused("width 2, those of .* have 5", f"features:{folder}", labels)
    torch.save(torch.zeros(3), folder / "pt_files" / "C1-DX0.pt")
    refused("no tensor of features", f"features:{folder}", labels)
    (folder / "pt_files" / "C1-DX0.pt").write_bytes(pickle.dumps(Harmful()))
    refused("cannot be read as a file of torch.save", f"features:{folder}", labels)


def test_rows_of_several_slides_are_joined_in_any_order():
    slides = [torch.arange(3), torch.arange(3, 8), torch.arange(8, 9)]
    joined = Joined(tuple(slide.__getitem__ for slide in slides), (3, 5, 1))
    rows = torch.tensor([8, 0, 7, 3, 2, 0])
    assert torch.equal(joined(rows), rows)


def test_sources_without_a_kind_are_refused():
    for source, message in (("bags", "does not say"), ("folder:", "names no place"), ("zip:bags", "zip")):
        with pytest.raises(InputError, match=message):
            Bags(source)


# --- slides -------------------------------------------------------------------------------------


def test_tissue_is_cut_into_patches_with_coordinates_at_two_magnifications(slides):
    bags = from_files(f"slides:{slides / 'slides'}", slides / "labels.csv")
    bag = bags.bags[0]
    assert bag.sizes == (16, 4)  # 128 pixels of tissue in steps of 32 and of 64
    assert bag.extent == (384, 256)
    assert bag.coords.min(axis=0).tolist() == [128, 64]
    assert bag.coords.max(axis=0).tolist() == [224, 160]
    high, low = bag.read(), bag.read(None, 1)
    assert high.shape == (16, 3, 32, 32)
    assert low.shape == (4, 3, 32, 32)
    x, y = bag.coords[5] - [128, 64]
    assert np.array_equal(high[5].permute(1, 2, 0).numpy(), patch(0, False, 128)[y : y + 32, x : x + 32])
    assert np.array_equal(
        low[0].permute(1, 2, 0).numpy(), patch(0, False, 128)[:64:2, :64:2]
    )  # of the second level
    assert bag.thumbnail().size == (384, 256)


def test_a_magnification_between_levels_is_resized(slides):
    slide = Slide(slides / "slides" / "slide0.tiff")
    (corner,) = slide.patches(96, 1.25, 0.5)[:1]
    assert slide.read(corner, 96, 1.25).shape == (96, 96, 3)


def test_fewer_patches_are_spread_over_the_tissue(slides):
    options = Slides(patch=32, downsamples=(1.0,), least_tissue=0.5, most_patches=4)
    (bag, *_) = from_files(f"slides:{slides / 'slides'}", slides / "labels.csv", options)
    assert bag.sizes == (4,)
    assert bag.coords[[0, -1]].tolist() == [[128, 64], [224, 160]]


def test_slides_of_different_scales_are_read_alike_in_microns(slides, tmp_path):
    pixels = np.full((256, 256, 3), TISSUE, dtype=np.uint8)
    pixels[:64, :64] = 245
    for name, resolution in (("fine", 40000), ("coarse", 20000), ("silent", None)):
        write_slide(tmp_path / f"{name}.tiff", pixels, resolution)
    known = write_csv(tmp_path / "k.csv", [{"slide": "fine", "label": 0}, {"slide": "coarse", "label": 1}])
    with pytest.warns(UserWarning, match=r"have 0.25 to 0.5 microns per pixel. Give --slides.microns"):
        from_files(f"slides:{tmp_path}", known)
    options = Slides(patch=32, microns=(0.5,), least_tissue=0.5)
    fine, coarse = from_files(f"slides:{tmp_path}", known, options)
    assert (fine.patch, coarse.patch) == (64, 32)
    assert len(coarse) == 4 * len(fine)
    silent = write_csv(tmp_path / "s.csv", [{"slide": "silent", "label": 0}, {"slide": "fine", "label": 1}])
    with pytest.warns(UserWarning, match=r"1 of 2 slides .*silent.tiff, do not say how many microns"):
        silent_bag, _ = from_files(f"slides:{tmp_path}", silent, options)
    assert silent_bag.patch == 32


def test_glass_is_no_tissue():
    glass = np.full((20, 20, 3), 245, dtype=np.uint8)
    assert not tissue(glass).any()
    assert tissue(np.full((4, 4, 3), TISSUE, dtype=np.uint8)).all()
    glass[5:10, 5:10] = TISSUE
    assert tissue(glass).sum() == 25


def test_slides_that_cannot_be_read_are_refused(slides, tmp_path):
    labels = write_csv(tmp_path / "labels.csv", [{"slide": "broken", "label": 1}])
    (tmp_path / "broken.tiff").write_bytes(b"II*\x00 nothing")
    refused("is no slide that openslide reads", f"slides:{tmp_path}", labels)
    whole = (slides / "slides" / "slide0.tiff").read_bytes()
    (tmp_path / "broken.tiff").write_bytes(whole[: len(whole) // 3])
    refused("no slide|damaged", f"slides:{tmp_path}", labels)
    (tmp_path / "broken.tiff").unlink()
    refused("none of the 1 slides .* 'broken'", f"slides:{tmp_path}", labels)
    write_slide(tmp_path / "broken.tiff", np.full((128, 128, 3), 245, dtype=np.uint8))
    refused("no patch with 50% tissue", f"slides:{tmp_path}", labels)


# --- the authors' files -------------------------------------------------------------------------


def test_tiles_of_the_authors_layout_are_read(packed):
    bags = from_files(f"lmdb:{packed / 'high'},{packed / 'low'}", packed / "labels.csv")
    assert [bag.part for bag in bags] == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert bags.bags[1].sizes == (4, 4)
    assert bags.bags[1].group == "p1"
    tile = bags.bags[1].read(torch.tensor([0]))[0].permute(1, 2, 0).float().numpy()
    assert abs(tile - patch(0, True, 16)).mean() < 12  # as far as JPEG keeps it


def test_tiles_are_downloaded_only_from_the_hub(packed, monkeypatch):
    import huggingface_hub

    asked = {}

    def download(name, **more):
        asked.update(more, name=name)
        return str(packed)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    bags = from_files("lmdb:hub:Dearcat/CPath_Image/high", packed / "labels.csv")
    assert asked == {"name": "Dearcat/CPath_Image", "repo_type": "dataset", "allow_patterns": "high/*"}
    assert len(bags) == 8
    source = Bags("lmdb:hub:Dearcat/CPath_Image/high", str(packed / "labels.csv"))
    assert source.fingerprint().startswith("hub:Dearcat/CPath_Image/high ")


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    write_lmdb(tmp_path / "tiles", {("a", 0): jpeg(patch(0, True))}, {"a": 1})
    import lmdb

    with lmdb.open(str(tmp_path / "tiles")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a-0", pickle.dumps(Harmful()))
    labels = write_csv(tmp_path / "labels.csv", [{"slide": "a", "label": 0}])
    refused(r"a-0: it holds \S+.eval, which is not read", f"lmdb:{tmp_path / 'tiles'}", labels)
    assert "this ran" not in capsys.readouterr().out


def test_a_tile_that_would_crash_numpys_constructors_is_refused(tmp_path):
    forged = (  # an array of 2**40 numbers over two bytes, as an unpickler would build it
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01(L1099511627776L\ntcnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR\x89C\x02abtb."
    )
    write_lmdb(tmp_path / "tiles", {("a", 0): jpeg(patch(0, True))}, {"a": 1})
    import lmdb

    with lmdb.open(str(tmp_path / "tiles")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a-0", forged)
    labels = write_csv(tmp_path / "labels.csv", [{"slide": "a", "label": 0}])
    refused("an array of other numbers than uint8", f"lmdb:{tmp_path / 'tiles'}", labels)


def test_damaged_files_of_tiles_are_refused(packed, tmp_path):
    labels = write_csv(tmp_path / "labels.csv", [{"slide": "case9", "label": 0}])
    refused("none of the 1 slides .* 'case9'.*Did you mean", f"lmdb:{packed / 'high'}", labels)
    refused("There is no LMDB", f"lmdb:{tmp_path / 'none'}", labels)
    (tmp_path / "other").mkdir()
    refused("no LMDB that can be read", f"lmdb:{tmp_path / 'other'}", labels)
    write_lmdb(tmp_path / "tiles", {("case9", 0): b"no picture"}, {"case9": 1})
    refused("case9-0 cannot be read as a picture", f"lmdb:{tmp_path / 'tiles'}", labels)


# --- loading ------------------------------------------------------------------------------------


def test_the_loader_pads_ragged_bags_and_takes_each_once(folder_of_bags, monkeypatch):
    bags = from_files(f"folder:{folder_of_bags / 'images'}", folder_of_bags / "labels.csv")

    def loaded():
        return list(BagLoader(bags, torch.from_numpy(bags.labels), 5, torch.Generator().manual_seed(0)))

    batches = loaded()
    assert [len(targets) for _, _, targets in batches] == [4, 4, 4, 4]  # no last batch of one
    assert sum(int(mask.sum()) for _, mask, _ in batches if mask is not None) == sum(len(bag) for bag in bags)
    monkeypatch.setattr(bags_module, "THREADS", 1)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(batches, loaded(), strict=True))
