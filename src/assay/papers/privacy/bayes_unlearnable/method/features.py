"""Features of pictures under a network, and the gradient of the Bayes error down to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.training.evaluation import mode

from .estimator import BayesErrorEstimator

FeatureLayer = str | Callable[[nn.Module, Tensor], Tensor] | None
"""A layer's name, whose input is taken; a function of network and pictures; None for `network.features`."""


class FeatureMap:
    """The features of pictures under a network: what its last layer is given.

    Args:
        network: used in evaluation mode, so that a picture's features do not depend on the others.
        layer: the name of the layer whose input is taken (such as `fc`), or a function of network and
            pictures. By default `network.features(pictures)`, or the input of the last linear layer.

    Raises:
        ValueError: the network has no such layer.
    """

    def __init__(self, network: nn.Module, layer: FeatureLayer = None) -> None:
        self.network = network
        if layer is None and not callable(getattr(network, "features", None)):
            layer = _last_linear(network)
        if isinstance(layer, str) and layer not in dict(network.named_modules()):
            known = ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"The network has no layer {layer!r}; its parts are {known}.")
        self.layer = layer

    def __call__(self, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return the features of pictures, [n, d]; whether a graph is kept is up to the caller."""
        if self.layer is None:
            features: Tensor = self.network.features(pictures)  # type: ignore[operator]
        elif callable(self.layer):
            features = self.layer(self.network, pictures)
        else:
            features = self._input_of(self.layer, pictures)
        whole = features.flatten(1)  # a kernel of half precision would lose its small differences
        return whole if whole.dtype in (torch.float32, torch.float64) else whole.float()

    def all(self, pictures: Float[Tensor, "n c h w"], batch_size: int = 256) -> Float[Tensor, "n d"]:
        """Return the features of many pictures, batch by batch and without a graph."""
        with mode(self.network, training=False), torch.no_grad():
            return torch.cat([self(batch) for batch in pictures.split(batch_size)])

    def pull_back(
        self, pictures: Float[Tensor, "n c h w"], slope: Float[Tensor, "n d"], batch_size: int = 256
    ) -> Float[Tensor, "n c h w"]:
        """Return the gradient with respect to the pixels, given that with respect to the features.

        One vector-Jacobian product a batch: the graph of one batch is held at a time, whatever n is.
        """
        gradient = torch.empty_like(pictures)
        with mode(self.network, training=False), _frozen(self.network):
            for rows in torch.arange(len(pictures), device=pictures.device).split(batch_size):
                batch = pictures[rows].requires_grad_()
                with torch.enable_grad():
                    features = self(batch)
                (gradient[rows],) = torch.autograd.grad(features, batch, slope[rows])
        return gradient

    def _input_of(self, name: str, pictures: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = self.network.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )
        try:
            self.network(pictures)
        finally:
            hook.remove()
        return seen[-1]


def pixel_gradient(
    features: FeatureMap,
    pictures: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    estimator: BayesErrorEstimator,
    batch_size: int = 256,
) -> tuple[float, Float[Tensor, "n c h w"]]:
    """Return the estimated Bayes error and its exact gradient with respect to the pixels.

    Two passes through the network: features of all pictures without a graph, the kernel's gradient in chunks,
    then one vector-Jacobian product a batch. Beyond the pictures, their features and their gradient, memory
    depends on `batch_size` and the estimator's `chunk`.
    """
    value, slope = estimator.mean_and_gradient(features.all(pictures, batch_size), labels)
    return value, features.pull_back(pictures, slope, batch_size)


def raw_pixels(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return the pixels themselves: the feature layer that needs no network."""
    return pictures.flatten(1)


def _last_linear(network: nn.Module) -> str:
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise ValueError("The network has neither `features` nor a linear layer: name feature_layer.")
    return names[-1]


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Spare the graph what only gradients of weights need."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
