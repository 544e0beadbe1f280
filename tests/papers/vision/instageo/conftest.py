"""A small region on disk and its chips, shared by several tests."""

import json
from pathlib import Path

import pytest

from assay.papers.vision.instageo.method import ChipCreator, StacTree
from assay.papers.vision.instageo.synthetic.region import write_region

from .card_files import small_region


@pytest.fixture(scope="session")
def region(tmp_path_factory):
    """A region in memory, its catalogue on disk, and its points in a file."""
    made = small_region()
    folder = tmp_path_factory.mktemp("raw")
    return made, write_region(made, folder), folder / "points.csv"


@pytest.fixture(scope="session")
def cut(region, tmp_path_factory):
    """The region's chips."""
    _, catalog, points = region
    creator = ChipCreator(
        StacTree(catalog), chip_size=32, mask_types=("cloud",), cloud_coverage=60.0, workers=2
    )
    return creator.create(points, tmp_path_factory.mktemp("cut") / "chips")


@pytest.fixture
def edit_item(region, tmp_path):
    """Copy the region's catalogue without its files' contents, after a change to its items."""

    def edit(change):
        source = Path(region[1]).parent
        for path in source.rglob("*"):
            target = tmp_path / "tree" / path.relative_to(source)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif path.suffix == ".json":
                item = json.loads(path.read_text())
                if item["type"] == "Feature":
                    change(item)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(item))
            elif not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path)
        return tmp_path / "tree" / "catalog.json"

    return edit
