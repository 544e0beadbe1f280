"""From tokens to a map: the up-sampling head, and the whole segmentation model."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.papers.vision.geo.prithvi import EncoderShape, PrithviEncoder, up_blocks


class UpsampleSegHead(nn.Module):
    """Doubles a grid of tokens until it has the size of the pixels, halving the channels each time.

    Tokens [b, t h w, d] become channels d * t + t at [h, w]; each block is a transposed convolution of
    stride 2, dropout, a convolution, batch normalisation and ReLU; dropout and a 1 x 1 convolution end it.

    Args:
        dim: width of the tokens.
        num_frames: dates t.
        num_classes: channels of the map.
        blocks: doublings; the patch size is 2^blocks, or 14 for 4 of them.
        patch_size: 14 gets the kernels 5, 5, 5, 7, with which 16 patches end at 224 pixels.
        dropout: share of channels' values that are dropped in training.
        projection: first bring d * t channels back to d. Not in the paper: the head of three dates
            otherwise has more weights than a small encoder.
    """

    def __init__(
        self,
        dim: int,
        num_frames: int,
        num_classes: int,
        blocks: int = 4,
        patch_size: int = 16,
        *,
        dropout: float = 0.1,
        projection: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.num_frames = dim, num_frames
        width = dim * num_frames
        self.projection = nn.Conv2d(width, dim, 1) if projection and num_frames > 1 else nn.Identity()
        width = dim if projection else width
        kernels = (5, 5, 5, 7) if patch_size == 14 else (3,) * blocks
        layers: list[nn.Module] = []
        for kernel in kernels:
            layers += [
                nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1),
                nn.Dropout(dropout),
                nn.Conv2d(width // 2, width // 2, kernel, padding=1),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
            ]
            width //= 2
        self.up = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.classify = nn.Conv2d(width, num_classes, 1)
        reset_head(self)

    def forward(self, tokens: Float[Tensor, "b n dim"], rows: int) -> Float[Tensor, "b classes h w"]:
        """Return the map of tokens without the class token; `rows` is the height of their grid."""
        grid = tokens.transpose(1, 2).reshape(len(tokens), self.dim * self.num_frames, rows, -1)
        mapped: Tensor = self.classify(self.drop(self.up(self.projection(grid))))
        return mapped


def reset_head(head: nn.Module) -> None:
    """Draw new weights: Kaiming normal by fan-out for convolutions, 0 for biases, 1 and 0 for batch norms."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()


class SegmentationModel(nn.Module):
    """Prithvi's encoder and the up-sampling head: logits [b, classes, h, w] of chips [b, bands, t, h, w].

    Chips are given as they stand in the files; the model normalises them with its mean and deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, shape: EncoderShape, num_classes: int, dropout: float = 0.1, projection: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.num_classes, self.projection = shape, num_classes, projection
        self.encoder = PrithviEncoder(shape)
        sizes = (shape.dim, shape.num_frames, num_classes, up_blocks(shape.patch_size), shape.patch_size)
        self.head = UpsampleSegHead(*sizes, dropout=dropout, projection=projection)
        self.register_buffer("mean", torch.zeros(shape.in_channels))
        self.register_buffer("deviation", torch.ones(shape.in_channels))

    def forward(self, chips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b classes h w"]:
        across = (1, -1, 1, 1, 1)
        pixels = (chips - self.mean.view(across)) / self.deviation.view(across)
        tokens = self.encoder(pixels)[:, 1:]
        mapped: Tensor = self.head(tokens, chips.shape[-2] // self.shape.patch_size)
        return mapped

    def fit_normalisation(self, chips: Float[Tensor, "b c t h w"], no_data: float | None = None) -> None:
        """Set mean and deviation of each band by those of the training chips."""
        self.mean, self.deviation = channel_statistics(chips, no_data)

    def record(self) -> tuple[EncoderShape, int, float, bool, dict[str, Tensor]]:
        """Return what this model consists of."""
        dropout = self.head.drop.p
        return self.shape, self.num_classes, dropout, self.projection, self.state_dict()

    @classmethod
    def from_record(
        cls, record: tuple[EncoderShape, int, float, bool, dict[str, Tensor]]
    ) -> SegmentationModel:
        """Return a model, in evaluation mode, from what it consists of."""
        shape, num_classes, dropout, projection, weights = record
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away
            model = cls(shape, num_classes, dropout, projection)
        model.load_state_dict(weights)
        return model.eval()


def channel_statistics(
    chips: Float[Tensor, "b c t h w"], no_data: float | None = None
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return the mean over chips of each band's mean, and the root of the mean of its variances.

    The latter is the original's definition: less than the deviation of all pixels together. Pixels without
    data are left out.
    """
    values = chips.flatten(2)
    there = torch.ones_like(values, dtype=torch.bool) if no_data is None else values != no_data
    counts = there.sum(dim=2).clamp(min=1)
    means = torch.where(there, values, 0).sum(dim=2) / counts
    squares = torch.where(there, (values - means[..., None]) ** 2, 0).sum(dim=2) / counts
    known = there.any(dim=2)
    weight = known.sum(dim=0).clamp(min=1)
    mean = torch.where(known, means, 0).sum(dim=0) / weight
    variance = torch.where(known, squares, 0).sum(dim=0) / weight
    return mean, variance.sqrt().clamp(min=1e-6)
