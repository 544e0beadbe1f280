"""Predict for chips, and write rasters and one self-contained page."""

from __future__ import annotations

from assay.errors import InputError, refusals
from assay.paper import Value
from assay.papers.vision.instageo.artefact import PredictionMap, find_segmenter
from assay.papers.vision.instageo.config import Map
from assay.papers.vision.instageo.inputs import open_chips
from assay.papers.vision.instageo.method import StaticMap, merge_rasters, predict_rasters
from assay.trial import Trial


def map(config: Map, trial: Trial) -> dict[str, Value]:
    """Predict for chips, and write rasters and one self-contained page."""
    segmenter = find_segmenter(config.segmenter)
    with refusals():
        if config.chips.source is None:
            raise InputError("Give the chips to predict for: --chips FOLDER.")
        found = open_chips(config.chips)
        first, _ = found[0]
        segmenter.check(first.shape[0], first.shape[1])
        out = trial.folder("map")
        predictions = predict_rasters(segmenter.model.to(trial.device), found, out, config.batch_size)
        merged = merge_rasters([each.path for each in predictions], out)
        if merged:
            names = config.chips.classes or segmenter.class_names
            StaticMap(names, config.title).export(predictions, out)
        else:
            trial.progress("no chip has a CRS, so there is no map; the rasters are written")
    trial.save("map", PredictionMap.load(out))
    return {"rasters": len(predictions), "zones": len(merged)}
