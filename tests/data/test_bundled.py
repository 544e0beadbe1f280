from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.datasets

from assay.data import Table, docstrings

# --- scikit-learn's tables ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris"])
def test_the_classic_tables_are_scikit_learns(name: str) -> None:
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    table = Table(f"bundled:{name}").load(needs=("features", "label"))
    np.testing.assert_array_equal(table.matrix(), bunch.data)
    np.testing.assert_array_equal(table.labels(), bunch.target)
    assert table.label_names == tuple(map(str, bunch.target_names))
    assert table.feature_names == tuple(bunch.feature_names)
    assert table.test is None


def test_digits_are_pictures_too() -> None:
    table = Table("bundled:digits").load()
    image = np.asarray(table.rows[0]["image"])
    assert image.shape == (8, 8)
    np.testing.assert_array_equal(image, np.round(table.matrix()[0].reshape(8, 8) * 255 / 16))


def test_diabetes_has_a_target_and_no_label() -> None:
    table = Table("bundled:diabetes").load()
    np.testing.assert_array_equal(table.rows["target"][:], sklearn.datasets.load_diabetes().target)
    assert table.label_names == ()
    assert table.rows.column_names == ["target", "features"]
    assert table.matrix().shape == (442, 10)


# --- docstrings ---------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    """Two small packages."""
    sources = {
        "one/core/algebra.py": '''
def solve(a, b):
    """Solve a linear system of equations
    with :func:`~one.lu` or `numpy.linalg`.

    The second paragraph does not count.
    """

def short():
    """Too few words here."""

def _private():
    """This function is private and must not be read."""

class Matrix(Base):
    """A rectangular array of real numbers.

    >>> Matrix()
    """

    def transpose(self):
        """Swap the rows and columns. >>> m.transpose()"""

    def __len__(self):
        """The number of rows of this matrix."""

    async def load(self):
        """matmul(input, other, *, out=None, more=None) -> Tensor"""
''',
        "one/core/copy.py": '''
def again():
    """Swap the rows and columns."""

def both():
    """This sentence stands in both packages."""
''',
        "one/tests/test_x.py": 'def x():\n    """This text is in a test folder."""\n',
        "one/conftest.py": 'def x():\n    """This text is in a test file."""\n',
        "one/_vendor/z.py": 'def x():\n    """This text is by somebody else entirely."""\n',
        "one/broken.py": "def x(:\n",
        "two/__init__.py": '''
def np_pd():
    """Turn a NumPy array, np.array or PyTorchScript tensor into pandas (pd)."""

def both():
    """This sentence stands in both packages."""

def deprecated():
    """.. deprecated:: 1.0 use something else please
    """
''',
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return {"one": tmp_path / "one", "two": tmp_path / "two"}


def test_first_paragraphs_of_public_names_are_read_and_masked(packages: dict[str, Path]) -> None:
    assert docstrings.extract(packages).to_pylist() == [
        {
            "text": "Solve a linear system of equations with lu or library.linalg.",
            "label": "one",
            "group": "one.core.algebra",
            "name": "one.core.algebra.solve",
        },
        {
            "text": "A rectangular array of real numbers.",
            "label": "one",
            "group": "one.core.algebra",
            "name": "one.core.algebra.Matrix",
        },
        {
            "text": "Swap the rows and columns.",
            "label": "one",
            "group": "one.core.algebra",
            "name": "one.core.algebra.Matrix.transpose",
        },
        {
            "text": "Turn a library array, library.array or libraryScript tensor into library (library).",
            "label": "two",
            "group": "two",
            "name": "two.np_pd",
        },
    ]


def test_docstrings_are_kept_and_read_again(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(docstrings, "_folder_of", lambda package: packages.get(package, tmp_path / "none"))
    monkeypatch.setattr(docstrings, "PACKAGES", {"one": "numpy", "two": "scipy"})
    first = docstrings.read_docstrings()
    (kept,) = (tmp_path / "cache/assay").iterdir()
    assert pq.read_table(kept).equals(first)
    monkeypatch.setattr(docstrings, "extract", lambda packages: pytest.fail("extracted twice"))
    assert docstrings.read_docstrings().equals(first)
    monkeypatch.setattr(docstrings, "version", lambda package: "0.0")
    with pytest.raises(pytest.fail.Exception):
        docstrings.read_docstrings()


def test_a_damaged_or_unwritable_cache_does_no_harm(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docstrings, "_folder_of", lambda package: packages[package])
    monkeypatch.setattr(docstrings, "PACKAGES", {"one": "numpy", "two": "scipy"})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = docstrings.read_docstrings()
    (kept,) = (tmp_path / "cache/assay").iterdir()
    kept.write_bytes(b"half a fi")
    assert docstrings.read_docstrings().equals(first)
    assert pq.read_table(kept).equals(first)
    (tmp_path / "file").write_text("in the way")  # a file cannot hold files, whoever asks
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert docstrings.read_docstrings().equals(first)


def test_the_installed_packages_give_thousands_of_texts() -> None:
    rows = docstrings.extract({"numpy": docstrings._folder_of("numpy")}).to_pylist()
    assert len(rows) > 500
    assert len({row["text"] for row in rows}) == len(rows)
    assert all(len(row["text"].split()) >= docstrings.LEAST_WORDS for row in rows)
    assert not any("numpy" in row["text"].lower() for row in rows)
    assert all(row["group"].split(".")[0] == row["label"] for row in rows)


def test_docstrings_load_as_a_table_of_classes(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(docstrings, "_folder_of", lambda package: packages[package])
    monkeypatch.setattr(docstrings, "PACKAGES", {"one": "numpy", "two": "scipy"})
    table = Table("bundled:docstrings").load(needs=("text", "label", "group"))
    assert table.label_names == ("one", "two")
    assert table.labels().tolist() == [0, 0, 0, 1]
    assert set(table.rows.column_names) == {"text", "label", "group", "name"}
    assert os.listdir(tmp_path / "cache/assay")


def test_patches_are_crops_of_ten_pictures_with_captions() -> None:
    table = Table("bundled:patches").load(needs=("image", "label", "text", "group"))
    assert table.test is not None
    assert (len(table.rows), len(table.test), len(table.label_names)) == (3000, 1000, 10)
    assert table.rows[0]["image"].size == (32, 32)
    assert set(np.bincount(table.labels(table.test))) == {100}
    assert not set(table.rows["group"]) & set(table.test["group"])
    columns = {
        split: [int(group.rsplit("-", 1)[1]) for group in rows["group"] if group.startswith("cat-")]
        for split, rows in (("train", table.rows), ("test", table.test))
    }
    assert max(columns["train"]) + 1 < min(columns["test"])  # a strip between them is left out
    assert Table("bundled:patches").load().rows["text"] == table.rows["text"]
