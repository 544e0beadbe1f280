"""Speed of cutting chips, of the metrics and of students: `python benchmarks/instageo.py`.

Chips are cut by `ChipCreator` and by opening the scenes anew for each point, as a plain script would; areas
under the ROC curve are counted with one call of bincount and with a loop over pixels. Both take turns.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.warp import transform
from rasterio.windows import Window

from assay.papers.vision.instageo.method import (
    ChipCreator,
    EncoderShape,
    Grid,
    RocHistogram,
    SegmentationModel,
    StacTree,
    count_macs,
    count_parameters,
    prune,
    read_points,
    write_raster,
)
from assay.papers.vision.instageo.synthetic.region import make_region, write_region
from timing import interleaved

CHIP = 128
STEPS = 3


def cutting() -> None:
    """Print chips and points a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        region = make_region(512, 120, np.random.default_rng(0), "train")
        catalog = StacTree(write_region(region, folder))
        points = read_points(folder / "points.csv")

        def create() -> None:
            shutil.rmtree(folder / "chips", ignore_errors=True)
            creator = ChipCreator(catalog, chip_size=CHIP, mask_types=("cloud",), cloud_coverage=100.0)
            creator.create(points, folder / "chips")

        def point_by_point() -> None:
            shutil.rmtree(folder / "plain", ignore_errors=True)
            open_for_each_point(catalog, points, folder / "plain")

        times = interleaved({"ChipCreator": create, "open per point": point_by_point}, 2)
        chips = len(list((folder / "chips" / "chips").iterdir()))
        print(f"{len(points)} points, {chips} chips of {CHIP} pixels, {STEPS} dates of 6 bands and a mask:")
        for way, seconds in times.items():
            print(f"  {way:<15} {seconds:6.2f} s   {len(points) / seconds:7.0f} points a second")
        print(f"  {times['open per point'] / times['ChipCreator']:.1f} times as fast")


def open_for_each_point(catalog: StacTree, points: object, out: Path) -> None:
    """Cut the chip of each point of the first tile: open its files, read the window, write or update it."""
    scenes = [scene for scene in catalog.scenes if scene.id.startswith("T36")][::-1][:STEPS]
    for number in range(len(points)):  # type: ignore[arg-type]
        cut_one(scenes, points, number, out)


def cut_one(scenes: list, points: object, number: int, out: Path) -> None:
    """Cut one point's chip."""
    layers = []
    for scene in scenes:
        for band in scene.bands.values():
            with rasterio.open(band.path) as file:
                place = transform(4326, file.crs, [points.longitude[number]], [points.latitude[number]])
                row, column = file.index(place[0][0], place[1][0])
                if not (0 <= row < file.height and 0 <= column < file.width):
                    return
                corner = (column // CHIP * CHIP, row // CHIP * CHIP)
                layers.append(file.read(1, window=Window(*corner, CHIP, CHIP)))
                grid = Grid(file.crs, file.window_transform(Window(*corner, CHIP, CHIP)), CHIP, CHIP)
        with rasterio.open(scene.mask.path) as file:
            cloudy = file.read(1, window=Window(*corner, CHIP, CHIP)) & 2 > 0
        layers[-6:] = [np.where(cloudy, 0, layer) for layer in layers[-6:]]
    name = f"{corner[0]}_{corner[1]}.tif"
    labels = np.full((CHIP, CHIP), -1, np.int16)
    if (out / f"seg_{name}").exists():
        with rasterio.open(out / f"seg_{name}") as file:
            labels = file.read(1)
    labels[row % CHIP, column % CHIP] = points.label[number]
    if not (out / f"chip_{name}").exists():
        write_raster(out / f"chip_{name}", np.stack(layers), grid, 0)
    write_raster(out / f"seg_{name}", labels[None], grid, -1)


def areas() -> None:
    """Print how long a histogram of probabilities takes."""
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.dirichlet(np.ones(4), 20_000)).float()
    true = torch.from_numpy(random.integers(0, 4, 20_000))

    def loop() -> None:
        counts = np.zeros((4, 2, 1024), np.int64)
        for probabilities, label in zip(rows.tolist(), true.tolist(), strict=True):
            for each, value in enumerate(probabilities):
                counts[each, int(each == label), min(1023, int(value * 1024))] += 1

    times = interleaved({"bincount": lambda: RocHistogram(4).add_probabilities(rows, true), "loop": loop}, 3)
    print("histograms of 20,000 pixels and 4 classes:")
    print(
        f"  {times['bincount'] * 1e3:.1f} ms, pixel by pixel {times['loop'] * 1e3:.0f} ms: "
        f"{times['loop'] / times['bincount']:.0f} times as fast"
    )


def students() -> None:
    """Print size, multiply-adds and time of students."""
    chips = torch.rand(8, 6, 1, 64, 64)
    teacher = SegmentationModel(EncoderShape(), 6).eval()
    models = {depth: prune(teacher, depth).eval() for depth in (8, 4, 2, 1)}
    with torch.no_grad():
        times = interleaved(
            {str(depth): lambda model=model: model(chips) for depth, model in models.items()}, 10
        )
    print("blocks  weights  multiply-adds a chip  ms a chip  times smaller  times faster")
    for depth, model in models.items():
        weights, seconds = count_parameters(model), times[str(depth)]
        print(
            f"{depth:6}  {weights:7,}  {count_macs(model, chips) / 1e6:18.1f} M  {seconds / 8 * 1e3:9.2f}"
            f"  {count_parameters(teacher) / weights:13.2f}  {times['8'] / seconds:12.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    cutting()
    areas()
    students()
