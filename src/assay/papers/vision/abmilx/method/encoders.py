"""Patch encoders: any vision model of transformers as a module from pictures to vectors, and augmentation."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class VisionEncoder(nn.Module):
    """A vision model of transformers as a patch encoder.

    What the model gives last is pooled: a map [n, c, h, w] by its mean over the positions, tokens [n, t, c]
    by the first, class token. A ResNet is cut after a stage, the third in the paper: 256 numbers for
    ResNet-18 and 1024 for ResNet-50.

    Args:
        model: such as `transformers.ResNetModel` or `ViTModel`; it is changed when it is cut.
        stages: how many stages stay, of models that have stages; None keeps all.
        mean: what is subtracted from pixels between 0 and 1, one number a channel.
        deviation: what they are divided by then.

    Shapes: pictures [n, c, h, w] with values from 0 to 1 to [n, out_dim].

    Raises:
        ValueError: the model has no stages to cut, or fewer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: nn.Module,
        stages: int | None = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        deviation: tuple[float, ...] = IMAGENET_DEVIATION,
    ) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self.out_dim = int(getattr(config, "hidden_size", 0) or config.hidden_sizes[-1])
        if stages is not None:
            self._cut(stages)
            self.out_dim = int(config.hidden_sizes[stages - 1])
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def _cut(self, stages: int) -> None:
        body = getattr(self.model, "encoder", None)
        there = getattr(body, "stages", None)
        if body is None or not isinstance(there, nn.ModuleList) or not 1 <= stages <= len(there):
            count = f"{len(there)} stages" if isinstance(there, nn.ModuleList) else "no stages"
            raise ValueError(
                f"{type(self.model).__name__} has {count} and cannot be cut after stage {stages};"
                " give stages=None to keep it whole."
            )
        body.stages = there[:stages]

    def forward(self, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return one vector for each picture; grey pictures become RGB."""
        if pictures.shape[1] == 1:
            pictures = pictures.expand(-1, len(self.mean), -1, -1)
        given = (pictures - self.mean) / self.deviation
        body: Any = getattr(self.model, "encoder", None)
        embedder: Any = getattr(self.model, "embedder", None)
        if embedder is not None and hasattr(body, "stages"):
            last: Tensor = body(embedder(given)).last_hidden_state  # without a pooler made for more channels
        else:
            last = self.model(given).last_hidden_state
        return last.mean(dim=(-2, -1)) if last.ndim == 4 else last[:, 0]


class RandomCropFlip(nn.Module):
    """Cut a random square out of each picture, resize it to the whole and flip it both ways at random.

    One resampling for the whole batch. In evaluation mode pictures pass unchanged.

    Args:
        smallest: the least share of the area that is kept, the most is all.
        flips: whether to flip, left-right and up-down, each with probability 1/2.
    """

    def __init__(self, smallest: float = 1.0, flips: bool = True) -> None:
        super().__init__()
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest={smallest} must be above 0 and at most 1.")
        self.smallest, self.flips = smallest, flips

    def forward(self, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return pictures of the same size."""
        if not self.training or (self.smallest == 1 and not self.flips):
            return pictures
        n, device = len(pictures), pictures.device
        side = (self.smallest + (1 - self.smallest) * torch.rand(n, device=device)).sqrt()
        signs = torch.ones(n, 2, device=device)
        if self.flips:
            signs = 1 - 2.0 * torch.randint(2, (n, 2), device=device)
        shift = (2 * torch.rand(n, 2, device=device) - 1) * (1 - side)[:, None]
        theta = torch.zeros(n, 2, 3, device=device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = side * signs[:, 0], side * signs[:, 1], shift
        grid = functional.affine_grid(theta.to(pictures.dtype), list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
