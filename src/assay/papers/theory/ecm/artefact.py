"""What `assay run ecm` writes: the calibrated circuit, and which encoder it was calibrated with."""

from __future__ import annotations

from typing import Any

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.theory.ecm.inputs import QuestionEncoder
from assay.papers.theory.ecm.method import Calibration, ElectronicCircuitModel


class CalibratedCircuit(ElectronicCircuitModel):
    """A calibrated circuit with its encoder, estimator and pool; see `ElectronicCircuitModel`.

    Args:
        calibration: of the fit.
        source: the encoder, which is loaded when it is first used.
        pooling: how its token states become an embedding.
        settings: of `ElectronicCircuitModel`.
    """

    def __init__(self, calibration: Calibration, source: ModelSource, pooling: str, **settings: Any) -> None:
        super().__init__(calibration=calibration, **settings)
        self.source, self.pooling = source, pooling
        self.use(QuestionEncoder(source, pooling))

    def record(self) -> dict[str, Any]:
        """Return what the circuit consists of, and the encoder's name and fingerprint."""
        encoder = {"source": self.source.source, "pooling": self.pooling}
        return super().record() | encoder | {"fingerprint": self.source.fingerprint()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> CalibratedCircuit:
        """Return the circuit.

        Raises:
            InputError: the encoder is another than that of the calibration.
        """
        source = ModelSource(record["source"])
        if source.fingerprint() != record.pop("fingerprint"):
            raise InputError(
                f"{source} is not the encoder of the calibration, to which U_W belongs. Calibrate again."
            )
        loaded = super().from_record(record | {"source": source})
        assert isinstance(loaded, CalibratedCircuit)
        return loaded
