"""Tables that come with installed packages: nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from assay.data.raw import Raw, Splits


def versions(name: str) -> list[str]:
    """Return what the content of a bundled table depends on."""
    if name == "docstrings":
        from assay.data import docstrings

        return docstrings.versions()
    if name == "patches":
        from assay.data import patches

        return patches.versions()
    return [f"scikit-learn {importlib.metadata.version('scikit-learn')}"]


def read_bundled(name: str) -> Splits:
    """Read a bundled table.

    - breast_cancer (569 rows, 30 features, 2 classes), wine (178, 13, 3), iris (150, 4, 3),
    - digits (1797, 64 features from 0 to 16, 10 classes): also as pictures of 8 by 8 pixels,
    - diabetes (442, 10): the progression after a year as `target`,
    - docstrings: first paragraphs of the documentation of five packages, by package,
    - patches: crops of ten photographs with captions (3000 and 1000 test rows, 10 classes).
    """
    from assay.data.raw import Splits, make_raw

    if name == "docstrings":
        from assay.data.docstrings import read_docstrings

        return Splits(make_raw(read_docstrings(), "bundled:docstrings"), {})
    if name == "patches":
        from assay.data.patches import read_patches

        train, test = (_with_pictures(table, "bundled:patches") for table in read_patches())
        return Splits(train, {"test": test})
    return Splits(_scikit_learn(name), {})


def _with_pictures(table: pa.Table, name: str) -> Raw:
    import datasets

    from assay.data.raw import make_raw

    raw = make_raw(table, name)
    return replace(
        raw, features=datasets.Features({**raw.features, "image": datasets.Image()}), media_checked=True
    )


def _scikit_learn(name: str) -> Raw:
    import datasets
    import pyarrow as pa
    import sklearn.datasets

    from assay.data.raw import Raw
    from assay.data.svmlight import list_column

    loader: Callable[[], Any] = getattr(sklearn.datasets, f"load_{name}")
    bunch = loader()
    columns: dict[str, Any] = {"features": list_column(bunch.data)}
    features: dict[str, Any] = {"features": datasets.List(datasets.Value("float64"))}
    if name == "diabetes":
        columns["target"] = pa.array(bunch.target)
        features["target"] = datasets.Value("float64")
    else:
        columns["label"] = pa.array(bunch.target, pa.int64())
        features["label"] = datasets.ClassLabel(names=[str(each) for each in bunch.target_names])
    if name == "digits":
        columns["image"] = pa.array([{"bytes": _png(image), "path": None} for image in bunch.images])
        features["image"] = datasets.Image()
        columns["image"] = columns["image"].cast(datasets.Image().pa_type)
    names = tuple(str(each) for each in bunch.feature_names)
    return Raw(
        pa.table(columns),
        datasets.Features(features),
        f"bundled:{name}",
        feature_names=names,
        num_features=len(names),
        media_checked=True,
        regression=name == "diabetes",
    )


def _png(image: Any) -> bytes:
    """Return a picture whose brightness goes from 0 to 16 as an 8-bit PNG."""
    import numpy as np
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
