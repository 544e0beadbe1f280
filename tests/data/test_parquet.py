from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.data import Table, text
from assay.data.parquet import read_hub
from assay.data.places import Place
from assay.errors import InputError


def png(brightness: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("L", (4, 4), brightness).save(buffer, "PNG")
    return buffer.getvalue()


def save(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def refused(source: str, **roles: Any) -> str:
    with pytest.raises(InputError) as error:
        Table(source, **roles).load()
    return str(error.value)


# --- Parquet ------------------------------------------------------------------------------------


def test_a_parquet_file_is_read_with_any_column_types(tmp_path: Path) -> None:
    path = save(
        tmp_path / "rows.parquet",
        {
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "label": pa.array(["x", "y", "x"]).dictionary_encode(),
            "views": pa.array(["v", "w", "v"], pa.string_view()),
            "price": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
            "f": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
        },
    )
    table = Table(f"parquet:{path}", features=("f",)).load()
    assert list(table.rows["text"]) == ["a", "b", "a"]
    assert table.label_names == ("x", "y")
    assert table.rows[0]["views"] == "v"
    np.testing.assert_array_equal(table.matrix(), [[1, 2]] * 3)
    assert "column 'price' is empty in 1 of 3 rows (row 2)" in refused(f"parquet:{path}", label="price")


def test_classes_keep_the_names_that_a_file_has_for_them(tmp_path: Path) -> None:
    names = ["zebra", "ant", "never"]
    rows = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "class": [1, 0]},
        features=datasets.Features(
            {"text": datasets.Value("string"), "class": datasets.ClassLabel(names=names)}
        ),
    )
    rows.to_parquet(tmp_path / "train.parquet")
    save(tmp_path / "other.parquet", {"text": ["c", "d"], "class": ["zebra", "ant"]})
    table = Table(f"parquet:{tmp_path}/train.parquet", test=f"parquet:{tmp_path}/other.parquet").load()
    assert table.label_names == tuple(names)
    assert table.labels().tolist() == [1, 0]
    assert table.labels(table.test).tolist() == [0, 1]


def test_a_class_number_without_a_name_is_refused(tmp_path: Path) -> None:
    feature = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = datasets.Dataset(
        pa.table({"text": ["x", "y"], "label": [0, 5]}), info=datasets.DatasetInfo(features=feature)
    )
    rows.to_parquet(tmp_path / "rows.parquet")
    words = refused(f"parquet:{tmp_path}/rows.parquet")
    assert "column 'label' has the class number 5 but only 2 names of classes" in words


def test_named_classes_of_a_test_file_are_matched_by_name_not_number(tmp_path: Path) -> None:
    for file, names in (("train", ["a", "b"]), ("test", ["b", "a"])):
        feature = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
        )
        rows = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=feature)
        rows.to_parquet(tmp_path / f"{file}.parquet")
    table = Table(f"parquet:{tmp_path}").load()
    assert table.labels().tolist() == [0, 1]
    assert table.labels(table.test).tolist() == [1, 0]


def test_a_folder_gives_its_train_and_test_splits(tmp_path: Path) -> None:
    save(tmp_path / "train-00000-of-00002.parquet", {"text": ["a", "b"], "label": [0, 1]})
    save(tmp_path / "train-00001-of-00002.parquet", {"text": ["c"], "label": [1]})
    save(tmp_path / "validation.parquet", {"text": ["v"], "label": [1]})
    table = Table(f"parquet:{tmp_path}").load()
    assert list(table.rows["text"]) == ["a", "b", "c"]
    assert table.test_name == "validation"
    save(tmp_path / "test.parquet", {"text": ["t"], "label": [1]})
    table = Table(f"parquet:{tmp_path}").load()
    assert table.test is not None
    assert (table.test_name, list(table.test["text"])) == ("test", ["t"])
    other = save(tmp_path / "other/own.parquet", {"text": ["o"], "label": [0]})
    table = Table(f"parquet:{tmp_path}", test=f"parquet:{other}").load()
    assert table.test is not None
    assert (table.test_name, list(table.test["text"])) == (f"parquet:{other}", ["o"])
    as_test = Table(f"parquet:{other.parent.parent}/train-00000-of-00002.parquet", test=f"parquet:{tmp_path}")
    assert len(as_test.load().test or ()) == 1


def test_a_folder_may_be_laid_out_as_on_a_hub(tmp_path: Path) -> None:
    save(tmp_path / "data/train-00000-of-00001.parquet", {"text": ["a", "b"], "label": [0, 1]})
    assert len(Table(f"parquet:{tmp_path}").load().rows) == 2


def test_a_test_split_whose_labels_are_hidden_is_passed_over(tmp_path: Path) -> None:
    names = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "p"])}
    )
    for split, labels in (("train", [0, 1]), ("validation", [1, 1]), ("test", [-1, -1])):
        datasets.Dataset.from_dict({"text": ["x", "y"], "label": labels}, features=names).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    assert Table(f"parquet:{tmp_path}").load().test_name == "validation"
    (tmp_path / "validation.parquet").unlink()
    table = Table(f"parquet:{tmp_path}").load()
    assert (table.test, table.test_name) == (None, None)
    words = refused(f"parquet:{tmp_path}/train.parquet", test=f"parquet:{tmp_path}/test.parquet")
    assert "test.parquet: column 'label' is empty in 2 of 2 rows" in words


