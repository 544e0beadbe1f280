"""The trained slices alone: a small file that turns the original model into the unlearned one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.errors import InputError

_NAME = re.compile(r"(?P<name>.+?)(\[(?P<expert>\d+)\])?")


@dataclass(frozen=True)
class ExpertDelta:
    """New values by the name of the parameter; `name[e]` is expert e of a fused tensor."""

    values: dict[str, Tensor]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(value.numel() for value in self.values.values())

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Write the values into the original model, or one of the same shape.

        Raises:
            InputError: the model has no such parameter, or it has another shape.
        """
        parameters = dict(model.named_parameters())
        places = {name: self._place(parameters, name) for name in self.values}
        for name, value in self.values.items():
            if places[name].shape != value.shape:
                raise InputError(
                    f"The delta has {name} {tuple(value.shape)}, and the model {tuple(places[name].shape)}:"
                    " it was made from another model."
                )
        for name, value in self.values.items():
            places[name].copy_(value)

    @staticmethod
    def _place(parameters: dict[str, nn.Parameter], name: str) -> Tensor:
        match = _NAME.fullmatch(name)
        if match is None or match["name"] not in parameters:
            raise InputError(f"The delta has {name}, and the model does not: it was made from another model.")
        whole = parameters[match["name"]].data
        return whole if match["expert"] is None else whole[int(match["expert"])]

    def save(self, folder: str | Path) -> None:
        """Write `delta.safetensors`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self.values.items()},
            Path(folder) / "delta.safetensors",
        )

    @classmethod
    def load(cls, folder: str | Path) -> ExpertDelta:
        """Read what `save` wrote.

        Raises:
            InputError: there is no delta in the folder.
        """
        file = Path(folder) / "delta.safetensors"
        if not file.exists():
            raise InputError(f"{folder} has no delta.safetensors.")
        return cls(load_file(file))
