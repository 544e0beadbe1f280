"""Tables that come with installed packages: nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.data.raw import Raw


def versions(name: str) -> list[str]:
    """Return what the content of a bundled table depends on."""
    if name == "docstrings":
        from assay.data import docstrings

        return docstrings.versions()
    return [f"scikit-learn {importlib.metadata.version('scikit-learn')}"]


def read_bundled(name: str) -> Raw:
    """Read a bundled table.

    - breast_cancer (569 rows, 30 features, 2 classes), wine (178, 13, 3), iris (150, 4, 3),
    - digits (1797, 64 features from 0 to 16, 10 classes): also as pictures of 8 by 8 pixels,
    - diabetes (442, 10): the progression after a year as `target`,
    - docstrings: first paragraphs of the documentation of five packages, by package.
    """
    if name == "docstrings":
        from assay.data.docstrings import read_docstrings
        from assay.data.raw import make_raw

        return make_raw(read_docstrings(), "bundled:docstrings")
    return _scikit_learn(name)


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