def test_what_is_no_usable_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet")
    assert "cannot be read as Parquet" in refused(f"parquet:{tmp_path}/text.parquet")
    empty = save(tmp_path / "none.parquet", {"text": pa.array([], pa.string())})
    assert "has no rows" in refused(f"parquet:{empty}")
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert "more than one column called 'text'" in refused(f"parquet:{tmp_path}/twice.parquet")
    kind = pa.map_(pa.string(), pa.int32())
    odd = save(tmp_path / "odd.parquet", {"text": ["a"], "m": pa.array([[("k", 1)]], kind)})
    assert "column 'm' has the type map<string, int32" in refused(f"parquet:{odd}")


def test_folders_on_the_way_add_no_columns(tmp_path: Path) -> None:
    path = save(tmp_path / "label=1/rows.parquet", {"text": ["a"]})
    assert Table(f"parquet:{path}").load().rows.column_names == ["text"]


def test_a_folder_without_a_train_split_shows_how_to_name_one(tmp_path: Path) -> None:
    assert "holds no Parquet file. Expected train.parquet" in refused(f"parquet:{tmp_path}")
    save(tmp_path / "a.parquet", {"text": ["x"]})
    assert len(Table(f"parquet:{tmp_path}").load().rows) == 1
    save(tmp_path / "b.parquet", {"text": ["x"]})
    assert f"It has: a, b. Name one: parquet:{tmp_path}/SPLIT.parquet." in refused(f"parquet:{tmp_path}")


def test_pictures_in_a_table_are_decoded(tmp_path: Path) -> None:
    pictures = [{"bytes": png(10), "path": "a.png"}, {"bytes": png(200), "path": None}]
    path = save(tmp_path / "rows.parquet", {"img": pictures, "label": [0, 1]})
    assert [image.getpixel((0, 0)) for image in Table(f"parquet:{path}").load().rows["image"]] == [10, 200]
    raw = save(tmp_path / "raw.parquet", {"photo": [png(7), png(8)], "label": [0, 1]})
    assert Table(f"parquet:{raw}", image="photo").load().rows[1]["image"].getpixel((0, 0)) == 8


