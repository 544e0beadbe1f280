"""One student, or the teacher, tested on scenes that it was not trained on."""

from __future__ import annotations

from assay.paper import Value
from assay.papers.vision.instageo.artefact import Segmenter
from assay.papers.vision.instageo.config import Compress
from assay.papers.vision.instageo.evaluation import measure, show_maps
from assay.papers.vision.instageo.training import Studies
from assay.trial import Trial


def compress(config: Compress, trial: Trial) -> dict[str, Value]:
    """Train one student, or take the teacher, and test it on other scenes."""
    studies = Studies.prepare(config, trial)
    split, model = studies.split, studies.teacher
    if config.trained == "student":
        model = studies.train_student(config.depth, trial, config.start)
        trial.count("gradient_steps", studies.plan.steps(len(split.train)))
    trial.count("labelled_pixels", int((split.train.labels >= 0).sum()))
    show_maps(trial, model, split, trial.arm or config.trained)
    metrics = measure(model, studies.teacher, split, trial)
    trial.save("student", Segmenter(model, split.class_names))
    return dict(metrics)
