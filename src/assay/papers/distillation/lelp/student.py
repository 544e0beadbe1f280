"""What `assay run lelp` keeps: the student, ready for raw rows, with the projection that taught it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.files import read_json, write_json
from assay.models import ModelSource, load_tokenizer
from assay.training import predict

from .method import PseudoSubclasses
from .networks import BodySpec, Classifier, Raw, TransformerBody, prepare

ENCODER = "encoder"


class DistilledStudent:
    """A classifier of raw texts, feature rows or pictures.

    Args:
        classifier: body and head.
        label_names: the classes in the order of their numbers.
        targets: the projection and temperatures that made its targets; None for other objectives.
    """

    def __init__(
        self, classifier: Classifier, label_names: tuple[str, ...], targets: PseudoSubclasses | None = None
    ) -> None:
        self.classifier = classifier.eval()
        self.label_names = label_names
        self.targets = targets

    def predict(self, rows: Any) -> list[str]:
        """Return the class of each row by name."""
        return [self.label_names[c] for c in self.predict_proba(rows).argmax(1).tolist()]

    def predict_proba(self, rows: Any) -> Float[Tensor, "n c"]:
        """Return the probability of each class.

        Args:
            rows: texts; or a table of numbers (n, d), as an array, a tensor or nested lists; or pictures
                (n, channels, height, width) with values from 0 to 1 in the size they were distilled in.

        Raises:
            ValueError: the rows are of another kind or size than those it was distilled on.
        """
        raw = self._raw(rows)
        return predict(_LogProbs(self.classifier), prepare(self.classifier.spec, raw)).exp()

    def _raw(self, rows: Any) -> Raw:
        spec = self.classifier.spec
        if spec.kind in ("words", "transformer"):
            texts = [rows] if isinstance(rows, str) else list(rows)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("This student reads texts; give a list of strings.")
            return texts
        dimensions = 2 if spec.kind == "mlp" else 4
        table = torch.as_tensor(rows, dtype=torch.float32)
        if table.ndim != dimensions or table.shape[1] != spec.inputs:
            what = "(n, {}) features" if spec.kind == "mlp" else "(n, {}, height, width) pictures"
            raise ValueError(
                f"This student reads {what.format(spec.inputs)}; got shape {tuple(table.shape)}."
            )
        return table

    def save(self, folder: str | Path) -> None:
        """Write student.json, student.safetensors and, with a projection, projection.safetensors."""
        path = Path(folder)
        head = self.classifier.head
        write_json(
            path / "student.json",
            {
                "body": pydantic.TypeAdapter(BodySpec).dump_python(self.classifier.spec, mode="json"),
                "label_names": list(self.label_names),
                "n_subclasses": head.n_subclasses,
            },
        )
        weights = {name: value.cpu().contiguous() for name, value in self.classifier.state_dict().items()}
        if self.classifier.spec.kind == "transformer":
            self._save_encoder(path / ENCODER)
            weights = {name: value for name, value in weights.items() if name.startswith("head.")}
        save_file(weights, path / "student.safetensors")
        if self.targets is not None:
            self.targets.save(path)

    def _save_encoder(self, folder: Path) -> None:
        """Write a transformer and its tokenizer: the student then needs no other folder."""
        spec, body = self.classifier.spec, self.classifier.body
        assert isinstance(body, TransformerBody)
        body.model.save_pretrained(folder)
        load_tokenizer(ModelSource(str(spec.source))).save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path) -> DistilledStudent:
        """Read what `save` wrote."""
        path = Path(folder)
        state = read_json(path / "student.json")
        spec = pydantic.TypeAdapter(BodySpec).validate_python(state["body"])
        names = tuple(state["label_names"])
        if spec.kind == "transformer":
            spec = replace(spec, source=f"folder:{path / ENCODER}")
        classifier = Classifier(spec, len(names), state["n_subclasses"])
        weights = load_file(path / "student.safetensors")
        classifier.load_state_dict(weights, strict=spec.kind != "transformer")
        has_projection = (path / "projection.safetensors").exists()
        return cls(classifier, names, PseudoSubclasses.load(path) if has_projection else None)


class _LogProbs(torch.nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, rows: Tensor) -> Tensor:
        return self.classifier.class_log_probs(rows)
