"""What `assay run ecm` writes: the calibrated circuit, and which encoder it was calibrated with."""

from __future__ import annotations

import json
from pathlib import Path

from assay.models import ModelSource
from assay.papers.theory.ecm.encoding import QuestionEncoder
from assay.papers.theory.ecm.method import Calibration, Demo, DifficultyEstimator, ElectronicCircuitModel


class CalibratedCircuit(ElectronicCircuitModel):
    """A calibrated circuit with its encoder, estimator and pool; see `ElectronicCircuitModel`.

    Args:
        calibration: of the fit.
        source: the encoder.
        pooling: how its token states become an embedding.
        estimator: of the difficulty of unseen questions.
        pool: solved examples to take demonstrations from.
    """

    def __init__(
        self,
        calibration: Calibration,
        source: ModelSource,
        pooling: str,
        estimator: DifficultyEstimator | None = None,
        pool: list[Demo] | None = None,
    ) -> None:
        super().__init__(QuestionEncoder(source, pooling), calibration=calibration, estimator=estimator)
        self.source, self.pooling = source, pooling
        self.pool = tuple(pool or ())

    def save(self, folder: Path) -> None:
        """Write the calibration, the estimator, the pool, and the encoder's name and fingerprint."""
        super().save(folder)
        described = {
            "source": self.source.source,
            "pooling": self.pooling,
            "fingerprint": self.source.fingerprint(),
        }
        (folder / "encoder.json").write_text(json.dumps(described, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: object = None) -> CalibratedCircuit:
        """Read what `save` wrote; the encoder is loaded when it is first used.

        Raises:
            ValueError: the encoder is another than that of the calibration.
        """
        described = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        source = ModelSource(described["source"])
        if source.fingerprint() != described["fingerprint"]:
            raise ValueError(
                f"{source} is not the encoder of the calibration, to which U_W belongs. Calibrate again."
            )
        read = ElectronicCircuitModel.load(folder)
        assert read.calibration is not None
        loaded = cls(read.calibration, source, described["pooling"], pool=list(read.pool))
        if (folder / "estimator.safetensors").exists():
            loaded.estimator = DifficultyEstimator.load(folder, loaded._encoder())
        return loaded
