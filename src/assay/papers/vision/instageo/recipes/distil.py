"""Fine-tune a teacher, train students of several depths, and keep the smallest that is good enough."""

from __future__ import annotations

from assay.errors import InputError
from assay.paper import Value
from assay.papers.vision.instageo.artefact import DepthReport, Segmenter
from assay.papers.vision.instageo.config import Distil
from assay.papers.vision.instageo.evaluation import measure, score, show_maps
from assay.papers.vision.instageo.method import (
    EnergyMeter,
    SegmentationModel,
    choose_depth,
    count_macs,
    count_parameters,
)
from assay.papers.vision.instageo.training import Studies
from assay.trial import Trial


def distil(config: Distil, trial: Trial) -> dict[str, Value]:
    """Fine-tune a teacher, train students of several depths, and keep the smallest that is good enough."""
    studies = Studies.prepare(config, trial)
    split, teacher = studies.split, studies.teacher
    depths = [depth for depth in config.depths if depth <= teacher.shape.depth]
    if not depths:
        raise InputError(f"--depths {config.depths}: the teacher has {teacher.shape.depth} blocks.")
    meters: dict[int, EnergyMeter] = {}

    def train(depth: int) -> SegmentationModel:
        trial.progress(f"student of {depth} blocks")
        with EnergyMeter() as meters[depth]:
            return studies.train_student(depth, trial, keep=config.keep_blocks)

    def on_validation(model: SegmentationModel) -> float:
        return score(model.to(trial.device), split.validation, split)[split.quality]

    chosen = choose_depth(train, depths, on_validation, on_validation(teacher), config.tolerance)
    student = chosen.student
    metrics = measure(student, teacher, split, trial)
    of_teacher = score(teacher.to(trial.device), split.test, split)[split.quality]
    models = {"teacher": teacher.cpu()} | {str(d): model.cpu() for d, model in chosen.students.items()}
    per_kwh = config.grams_per_kwh
    report = DepthReport(
        depth=chosen.depth,
        within_tolerance=chosen.within,
        quality=split.quality,
        validation={"teacher": chosen.teacher_score} | {str(d): s for d, s in chosen.scores.items()},
        test={"teacher": of_teacher, "student": metrics[split.quality]},
        parameters={name: count_parameters(model) for name, model in models.items()},
        multiply_adds={name: count_macs(model, split.test.chips) for name, model in models.items()},
        training_seconds={str(depth): meter.seconds for depth, meter in meters.items()},
        training_joules={str(depth): meter.joules for depth, meter in meters.items()},
        grams_co2={str(depth): meter.grams(per_kwh) for depth, meter in meters.items()} if per_kwh else None,
    )
    trial.save("student", Segmenter(student, split.class_names, report))
    trial.save("teacher", Segmenter(teacher, split.class_names))
    if not chosen.within:
        trial.progress(f"no student is within {config.tolerance:g} of the teacher; the best is kept")
    show_maps(trial, student, split, "the smallest good student")
    return {**metrics, f"teacher_{split.quality}": of_teacher, "chosen_depth": chosen.depth}
