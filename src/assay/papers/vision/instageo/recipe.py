"""How InstaGeo is run: chips from scenes and points, a teacher, students by depth, rasters and a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import InputError, refusals
from assay.paper import Value
from assay.papers.vision.instageo.artefact import PredictionMap, Segmenter, find_segmenter
from assay.papers.vision.instageo.chipping import Parts, Rows, cut_chips, open_chips, parts_of
from assay.papers.vision.instageo.config import Backbone, Compress, Cut, Distil, Fidelity, Map
from assay.papers.vision.instageo.learning import (
    Plan,
    build_teacher,
    measure,
    pack_parts,
    score,
    student_of,
    train_teacher,
    train_with,
)
from assay.papers.vision.instageo.method import (
    EncoderShape,
    EnergyMeter,
    SegmentationModel,
    StaticMap,
    choose_depth,
    count_macs,
    count_parameters,
    distinct_colors,
    merge_rasters,
    predict_rasters,
)
from assay.papers.vision.instageo.rebuilding import agreement, cut_for_training
from assay.trial import Trial


def chips(config: Cut, trial: Trial) -> dict[str, Value]:
    """Cut chips out of scenes where and when there are labelled points, and say where points were lost."""
    with refusals():
        found = cut_chips(config, trial, folder_of(trial, "chips"))
    funnel: Any = found.about["funnel"]
    for stage, count in funnel.items():
        trial.progress(f"{stage}: {count}")
    for note in found.about["notes"]:  # type: ignore[attr-defined]
        trial.progress(str(note))
    trial.save("chips", found)
    return {"chips": len(found), **{f"points_{stage.replace(' ', '_')}": n for stage, n in funnel.items()}}


def distil(config: Distil, trial: Trial) -> dict[str, Value]:
    """Fine-tune a teacher, train students of several depths, and keep the smallest that is good enough."""
    parts = parts_of(config, trial)
    teacher, logits = the_teacher(config, parts, trial)
    quality = parts.quality
    depths = [depth for depth in config.depths if depth <= teacher.shape.depth]
    if not depths:
        raise InputError(f"--depths {config.depths}: the teacher has {teacher.shape.depth} blocks.")
    plan = Plan(config.finetune, config.kd_weight, config.ce_weight, config.everywhere)
    meters: dict[int, EnergyMeter] = {}

    def make(depth: int) -> torch.nn.Module:
        distiller, student = student_of(teacher, depth, "teacher", plan, parts, config.keep_blocks)
        trial.progress(f"student of {depth} blocks")
        with EnergyMeter() as meters[depth]:
            return train_with(
                distiller,
                parts,
                plan,
                str(trial.device),
                trial.generator("batches"),
                student,
                logits if plan.kd_weight else None,
            )

    def on_validation(model: torch.nn.Module) -> float:
        return score(model.to(trial.device), parts.validation, parts)[quality]

    chosen = choose_depth(make, depths, on_validation, on_validation(teacher), config.tolerance)
    metrics = measure(chosen.student, teacher, parts, trial)
    of_teacher = score(teacher.to(trial.device), parts.test, parts)[quality]
    report = {
        "depth": chosen.depth,
        "within_tolerance": chosen.within,
        f"validation_{quality}": {"teacher": chosen.teacher_score, **named(chosen.scores)},
        f"test_{quality}": {"teacher": of_teacher, "student": metrics[quality]},
        "parameters": {"teacher": count_parameters(teacher), **named(chosen.students, count_parameters)},
        "multiply_adds": {
            "teacher": count_macs(teacher.cpu(), parts.test.chips),
            **{str(d): count_macs(m.cpu(), parts.test.chips) for d, m in chosen.students.items()},
        },
        "training_seconds": named(meters, lambda meter: meter.seconds),
        "training_joules": named(meters, lambda meter: meter.joules),
        "grams_co2": named(meters, lambda meter: meter.grams(config.grams_per_kwh))
        if config.grams_per_kwh
        else None,
    }
    keep(trial, "student", chosen.student, parts, report)
    keep(trial, "teacher", teacher, parts, {f"test_{quality}": of_teacher})
    if not chosen.within:
        trial.progress(f"no student is within {config.tolerance:g} of the teacher; the best is kept")
    show_maps(trial, chosen.student, parts, "the smallest good student")
    return {**metrics, f"teacher_{quality}": of_teacher, "chosen_depth": chosen.depth}


def compress(config: Compress, trial: Trial) -> dict[str, Value]:
    """Train one student, or take the teacher, and test it on scenes that were not learnt."""
    parts = parts_of(config, trial)
    teacher, logits = the_teacher(config, parts, trial)
    plan = Plan(config.finetune, config.kd_weight, config.ce_weight, config.everywhere)
    model: torch.nn.Module = teacher
    if config.trained == "student":
        distiller, student = student_of(teacher, config.depth, config.start, plan, parts)
        model = train_with(
            distiller,
            parts,
            plan,
            str(trial.device),
            trial.generator("batches"),
            student,
            logits if plan.kd_weight else None,
        )
        trial.count("gradient_steps", plan.steps(len(parts.train)))
    trial.count("labelled_pixels", int((parts.train.labels >= 0).sum()))
    show_maps(trial, model, parts, trial.arm or config.trained)
    keep(trial, "student", model, parts, {"trained": config.trained})
    return dict(measure(model, teacher, parts, trial))


def fidelity(config: Fidelity, trial: Trial) -> dict[str, Value]:
    """Train on chips that ChipCreator, or numpy, has cut, and test on another region's full truth."""
    with refusals():
        made = cut_for_training(config, trial)
    truth = made.truth
    parts = Parts(Rows(*made.learnt), Rows(*truth), Rows(*truth), made.class_names)
    plan = Plan(config.finetune)
    trained = trial.once(
        "model", train_teacher, config.vit, Backbone(), pack_parts(parts, plan), plan, str(trial.device)
    )
    model = build_teacher(config.vit, Backbone(), parts)
    model.load_state_dict(trained["weights"])
    trial.count("gradient_steps", plan.steps(len(parts.train)))
    trial.count("labelled_pixels", int((parts.train.labels >= 0).sum()))
    keep(trial, "student", model, parts, {"cut": config.cut})
    found = score(model.to(trial.device), parts.test, parts)
    return {**found, **agreement(made)}


