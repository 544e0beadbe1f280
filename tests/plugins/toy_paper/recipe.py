"""How the toy paper is run."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from assay.errors import DivergedError, InputError
from assay.trial import Trial
from toy_paper.config import Draw


def draw(config: Draw, trial: Trial) -> dict:
    """Draw numbers that all arms of a seed share, and move them by the arm's mean."""
    if config.trace:
        with Path(config.trace).open("a") as file:
            file.write(f"{trial.seed} {trial.arm}\n")
    time.sleep(config.seconds)
    if trial.arm == "high":
        go_wrong(config.fault)
    noise = trial.once("noise", shared_noise, trial.seed, config.rows, config.inner.scale)
    own = trial.numpy("own").normal(scale=0.1 * config.inner.scale, size=config.rows) * config.mean
    trial.count("draws", 2 * config.rows if config.fault == "unequal" and config.mean else config.rows)
    trial.log(0, score=0.0)
    trial.log(1, score=float(noise.mean() + config.mean))
    if trial.arm == "high":
        trial.show(np.full((8, 8), 128, np.uint8), "a grey field")
    trial.save("draws", {"values": noise + config.mean})
    score = float((noise + own).mean() + config.mean)
    if config.fault == "undeclared":
        return {"score": score, "other": 1.0}
    return {"score": float("nan") if config.fault == "nan" and config.mean else score}


def go_wrong(fault: str) -> None:
    """Fail in the way that was asked for."""
    if fault == "crash":
        raise RuntimeError("this arm fails")
    if fault == "diverge":
        raise DivergedError("this arm fails at gradient step 3")
    if fault == "refuse":
        raise InputError("the toy was given 1, expected 2; give 2.")
    if fault == "missing":
        raise ModuleNotFoundError("No module named 'rasterio.warp'", name="rasterio.warp")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def shared_noise(seed: int, rows: int, scale: float) -> np.ndarray:
    """Return noise that the arms of a seed share."""
    return np.random.default_rng(seed).normal(scale=scale, size=rows)


def across(arms: dict) -> dict:
    """Return how far the arms lie apart."""
    scores = [metrics["score"] for metrics in arms.values()]
    return {"spread": max(scores) - min(scores)}
