"""Directions of a teacher's embedding space that its class logits do not express (LELP, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from assay.artefact import Artefact

from .moments import ClassMoments, random_rotation, row_space

CHUNK_ROWS = 8192
RANK_TOLERANCE = 1e-7
FITTED = ("means", "directions", "scales")


class SubspaceProjector(nn.Module, Artefact):
    """Gives every class S coordinates inside the teacher's embedding space.

    With embeddings h in R^D and the weight W in R^{C x D} of the teacher's last layer (z = W h + b):

        P   = I - W^+ W                                   what the logits already say is removed
        V_c = top S eigenvectors of Cov[P h | y = c]      principal directions of class c, (S, D)
        U_c = Q_c V_c,  Q_c Haar-random in O(S)           every row has the same expected variance, trace / S
        a_{c,s}(h) = u_{c,s}^T (P h - mu_c) / sigma_c     mu_c = E[P h | y = c]
        sigma_c^2  = mean_s Var[u_{c,s}^T h | y = c]      makes the subclass temperature unit-free

    Since the rows of U_c lie in the range of P, u^T (P h - P m) = u^T (h - m): a fitted projector is one
    linear map. sigma_c is not in the paper, which tunes the subclass temperature per data set.

    `fit` takes all rows at once; `partial_fit` takes them chunk by chunk, in O(D^2) memory a class. It is a
    module (`.to`, `state_dict`) and an estimator (`get_params`, scikit-learn's `clone`).

    Args:
        n_subclasses: S, directions per class.
        null_space: remove the directions that W spans (False: P = I).
        rows: "all" removes every row of W; "centered" only their differences, which is all that a softmax
            sees.
        rotate: mix the directions with Q_c (False: Q_c = I, so the first direction dominates).
        normalize: divide by sigma_c (False: sigma_c = 1).
        directions: "principal", or "random" orthonormal ones in the range of P (an ablation).
        seed: of the rotations and of random directions.

    Attributes (float64, after fitting):
        means: E[h | y = c], (C, D).
        directions: U_c, (C, S, D).
        scales: sigma_c, (C,).
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
        super().__init__()
        if n_subclasses < 1:
            raise ValueError(f"n_subclasses is {n_subclasses}; expected at least 1.")
        for name in FITTED:
            self.register_buffer(name, None)
        self.n_subclasses = n_subclasses
        self.null_space = null_space
        self.rows = rows
        self.rotate = rotate
        self.normalize = normalize
        self.kind = directions
        self.seed = seed
        self._weight: Tensor | None = None
        self._moments: list[ClassMoments] = []
        self._stale = True

    def fit(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"],
    ) -> SubspaceProjector:
        """Find the directions of every class from all rows at once.

        Args:
            embeddings: inputs h of the teacher's last linear layer, one row a training example.
            labels: class of each row: the true label, or the teacher's argmax where there is none.
            weight: W of that layer.

        Raises:
            ValueError: NaN or infinite values, a label outside 0..C-1, a class without rows, with fewer than
                S + 1 rows, or with fewer than S directions that have any variance.
        """
        self._weight, self._moments = None, []
        if len(embeddings) == 0:
            raise ValueError("There are no embeddings to fit: the table has 0 rows.")
        _check_lengths(embeddings, labels)
        for chunk, chunk_labels in zip(embeddings.split(CHUNK_ROWS), labels.split(CHUNK_ROWS), strict=True):
            self.partial_fit(chunk, chunk_labels, weight)
        self._solve()
        return self

    def partial_fit(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"] | None = None,
    ) -> SubspaceProjector:
        """Add a chunk of rows; the directions are found when they are first needed.

        `weight` is needed with the first chunk only. Errors as in `fit`, except that those about whole
        classes come with the first `transform` or `save`.
        """
        if weight is not None:
            self._begin(weight)
        if self._weight is None:
            raise ValueError(
                "The first partial_fit needs `weight`, the (classes, D) weight of the last layer."
            )
        _check_lengths(embeddings, labels)
        _check_values(embeddings, labels, *self._weight.shape)
        for label in labels.unique().tolist():
            self._moments[label].add(embeddings[labels == label])
        self._stale = True
        return self

    def transform(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c s"]:
        """Return the coordinates a_{c,s}(h) of every row in every class's subspace."""
        self._ensure_solved()
        if embeddings.shape[1] != self.directions.shape[2]:
            raise ValueError(
                f"The embeddings have {embeddings.shape[1]} dimensions; "
                f"the projector was fitted on {self.directions.shape[2]}."
            )
        center = self.means.mean(0)  # close to the rows, so that float32 differences keep their digits
        directions = self.directions / self.scales[:, None, None]
        offsets = torch.einsum("csd,cd->cs", directions, self.means - center)
        rows = embeddings - center.to(embeddings)
        return torch.einsum("nd,csd->ncs", rows, directions.to(embeddings)) - offsets.to(embeddings)

    def forward(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c s"]:
        """Return `transform(embeddings)`."""
        return self.transform(embeddings)

    def fit_transform(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        weight: Float[Tensor, "c d"],
    ) -> Float[Tensor, "n c s"]:
        """Fit, and return the coordinates of the same rows."""
        return self.fit(embeddings, labels, weight).transform(embeddings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by the names of the constructor."""
        names = ("n_subclasses", "null_space", "rows", "rotate", "normalize", "seed")
        return {name: getattr(self, name) for name in names} | {"directions": self.kind}

    def set_params(self, **settings: Any) -> SubspaceProjector:
        """Change settings; fit again afterwards."""
        changed = type(self)(**self.get_params() | settings)
        self.__dict__.update(changed.__dict__)
        return self

    def __repr__(self) -> str:
        """Return one line."""
        return f"SubspaceProjector({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the settings, and the means, directions and scales."""
        self._ensure_solved()
        return self.get_params(), dict(self.state_dict())

    @classmethod
    def from_record(cls, record: tuple[dict[str, Any], dict[str, Tensor]]) -> SubspaceProjector:
        """Make the projector of which `record` was returned."""
        settings, fitted = record
        projector = cls(**settings)
        projector.load_state_dict(fitted)
        return projector

    def _save_to_state_dict(self, *arguments: Any) -> None:
        if self._stale and self._weight is not None:
            self._solve()
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        given = {name: state_dict[prefix + name] for name in FITTED if prefix + name in state_dict}
        for name, value in given.items():
            setattr(self, name, torch.empty_like(value))
        self._stale = self._stale and len(given) < len(FITTED)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _begin(self, weight: Tensor) -> None:
        if self._weight is not None:
            if not torch.equal(self._weight, weight):
                raise ValueError("This chunk's `weight` is not the first chunk's. Call fit to start over.")
            return
        if not torch.isfinite(weight).all():
            raise ValueError("The weight of the last layer has NaN or infinite values.")
        self._weight = weight.detach().clone()
        self._moments = [ClassMoments(weight.shape[1]) for _ in weight]

    def _ensure_solved(self) -> None:
        if self._stale and self._weight is None:
            raise ValueError("This SubspaceProjector is not fitted: call fit or partial_fit first.")
        if self._stale:
            self._solve()

    def _solve(self) -> None:
        assert self._weight is not None
        space = row_space(self._weight, centered=self.rows == "centered")
        removed = space if self.null_space else space[:0]
        generator = np.random.default_rng(self.seed)
        solved = [self._solve_class(c, removed.cpu(), generator) for c in range(len(self._moments))]
        self.means = torch.stack([moments.mean().cpu() for moments in self._moments])
        self.directions = torch.stack([directions for directions, _ in solved])
        self.scales = torch.tensor([scale for _, scale in solved], dtype=torch.float64)
        self._stale = False

    def _solve_class(
        self, label: int, removed: Tensor, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        """Return U_c and sigma_c."""
        moments, wanted = self._moments[label], self.n_subclasses
        _check_count(label, moments.count, wanted)
        directions, variances = moments.principal(removed, wanted)
        rank = int((variances > RANK_TOLERANCE * moments.total_variance()).sum())
        if rank < wanted:
            raise ValueError(
                f"The embeddings of class {label} vary in only {rank} directions"
                f"{' outside the span of the logits' if len(removed) else ''}, too few for "
                f"{wanted} subclasses. Lower n_subclasses to {max(rank, 1)} or less."
            )
        rotation = random_rotation(wanted, generator)
        if self.kind == "random":
            directions = random_directions(wanted, removed, generator)
            variances = moments.variances_along(directions)
        elif self.rotate:
            directions = rotation @ directions
        return directions, variances.mean().sqrt().item() if self.normalize else 1.0


def random_directions(
    n: int, removed: Float64[Tensor, "r d"], generator: np.random.Generator
) -> Float64[Tensor, "n d"]:
    """Draw n orthonormal directions uniformly from the complement of the rows of `removed`."""
    gaussian = torch.from_numpy(generator.standard_normal((n, removed.shape[1])))
    q: Tensor = torch.linalg.qr((gaussian - (gaussian @ removed.T) @ removed).T).Q
    return q.T.contiguous()


def _check_lengths(embeddings: Tensor, labels: Tensor) -> None:
    if len(embeddings) != len(labels):
        raise ValueError(f"There are {len(embeddings)} embeddings but {len(labels)} labels.")


def _check_values(embeddings: Tensor, labels: Tensor, n_classes: int, dimensions: int) -> None:
    if embeddings.shape[1] != dimensions:
        raise ValueError(
            f"The embeddings have {embeddings.shape[1]} dimensions but the last layer's weight has "
            f"{dimensions} columns: they are not the input of that layer."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ValueError(
            f"Labels run from {int(labels.min())} to {int(labels.max())}; "
            f"the last layer has {n_classes} rows, so expected 0 to {n_classes - 1}."
        )


def _check_count(label: int, count: int, n_subclasses: int) -> None:
    if count == 0:
        raise ValueError(f"Class {label} has no rows in the fit set; every class needs some.")
    if count <= n_subclasses:
        raise ValueError(
            f"Class {label} has {count} rows; {n_subclasses} subclasses need at least {n_subclasses + 1}. "
            "Lower n_subclasses or give more rows."
        )
