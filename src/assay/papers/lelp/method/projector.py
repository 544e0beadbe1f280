"""Directions of a teacher's embedding space that its class logits do not express (LELP, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import linalg
from torch import Tensor

CHUNK_ROWS = 8192
RANK_TOLERANCE = 1e-7
FILE_NAME = "projection.safetensors"


class SubspaceProjector:
    """Gives every class S coordinates inside the teacher's embedding space.

    With embeddings h in R^D and the weight W in R^{C x D} of the teacher's last layer (z = W h + b):

        P   = I - W^+ W                                   what the logits already say is removed
        V_c = top S eigenvectors of Cov[P h | y = c]      principal directions of class c, (S, D)
        U_c = Q_c V_c,  Q_c Haar-random in O(S)           equal expected variance, trace / S, for every row
        a_{c,s}(h) = u_{c,s}^T (P h - mu_c) / sigma_c     mu_c = E[P h | y = c]
        sigma_c^2  = mean_s Var[u_{c,s}^T h | y = c]      makes the subclass temperature unit-free

    Since the rows of U_c lie in the range of P, u^T (P h - P m) = u^T (h - m): applying a fitted projector is
    one linear map.

    Args:
        n_subclasses: S, directions per class.
        null_space: remove the directions that W spans (False: P = I).
        rows: "all" removes every row of W; "centered" only their differences, which is all a softmax sees.
        rotate: mix the directions with Q_c (False: Q_c = I, the first direction dominates).
        normalize: divide by sigma_c.
        directions: "principal", or "random" orthonormal ones in the range of P (an ablation).
        seed: of the rotations and of random directions.

    `fit` takes all rows at once; `partial_fit` takes them chunk by chunk and keeps one D x D matrix a class.
    Sums over chunks are float64. Inside a chunk, rows are centred and multiplied in the precision they come in
    (half precision as float32), so float32 input costs a relative 1e-7 of a class's largest variance.
    """

    means: Float64[Tensor, "c d"]
    directions: Float64[Tensor, "c s d"]
    scales: Float64[Tensor, " c"]

    def __init__(
        self,
        n_subclasses: int,
        *,
        null_space: bool = True,
        rows: Literal["all", "centered"] = "all",
        rotate: bool = True,
        normalize: bool = True,
        directions: Literal["principal", "random"] = "principal",
        seed: int = 0,
    ) -> None:
        if n_subclasses < 1:
            raise ValueError(f"n_subclasses is {n_subclasses}; expected at least 1")
        if rows not in ("all", "centered"):
            raise ValueError(f"rows is {rows!r}; expected 'all' or 'centered'")
        if directions not in ("principal", "random"):
            raise ValueError(f"directions is {directions!r}; expected 'principal' or 'random'")
        self.n_subclasses = n_subclasses
        self.null_space = null_space
        self.rows = rows
        self.rotate = rotate
        self.normalize = normalize
        self.kind = directions
        self.seed = seed
        self._weight: Tensor | None = None
        self._moments: list[ClassMoments] = []
        self._solved = False

    def fit(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"],
    ) -> Self:
        """Find the directions of every class from all rows at once.

        Args:
            embeddings: inputs h of the teacher's last linear layer, one row a training example.
            labels: class of each row: the true label, or the teacher's argmax where there is none.
            weight: W of that layer.

        Raises:
            ValueError: NaN or infinite embeddings, a label outside 0..C-1, a class without rows, a class
                with fewer than S + 1 rows or with fewer than S directions of any variance.
        """
        self._weight, self._moments, self._solved = None, [], False
        for rows, row_labels in zip(embeddings.split(CHUNK_ROWS), labels.split(CHUNK_ROWS), strict=True):
            self.partial_fit(rows, row_labels, weight)
        if not self._moments:
            raise ValueError("There are no embeddings to fit: got a table of 0 rows.")
        self._solve()
        return self

    def partial_fit(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"] | None = None,
    ) -> Self:
        """Add a chunk of rows; the directions are found when they are first asked for.

        `weight` is needed with the first chunk only. Errors as in `fit`; those about whole classes are raised
        by the first `transform`.
        """
        if weight is not None:
            self._begin(weight)
        if self._weight is None:
            raise ValueError("The first partial_fit needs `weight`, the (classes, D) weight of the last layer.")
        _check_chunk(embeddings, labels, *self._weight.shape)
        for label in labels.unique().tolist():
            self._moments[label].add(embeddings[labels == label])
        self._solved = False
        return self

    def transform(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c s"]:
        """Return the coordinates a_{c,s}(h) of every row in every class's subspace."""
        self._require_solved()
        if embeddings.shape[1] != self.directions.shape[2]:
            raise ValueError(
                f"Embeddings have {embeddings.shape[1]} dimensions; the projector was fitted on "
                f"{self.directions.shape[2]}."
            )
        center = self.means.mean(0)
        scaled = self.directions / self.scales[:, None, None]
        offsets = torch.einsum("csd,cd->cs", scaled, self.means - center)
        rows = embeddings - center.to(embeddings)
        return torch.einsum("nd,csd->ncs", rows, scaled.to(embeddings)) - offsets.to(embeddings)

    def fit_transform(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"],
    ) -> Float[Tensor, "n c s"]:
        """Fit, and return the coordinates of the same rows."""
        return self.fit(embeddings, labels, weight).transform(embeddings)

    def save(self, folder: str | Path, notes: dict[str, str] | None = None) -> Path:
        """Write means, directions and scales to `folder/projection.safetensors`, settings as its metadata."""
        self._require_solved()
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"means": self.means, "directions": self.directions, "scales": self.scales}
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, self._settings() | (notes or {})
        )
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no `projection.safetensors` in the folder.
            ValueError: the file is not a safetensors file of a projector (a pickle is never read).
        """
        tensors, settings = read_projection(folder)
        projector = cls(
            int(settings["n_subclasses"]),
            null_space=settings["null_space"] == "True",
            rows="centered" if settings["rows"] == "centered" else "all",
            rotate=settings["rotate"] == "True",
            normalize=settings["normalize"] == "True",
            directions="random" if settings["directions"] == "random" else "principal",
            seed=int(settings["seed"]),
        )
        projector.means, projector.directions = tensors["means"], tensors["directions"]
        projector.scales, projector._solved = tensors["scales"], True
        return projector

    def _settings(self) -> dict[str, str]:
        names = ("n_subclasses", "null_space", "rows", "rotate", "normalize", "seed")
        return {name: str(getattr(self, name)) for name in names} | {"directions": self.kind}

    def _begin(self, weight: Tensor) -> None:
        if self._weight is not None:
            if not torch.equal(self._weight, weight):
                raise ValueError("This chunk comes with another `weight` than the first one; call fit to start over.")
            return
        if not torch.isfinite(weight).all():
            raise ValueError("The weight of the last layer has NaN or infinite entries.")
        self._weight = weight.detach().clone()
        self._moments = [ClassMoments(weight.shape[1], weight.device) for _ in range(weight.shape[0])]

    def _require_solved(self) -> None:
        if not self._solved:
            if self._weight is None:
                raise ValueError("This SubspaceProjector is not fitted yet: call fit or partial_fit first.")
            self._solve()

    def _solve(self) -> None:
        assert self._weight is not None
        removed = row_space(self._weight, self.rows) if self.null_space else self._weight.new_zeros(0, 0)
        generator = torch.Generator().manual_seed(self.seed)
        solved = [
            self._solve_class(label, moments, removed, generator) for label, moments in enumerate(self._moments)
        ]
        self.means = torch.stack([moments.mean() for moments in self._moments]).cpu()
        self.directions = torch.stack([directions for directions, _ in solved])
        self.scales = torch.stack([scale for _, scale in solved])
        self._solved = True

    def _solve_class(
        self, label: int, moments: ClassMoments, removed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if moments.count == 0:
            raise ValueError(f"Class {label} has no rows in the fit set; every class needs some.")
        if moments.count < self.n_subclasses + 1:
            raise ValueError(
                f"Class {label} has {moments.count} rows; {self.n_subclasses} subclasses need at least "
                f"{self.n_subclasses + 1}. Lower n_subclasses or give more rows."
            )
        return torch.zeros(0), torch.zeros(0)
