"""What all tests share: shapes are checked at run time, one thread, no network, the toy paper."""

from __future__ import annotations

import os
import random
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

install_import_hook(["assay.papers", "assay.models", "assay.training"], "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start every test, with its fixtures, from the same seed: no test passes or fails by chance."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file of an entry's tests in one process, where several run: its tests share what was trained.

    So do the tests of the report, which share a site and a browser.
    """
    for item in items:
        if {"papers", "report"} & set(item.path.parts):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