def test_pictures_in_a_table_must_be_whole_and_inside_it(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    outside = {"bytes": None, "path": str(tmp_path / "secret.png")}
    inside = {"bytes": png(1), "path": "a.png"}
    path = save(tmp_path / "path.parquet", {"image": [inside, outside], "label": [0, 1]})
    assert "column 'image' has no content but only a path in row 2" in refused(f"parquet:{path}")
    broken = {"bytes": b"no picture", "path": None}
    path = save(tmp_path / "broken.parquet", {"image": [inside, broken], "label": [0, 1]})
    assert "column 'image', row 2 is no readable picture" in refused(f"parquet:{path}")


def test_paths_in_columns_without_a_role_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    outside = {"bytes": None, "path": str(tmp_path / "secret.png")}
    features = datasets.Features(
        {"text": datasets.Value("string"), "photos": datasets.List(datasets.Image())}
    )
    datasets.Dataset(
        pa.table(
            {"text": ["a"], "photos": pa.array([[outside]], features.arrow_schema.field("photos").type)}
        ),
        info=datasets.DatasetInfo(features=features),
    ).to_parquet(tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    if table["photos"][0].as_py()[0]["bytes"] is not None:  # the writer embeds what it can reach
        photos = pa.array([[outside]], table.schema.field("photos").type)
        pq.write_table(table.set_column(1, table.schema.field("photos"), photos), tmp_path / "rows.parquet")
    assert Table(f"parquet:{tmp_path}/rows.parquet").load().rows[0]["photos"] == [outside]


# --- the hub ------------------------------------------------------------------------------------


def split(labels: list[int]) -> datasets.Dataset:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    texts = [f"text {number}" for number in range(len(labels))]
    return datasets.Dataset.from_dict({"sentence": texts, "label": labels}, features=features)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Stand in for the hub: answer with splits, or raise, and keep what was asked."""

    def answer(result: Any) -> list[tuple[Any, ...]]:
        asked = []

        def load_dataset(*arguments: Any, **options: Any) -> Any:
            asked.append((arguments, options))
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return asked

    return answer


def test_a_hub_set_is_asked_for_by_name_config_and_revision(hub) -> None:
    asked = hub(datasets.DatasetDict(train=split([0, 1, 1]), validation=split([1]), test=split([-1])))
    table = Table("hub:nyu-mll/glue/sst2@main").load()
    assert asked == [(("nyu-mll/glue", "sst2"), {"revision": "main"})]
    assert table.rows.column_names == ["text", "label"]
    assert table.labels().tolist() == [0, 1, 1]
    assert table.test_name == "validation"


def test_a_split_of_a_hub_set_can_be_named(hub) -> None:
    hub(datasets.DatasetDict(full=split([0, 1, 1, 0]), part=split([0, 1])))
    assert len(Table("hub:a/b#part").load().rows) == 2
    assert "It has: full, part. Name one: hub:a/b#SPLIT." in refused("hub:a/b")
    assert "has no split 'prat'" in refused("hub:a/b#prat")
    hub(datasets.DatasetDict(test=split([0, 1])))
    assert len(Table("hub:a/b").load().rows) == 2


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError(
            "Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."
        ),
        ValueError("BuilderConfig 'x' not found. Available: ['y']"),
        RuntimeError("Dataset scripts are no longer supported, but found b.py"),
        ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"),
    ],
)
def test_a_hub_set_that_cannot_be_loaded_is_one_line(hub, error: Exception) -> None:
    hub(error)
    words = refused("hub:a/b/x")
    assert words.startswith(f"hub:a/b/x cannot be loaded: {str(error).rstrip('.')}. Check its name")
    assert "\n" not in words


def test_the_real_loader_reads_a_folder_laid_out_as_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name, labels in (("train", [0, 1, 0]), ("test", [1, 1])):
        save(
            tmp_path / f"set/data/{name}-00000-of-00001.parquet",
            {"text": ["x"] * len(labels), "label": labels},
        )
    splits = read_hub(Place("hub", str(tmp_path / "set"), "hub:me/set"))
    assert splits.main.table["label"].to_pylist() == [0, 1, 0]
    assert splits.tests["test"].table["label"].to_pylist() == [1, 1]


def test_nothing_is_downloaded_unless_the_source_says_hub(hub, tmp_path: Path) -> None:
    asked = hub(RuntimeError("no network"))
    path = save(tmp_path / "rows.parquet", {"text": ["a", "b"], "label": [0, 1]})
    for source in (f"parquet:{path}", "bundled:iris"):
        Table(source).load()
    assert asked == []


def test_local_files_leave_nothing_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    path = save(tmp_path / "rows.parquet", {"text": ["a", "b"], "label": [0, 1]})
    table = Table(f"parquet:{path}").load()
    assert table.rows.cache_files == []
    assert not cache.exists()


# --- what pandas and other writers leave --------------------------------------------------------


def test_the_index_of_a_frame_is_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"m1": np.arange(20) / 7, "label": ["a"] * 10 + ["b"] * 10}).drop(index=[3])
    frame.to_parquet(tmp_path / "index.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "index.parquet").names
    table = Table(f"parquet:{tmp_path}/index.parquet").load(("features", "label"))
    assert table.feature_names == ("m1",)
    frame.set_index(pd.Index([5, *range(18)], name="patient")).to_parquet(tmp_path / "named.parquet")
    assert Table(f"parquet:{tmp_path}/named.parquet", group="patient").load().rows["group"][:2] == [5, 0]


def test_the_index_of_a_frame_on_the_hub_is_no_feature(hub) -> None:
    rows = datasets.Dataset.from_dict({"m1": [0.1, 0.2], "__index_level_0__": [0, 1], "label": ["a", "b"]})
    hub(datasets.DatasetDict(train=rows))
    assert Table("hub:org/name").load().feature_names == ("m1",)


def test_parts_with_whole_numbers_of_other_widths_are_one_table(tmp_path: Path) -> None:
    for part, kind in enumerate((pa.int8(), pa.int64(), pa.uint16())):
        columns = {"text": ["a", "b"], "n": pa.array([part, 100], kind), "label": ["x", "y"]}
        save(tmp_path / f"train-0000{part}-of-00003.parquet", columns)
    assert list(Table(f"parquet:{tmp_path}").load().rows["n"]) == [0, 100, 1, 100, 2, 100]


def test_parts_that_are_no_one_table_are_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / f"train-0000{part}-of-00002.parquet" for part in range(2))
    save(first, {"text": ["a"], "n": [2**62 + 1]})
    save(second, {"text": ["b"], "n": [0.5]})
    assert "cannot be read as Parquet: Integer value" in refused(f"parquet:{tmp_path}")
    save(second, {"text": ["b"], "m": [1]})
    assert "have different columns: 'm' is in one of them only" in refused(f"parquet:{tmp_path}")
    save(second, {"text": ["b"], "n": ["c"]})
    assert "cannot be read as Parquet: " in refused(f"parquet:{tmp_path}")


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    broken = pa.array([b"caf\xe9", b"x"]).view(pa.string())
    save(tmp_path / "x.parquet", {"text": broken})
    assert "cannot be read as Parquet: " in refused(f"parquet:{tmp_path}/x.parquet")


def test_a_file_that_unpacks_beyond_all_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "FREE_GROWTH", 1 << 20)
    save(tmp_path / "bomb.parquet", {"label": np.zeros(1 << 20, np.int64)})
    assert "unpacks to more than 200 times its size" in refused(f"parquet:{tmp_path}/bomb.parquet")
