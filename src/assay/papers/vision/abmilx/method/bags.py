"""Bags of different sizes in one batch, and random instances of a bag."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


class BagDataset(Protocol):
    """A data set of bags.

    `dataset[i]` is a dict with `bag` (a tensor of instances [n, ...]), `label` (a number), `bag_id` and, for
    maps of the attention, `coords` [n, 2]: what `collate_bags` takes.
    """

    def __len__(self) -> int:
        """Return the number of bags."""
        ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return one bag."""
        ...


class BagBatch(NamedTuple):
    """Several bags as one padded tensor."""

    instances: Shaped[Tensor, "bags instances *shape"]
    mask: Bool[Tensor, "bags instances"]
    labels: Int[Tensor, " bags"]
    bag_ids: tuple[str, ...]


def pad_bags(
    bags: Sequence[Tensor],
) -> tuple[Shaped[Tensor, "bags instances *shape"], Bool[Tensor, "bags instances"]]:
    """Return bags of any sizes as one tensor, filled up with zeros, and a mask that is True for instances.

    Raises:
        ValueError: there is no bag, one is empty, or their instances differ in shape.
    """
    if not len(bags):
        raise ValueError("There are no bags.")
    empty = [number for number, bag in enumerate(bags) if not len(bag)]
    if empty:
        raise ValueError(f"Bag {empty[0]} is empty ({len(empty)} of {len(bags)}). Leave empty bags out.")
    shapes = {tuple(bag.shape[1:]) for bag in bags}
    if len(shapes) > 1:
        raise ValueError(f"The instances of all bags need one shape, not {sorted(shapes)}.")
    sizes = torch.tensor([len(bag) for bag in bags])
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    padded = torch.nn.utils.rnn.pad_sequence(list(bags), batch_first=True)
    return padded, mask.to(padded.device)


def collate_bags(items: Sequence[Mapping[str, Any]]) -> BagBatch:
    """Put bags of a `BagDataset` into one batch; the `collate_fn` of a `DataLoader`.

    Raises:
        ValueError: a bag is empty or has no label, or instances differ in shape.
    """
    unlabelled = [str(item.get("bag_id", n)) for n, item in enumerate(items) if item.get("label") is None]
    if unlabelled:
        raise ValueError(f"The bag {unlabelled[0]!r} has no label.")
    padded, mask = pad_bags([torch.as_tensor(item["bag"]) for item in items])
    labels = torch.tensor([int(item["label"]) for item in items])
    return BagBatch(padded, mask, labels, tuple(str(item.get("bag_id", n)) for n, item in enumerate(items)))


def check_mask(x: Tensor, mask: Tensor | None) -> None:
    """Refuse bags without instances.

    Raises:
        ValueError: the mask does not fit the bags, or a bag is empty or fully masked.
    """
    if x.ndim < 3 or not x.shape[0] or not x.shape[1]:
        raise ValueError(
            f"Bags need the shape [bags, instances, ...] with at least one of each, not {tuple(x.shape)}."
        )
    if mask is None:
        return
    if mask.shape != x.shape[:2]:
        raise ValueError(f"The mask {tuple(mask.shape)} does not fit bags {tuple(x.shape[:2])}.")
    empty = [] if torch.compiler.is_compiling() else (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"Bag {empty[0]} is fully masked ({len(empty)} of {len(x)}). Leave empty bags out.")


@dataclass(frozen=True)
class RandomInstanceSampler:
    """Draw instances of a bag at random, from one or several magnifications (section 3.4).

    Of `size` instances, each magnification but the first gives `floor(share_j size)`, the first what is left
    over; without replacement, and filled up by drawing again where a bag has fewer. The authors' code rounds
    down; the paper says up.

    Args:
        size: S, instances a bag and step.
        shares: one share a magnification; they add up to 1.

    Raises:
        ValueError: a share is not above 0, or they do not add up to 1.
    """

    size: int
    shares: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        whole = math.isclose(sum(self.shares), 1.0, abs_tol=1e-6)
        if self.size < 1 or not self.shares or min(self.shares) <= 0 or not whole:
            raise ValueError(
                f"size={self.size} must be above 0 and shares={tuple(self.shares)} above 0, with the sum 1."
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """How many instances each magnification gives."""
        others = [math.floor(self.size * share + 1e-9) for share in self.shares[1:]]
        return (self.size - sum(others), *others)

    def __call__(
        self, sizes: Sequence[int], generator: torch.Generator | None = None
    ) -> list[Int[Tensor, " drawn"]]:
        """Return the rows to take of each magnification.

        Args:
            sizes: how many instances the bag has at each magnification.
            generator: of the random numbers.

        Raises:
            ValueError: there are other magnifications than shares, or one has no instance.
        """
        if len(sizes) != len(self.shares):
            raise ValueError(
                f"The bag has {len(sizes)} magnifications, but there are {len(self.shares)} shares."
            )
        if min(sizes) < 1:
            raise ValueError(f"A bag with {list(sizes)} instances has an empty magnification.")
        return [draw(total, count, generator) for total, count in zip(sizes, self.counts, strict=True)]


def draw(total: int, count: int, generator: torch.Generator | None = None) -> Int[Tensor, " count"]:
    """Draw `count` of `total` rows without replacement; all of them and some again where there are fewer."""
    rows = torch.randperm(total, generator=generator)[:count]
    if count <= total:
        return rows
    again = torch.randint(total, (count - total,), generator=generator)
    return torch.cat([rows, again])
