"""The protector: pictures are moved, within a norm ball, to where the Bayes error is larger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.models import Training
from assay.papers.privacy.options import LARGEST_EPS, check_eps
from assay.papers.privacy.pictures import Norm, check_unit_range, clip_to_ball
from assay.papers.privacy.victims import SGD, train_network
from assay.training import Compute

from .estimator import BayesErrorEstimator, check_labels
from .features import FeatureLayer, FeatureMap, pixel_gradient, raw_pixels

CLIMBED = replace(SGD, epochs=8)
"""The published training, but for 8 of its 30 epochs."""


@dataclass(frozen=True)
class Step:
    """One ascent step."""

    number: int
    """From 1."""
    bayes_error: float
    """Estimated on the features of the network of this step, before the step."""
    retrained: bool
    """Whether a fresh network was trained for it."""


@dataclass(frozen=True)
class ProtectedDataset:
    """Pictures after protection."""

    images: Float[Tensor, "n c h w"]
    """Within eps of the originals and between 0 and 1."""
    labels: Int[Tensor, " n"]
    """As they were."""
    history: tuple[Step, ...]
    """What each step saw."""


@dataclass
class BayesErrorProtector:
    """Bayes Error Optimisation: projected gradient ascent on the estimated Bayes error.

        maximise BE(phi(X'), y)  over X'  with  |X'_i - X_i| <= eps for every picture

    Each outer step trains a fresh network on the pictures as they now are, takes its penultimate features
    phi, and moves all pictures up the exact gradient of the estimate; then they are projected. Fresh networks
    keep the pictures from fitting one network's features.

    Args:
        make_model: gives a new network with random weights that maps pictures to logits.
        feature_layer: where its features are; see `FeatureMap`. `raw_pixels` needs no network.
        eps: radius of the ball, in pixel values from 0 to 1.
        norm: `linf` or `l2` (of a whole picture).
        outer_steps: ascent steps.
        inner: how each network is trained.
        optimizer: `adamw`, or `sign` for steps of `lr` along the gradient's sign.
        lr: step size, in pixel values.
        weight_decay: of AdamW; the released code has 0.01 there, which darkens the pictures.
        refresh_every: ascent steps on one network before a fresh one is trained; 0 trains one only.
        estimator: of the Bayes error.
        batch_size: pictures in one pass through the network in the gradient.
        compute: device and precision of training; by default the pictures' device and float32.
    """

    make_model: Callable[[], nn.Module]
    feature_layer: FeatureLayer = None
    eps: float = 8 / 255
    norm: Norm = "linf"
    outer_steps: int = 30
    inner: Training = CLIMBED
    optimizer: Literal["adamw", "sign"] = "adamw"
    lr: float = 1.5 / 255
    weight_decay: float = 0.0
    refresh_every: int = 1
    estimator: BayesErrorEstimator = field(default_factory=BayesErrorEstimator)
    batch_size: int = 256
    compute: Compute | None = None

    def __post_init__(self) -> None:
        if self.outer_steps < 0 or self.refresh_every < 0 or self.batch_size < 1:
            raise ValueError(
                "outer_steps and refresh_every must be at least 0 and batch_size at least 1, got"
                f" {self.outer_steps}, {self.refresh_every} and {self.batch_size}"
            )
        if self.optimizer not in ("adamw", "sign") or not self.lr > 0:
            raise ValueError(
                f"optimizer must be adamw or sign and lr above 0, got {self.optimizer!r}, {self.lr}"
            )

    def fit(
        self,
        images: Float[Tensor, "n c h w"],
        labels: Int[Tensor, " n"],
        generator: torch.Generator,
        on_step: Callable[[Step], Any] | None = None,
    ) -> ProtectedDataset:
        """Protect pictures, on the device where they are.

        Args:
            images: from 0 to 1, not normalised.
            labels: classes from 0.
            generator: draws the weights of the networks and the order of the pictures in their training.
            on_step: called after each step.

        Raises:
            ValueError: pictures or labels are not as described, or eps is 0 or too large for a protection.
        """
        check_unit_range(images)
        check_labels(labels)
        check_eps(self.eps, largest=largest_eps(self.norm, images[0].numel()))
        perturbed = images.clone()
        ascend = self._stepper(perturbed)
        features, history = FeatureMap(nn.Identity(), raw_pixels), []
        for number in range(self.outer_steps):
            retrain = number == 0 or (self.refresh_every > 0 and number % self.refresh_every == 0)
            if retrain:
                features = self._features(perturbed, labels, generator)
            value, gradient = pixel_gradient(features, perturbed, labels, self.estimator, self.batch_size)
            ascend(gradient)
            perturbed.copy_(clip_to_ball(perturbed, images, self.eps, self.norm))
            history.append(Step(number + 1, value, retrain))
            if on_step is not None:
                on_step(history[-1])
        return ProtectedDataset(perturbed, labels, tuple(history))

    def _features(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> FeatureMap:
        if self.feature_layer is raw_pixels:
            return FeatureMap(nn.Identity(), raw_pixels)
        network = train_network(self.make_model, self.inner, (images, labels), generator, self.compute)
        return FeatureMap(network, self.feature_layer)

    def _stepper(self, perturbed: Tensor) -> Callable[[Tensor], None]:
        """Return what moves the pictures up a gradient in place."""
        if self.optimizer == "sign":

            def climb(gradient: Tensor) -> None:
                perturbed.add_(gradient.sign(), alpha=self.lr)

            return climb
        optimizer = torch.optim.AdamW([perturbed], self.lr, weight_decay=self.weight_decay, maximize=True)

        def ascend(gradient: Tensor) -> None:
            # That of the sum, as in the released code: the mean's would drown in AdamW's own 1e-8.
            perturbed.grad = gradient.mul_(len(perturbed))
            optimizer.step()

        return ascend


def largest_eps(norm: Norm, numbers: int) -> float:
    """Return the largest radius for pictures of so many numbers; in L2, of the root mean square change."""
    return LARGEST_EPS if norm == "linf" else LARGEST_EPS * numbers**0.5
