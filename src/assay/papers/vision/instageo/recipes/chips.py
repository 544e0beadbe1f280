"""Cut chips out of scenes where and when there are labelled points."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from assay import files
from assay.errors import refusals
from assay.paper import Value
from assay.papers.vision.instageo.config import Cut
from assay.papers.vision.instageo.inputs import check_sources, make_creator, open_imagery, open_points
from assay.papers.vision.instageo.method import ChipDataset, StacTree, read_points
from assay.papers.vision.instageo.synthetic.region import make_region, write_region
from assay.trial import Trial


def chips(config: Cut, trial: Trial) -> dict[str, Value]:
    """Cut chips out of scenes where and when there are labelled points, and say where points were lost."""
    check_sources(config)
    out = trial.folder("chips")
    folder = Path(files.user_path(config.keep)) if config.keep else out
    with refusals():
        if config.label_rasters.source is not None:
            creator = make_creator(config, open_imagery(config.imagery, config.radar))
            found = creator.create_from_rasters(config.label_rasters.path, folder)
        elif config.points.source is not None:
            points = open_points(config.points, config)
            creator = make_creator(config, open_imagery(config.imagery, config.radar))
            found = creator.create(points, folder)
        else:
            raw = trial.folder("raw")
            region = make_region(config.region.side, config.region.points, trial.numpy("region"), "train")
            creator = make_creator(replace(config, cloud_coverage=100.0), StacTree(write_region(region, raw)))
            found = creator.create(read_points(raw / "points.csv"), folder)
        if folder != out:
            shutil.copytree(folder, out, dirs_exist_ok=True)
            found = ChipDataset.load(out)
    funnel = found.funnel
    for stage, count in funnel.items():
        trial.progress(f"{stage}: {count}")
    for note in creator.notes:
        trial.progress(note)
    trial.save("chips", found)
    return {"chips": len(found), **{f"points_{stage.replace(' ', '_')}": n for stage, n in funnel.items()}}
