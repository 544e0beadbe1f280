"""Learning rate of Q and temperature that the authors' code uses, by environment, regime and source."""

from __future__ import annotations

from assay.errors import InputError

TUNED: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("ProcMaze-v0", "replay"): {"high": (5e-5, 0.1), "low": (2.5e-5, 1.6)},
    ("ProcMaze-v0", "observation"): {"high": (2e-4, 0.8), "low": (2.5e-5, 0.4)},
    ("ProcMaze-v0", "simulator"): {"high": (1e-4, 0.4), "low": (4e-4, 0.4)},
    ("ProcMaze-v0", "categorical-latent"): {"high": (2e-4, 1.6), "low": (1e-4, 0.8)},
    ("ProcMaze-v0", "gaussian-latent"): {"high": (3.1e-6, 12.8), "low": (3.1e-6, 0.8)},
    ("ButtonGrid-v0", "replay"): {"high": (5e-5, 0.0125), "low": (2.5e-5, 0.1)},
    ("ButtonGrid-v0", "observation"): {"high": (2e-4, 1.6), "low": (5e-5, 0.4)},
    ("ButtonGrid-v0", "simulator"): {"high": (2e-4, 0.0125), "low": (2e-4, 0.0125)},
    ("ButtonGrid-v0", "categorical-latent"): {"high": (1e-4, 0.05), "low": (2e-4, 0.1)},
    ("ButtonGrid-v0", "gaussian-latent"): {"high": (1.25e-5, 0.1), "low": (2.5e-5, 0.8)},
    ("PanFlute-v0", "replay"): {"high": (1e-4, 0.1), "low": (3.125e-6, 0.8)},
    ("PanFlute-v0", "observation"): {"high": (1e-4, 0.4), "low": (2e-4, 0.2)},
    ("PanFlute-v0", "simulator"): {"high": (2e-4, 0.1), "low": (1e-4, 0.1)},
    ("PanFlute-v0", "categorical-latent"): {"high": (8e-4, 0.05), "low": (1.6e-3, 0.05)},
    ("PanFlute-v0", "gaussian-latent"): {"high": (2e-4, 0.1), "low": (2e-4, 0.1)},
}
"""`observation` is the model that predicts the next observation itself."""


def tuned(env: str, source: str, model: str, updates_per_step: int) -> tuple[float, float]:
    """Return the learning rate and the temperature.

    Raises:
        InputError: the authors have not tuned this environment.
    """
    simple = "observation" if model in ("auto", "bernoulli", "gaussian") else model
    found = TUNED.get((env, simple if source == "model" else source))
    if found is None:
        known = ", ".join(sorted({name for name, _ in TUNED}))
        raise InputError(
            f"the authors published no settings for {env}, only for {known}: add --tuning search."
        )
    return found["low" if updates_per_step >= 10 else "high"]
