"""ResNet-18 for small pictures."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) with the stem for small pictures: a 3x3 convolution and no pooling.

    Args:
        channels: of the images.
        classes: number of outputs.
        width: channels of the first stage; 64 is the published network.

    Shapes: [n, channels, h, w] to [n, classes]; `features` gives [n, 8 * width].
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        size_in = width
        for stage, size in enumerate((width, 2 * width, 4 * width, 8 * width)):
            for block in range(2):
                blocks.append(ResidualBlock(size_in, size, stride=2 if stage and not block else 1))
                size_in = size
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(8 * width, classes)

    def features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Give the input of the last layer: each channel's mean over the positions."""
        maps: Tensor = self.body(self.stem(images))
        return maps.mean((-2, -1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Give the logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added, brought to shape by a 1x1 convolution."""

    def __init__(self, size_in: int, size: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(size_in, size, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(size),
            nn.ReLU(),
            nn.Conv2d(size, size, 3, padding=1, bias=False),
            nn.BatchNorm2d(size),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or size_in != size:
            self.shortcut = nn.Sequential(
                nn.Conv2d(size_in, size, 1, stride, bias=False), nn.BatchNorm2d(size)
            )

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Give relu(body(x) + shortcut(x))."""
        return relu(self.body(maps) + self.shortcut(maps))