def map(config: Map, trial: Trial) -> dict[str, Value]:
    """Predict for chips, and write rasters and one self-contained page."""
    segmenter = find_segmenter(config.segmenter)
    out = folder_of(trial, "map")
    with refusals():
        if config.chips.source is None:
            raise InputError("Give the chips to predict for: --chips FOLDER.")
        found = open_chips(config.chips)
        first, _ = found[0]
        segmenter.check(first.shape[0], first.shape[1])
        predictions = predict_rasters(
            segmenter.model.to(trial.device), found, out, config.batch_size, trial.device
        )
        merged = merge_rasters([each.path for each in predictions], out)
        page = None
        if merged:
            names = config.chips.classes or segmenter.class_names
            page = StaticMap(names, config.title).export(predictions, out)
        else:
            trial.progress("no chip has a CRS, so there is no map; the rasters are written")
    listed = PredictionMap(
        out,
        tuple(each.path.name for each in predictions),
        tuple(path.name for path in merged),
        page.name if page else None,
    )
    trial.save("map", listed)
    return {"rasters": len(predictions), "zones": len(merged)}


# --- shared -------------------------------------------------------------------------------------


def the_teacher(
    config: Distil | Compress, parts: Parts, trial: Trial
) -> tuple[SegmentationModel, torch.Tensor | None]:
    """Return the teacher that all arms with these labels share, with its logits on the training chips."""
    plan = Plan(config.finetune, teaches=True)
    trial.progress("teacher")
    trained = trial.once(
        "teacher",
        train_teacher,
        config.vit,
        config.backbone,
        pack_parts(parts, plan),
        plan,
        str(trial.device),
    )
    if config.backbone.source is None:
        teacher = build_teacher(config.vit, config.backbone, parts)
    else:  # its encoder's weights are among those of the stage
        teacher = build_from(config, parts)
    teacher.load_state_dict(trained["weights"])
    return teacher.eval(), trained["logits"]


def build_from(config: Distil | Compress, parts: Parts) -> SegmentationModel:
    """Return a model of a backbone's size without reading its file again."""
    dates, height = parts.train.chips.shape[2:4]
    shape = EncoderShape.prithvi(config.backbone.name, dates, parts.side or height)
    return SegmentationModel(shape, parts.outputs, config.vit.dropout, config.vit.projection)


def keep(trial: Trial, name: str, model: torch.nn.Module, parts: Parts, about: dict[str, Any]) -> None:
    """Keep a trained model for `assay.load`."""
    if trial.out is not None:
        assert isinstance(model, SegmentationModel)
        trial.save(name, Segmenter(model.cpu().eval(), parts.class_names, about))


def named(values: dict[int, Any], read: Any = lambda value: value) -> dict[str, Any]:
    """Return values by depth, as JSON wants them."""
    return {str(depth): read(value) for depth, value in values.items()}


def folder_of(trial: Trial, name: str) -> Path:
    """Return the folder of an artefact that is written as it is made."""
    if trial.out is None:
        raise InputError("This writes files: give a folder with --out.")
    return trial.out / name


def show_maps(trial: Trial, model: torch.nn.Module, parts: Parts, what: str) -> None:
    """Keep a picture of the predicted and the true classes side by side, for two test chips."""
    if parts.regression:
        return
    rows = Rows(parts.test.chips[:2], parts.test.labels[:2])
    colors = [
        tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))
        for text in distinct_colors(len(parts.class_names))
    ]
    palette = np.array([*colors, (255, 255, 255)], np.uint8)
    with torch.no_grad():
        device = next(model.parameters()).device
        predicted = model.eval()(rows.chips.to(device)).argmax(dim=1).cpu()
    tiles = [
        np.concatenate([palette[guess.numpy()], palette[true.numpy()]], axis=1)
        for guess, true in zip(predicted, rows.labels, strict=True)
    ]
    picture = np.concatenate(tiles, axis=0)
    scale = max(1, 384 // picture.shape[1])
    trial.show(
        picture.repeat(scale, axis=0).repeat(scale, axis=1),
        f"{what}: predicted classes (left) and truth (right) of two test chips; white is not observed",
    )
