"""What every threshold would have given: quality and cost against the share of rows that Super answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class RoutingCurve:
    """Quality and cost of a pair for each number m = 0..n of rows routed to Super, lowest scores first.

    quality(m) = [Σ_{i ≤ m} super_i + Σ_{i > m} swift_i] / n and cost(m) = base + Σ_{i ≤ m} routed_i / n.
    Equal scores cannot be told apart by a threshold, so only the `cuts` are reachable. Scores that are not
    finite (NaN, ±∞) always go to Super and come first.
    """

    scores: Float[ndarray, " rows"]
    """The scores, in the caller's order; the lowest double where they were not finite."""
    order: Int[ndarray, " rows"]
    """Row numbers by ascending score."""
    gains: Num[ndarray, " cuts"]
    """Σ_{i ≤ m} (super_i − swift_i) for m = 0..n."""
    reachable: Bool[ndarray, " cuts"]
    """True where a threshold routes exactly m rows."""
    swift_total: float
    """Σ swift_i."""
    invalid: int
    """Rows whose score is not finite."""
    base_cost: float | None = None
    """Cost of a row before routing: Swift, and the head if there is one."""
    routed_cost: float | Float[ndarray, " rows"] | None = None
    """What a routed row costs on top; one number, or one for each row."""

    @classmethod
    def measure(
        cls,
        scores: Num[ndarray, " rows"],
        swift_quality: Shaped[ndarray, " rows"],
        super_quality: Shaped[ndarray, " rows"],
        base_cost: float | None = None,
        routed_cost: float | Float[ndarray, " rows"] | None = None,
    ) -> RoutingCurve:
        """Measure the whole curve in O(n log n): one sort of the scores and one cumulative sum.

        Scores are higher where Swift keeps a row; a quality is correct or not, or any number where more is
        better; costs a row are of what always runs, and of what only routed rows pay.

        Raises:
            ValueError: No rows, different lengths, or a quality that is NaN.
        """
        check_columns(scores, swift_quality, super_quality)
        valid = np.isfinite(scores)
        invalid = len(scores) - int(np.count_nonzero(valid))
        if invalid:
            scores = np.where(valid, scores, np.finfo(np.float64).min)
        scores = scores.astype(np.float64, copy=False)
        order = np.argsort(scores)
        distinct = np.diff(scores[order]) > 0
        whole = swift_quality.dtype == super_quality.dtype == bool
        difference = np.subtract(super_quality, swift_quality, dtype=np.int8 if whole else np.float64)
        return cls(
            scores=scores,
            order=order,
            gains=_cumulative(difference[order]),
            reachable=np.concatenate([[invalid == 0], distinct, [True]]),
            swift_total=float(swift_quality.sum()),
            invalid=invalid,
            base_cost=base_cost,
            routed_cost=routed_cost,
        )

    def __repr__(self) -> str:
        """Return one line, not the arrays."""
        return (
            f"RoutingCurve({self.rows} rows, Swift {self.swift_quality:.4g}, Super {self.super_quality:.4g})"
        )

    @property
    def rows(self) -> int:
        """Return n."""
        return len(self.scores)

    @property
    def swift_quality(self) -> float:
        """Return the mean quality of Swift alone."""
        return self.swift_total / self.rows

    @property
    def super_quality(self) -> float:
        """Return the mean quality of Super alone."""
        return (self.swift_total + float(self.gains[-1])) / self.rows

    @cached_property
    def cuts(self) -> Int[ndarray, " reachable"]:
        """Return the reachable numbers of routed rows, ascending; the last is n."""
        return np.flatnonzero(self.reachable)

    @cached_property
    def share(self) -> Float[ndarray, " reachable"]:
        """Return the share of rows that Super answers, at each cut."""
        return self.cuts / self.rows

    @cached_property
    def quality(self) -> Float[ndarray, " reachable"]:
        """Return the joint quality at each cut."""
        return self.quality_of(self.cuts)

    @cached_property
    def cost(self) -> Float[ndarray, " reachable"] | None:
        """Return the mean cost of a row at each cut; None where costs were not given."""
        return self.cost_of(self.cuts)

    def quality_of(self, routed: Int[ndarray, " some"]) -> Float[ndarray, " some"]:
        """Return the joint quality for some numbers of routed rows."""
        quality: ndarray = (self.swift_total + self.gains[routed]) / self.rows
        return quality

    def cost_of(self, routed: Int[ndarray, " some"]) -> Float[ndarray, " some"] | None:
        """Return the mean cost of a row for some numbers of routed rows; None where costs were not given."""
        if self.base_cost is None or self.routed_cost is None:
            return None
        if isinstance(self.routed_cost, ndarray):
            spent: ndarray = _cumulative(self.routed_cost.take(self.order))[routed] / self.rows
        else:
            spent = routed * (self.routed_cost / self.rows)
        return self.base_cost + spent

    @cached_property
    def thresholds(self) -> Float[ndarray, " reachable"]:
        """Return the threshold of each cut."""
        return self.thresholds_of(self.cuts)

    def threshold(self, routed: int) -> float:
        """Return t with exactly `routed` rows below it: −∞ is "Swift only", +∞ "Super only"."""
        return float(self.thresholds_of(np.array([routed]))[0])

    def thresholds_of(self, routed: Int[ndarray, " some"]) -> Float[ndarray, " some"]:
        """Return thresholds for some reachable numbers of routed rows, halfway between their neighbours."""
        last = self.rows - 1
        below = self.scores[self.order[np.maximum(routed - 1, 0)]].astype(np.float64)
        above = self.scores[self.order[np.minimum(routed, last)]].astype(np.float64)
        middle = below + (above - below) / 2
        thresholds: ndarray = np.where(
            middle > below, middle, above
        )  # neighbours may have no double between them
        thresholds[routed == self.invalid] = -np.inf
        thresholds[routed == self.rows] = np.inf
        return thresholds

    def match(self, floor: float) -> int:
        """Return the fewest routed rows with quality ≥ floor; all rows if none reaches it."""
        needed = floor * self.rows - self.swift_total - 1e-9 * max(1.0, abs(self.swift_total))
        enough = (self.gains >= needed) & self.reachable
        return int(np.argmax(enough)) if enough.any() else self.rows

    def afford(self, budget: float) -> int:
        """Return the fewest routed rows that give the best quality at a mean cost ≤ budget."""
        if self.cost is None:
            raise ValueError("A budget needs costs: give the cost of Swift and of Super.")
        affordable = self.cost <= budget * (1 + 1e-12)
        if not affordable.any():
            raise ValueError(
                f"A budget of {budget:g} a row is below the cheapest routing, {self.cost.min():g}."
            )
        return int(self.cuts[np.argmax(np.where(affordable, self.quality, -np.inf))])

    def at_most(self, share: float) -> int:
        """Return the most routed rows whose share is ≤ `share`: t is the share-quantile of the scores."""
        if not 0 <= share <= 1:
            raise ValueError(f"The share of Super must be between 0 and 1, got {share}.")
        position = int(np.searchsorted(self.cuts, share * self.rows + 1e-9, side="right")) - 1
        return int(self.cuts[max(position, 0)])

    def quality_at_share(self, share: float) -> float:
        """Return the quality when exactly this share goes to Super, equal scores being split at random."""
        return float(np.interp(share, self.share, self.quality))

    def cost_to_reach(self, level: float) -> float | None:
        """Return the least cost with quality ≥ level; None if it is never reached or costs are unknown."""
        if self.cost is None:
            return None
        reached = self.cost[self.quality >= level - 1e-12]
        return float(reached.min()) if len(reached) else None

    def area(self) -> float:
        """Return the mean quality over Super shares from 0 to 1; below the least share, the quality there."""
        share, quality = np.concatenate([[0.0], self.share]), np.concatenate([self.quality[:1], self.quality])
        return float(np.trapezoid(quality, share))

    def points(self, limit: int = 257) -> dict[str, list[float]]:
        """Return at most `limit` cuts, evenly spread over the shares and with both ends, ready for a file."""
        spread = np.linspace(0, self.rows, limit).round().astype(np.int64)
        routed = np.unique([cut + np.argmax(self.reachable[cut:]) for cut in spread.tolist()])
        columns = {
            "threshold": self.thresholds_of(routed),
            "super_share": routed / self.rows,
            "quality": self.quality_of(routed),
        }
        cost = self.cost_of(routed)
        if cost is not None:
            columns["cost"] = cost
        return {name: column.tolist() for name, column in columns.items()}


def _cumulative(values: Num[ndarray, " rows"]) -> Num[ndarray, " cuts"]:
    """Return the sums of the first m values for m = 0..n, exact for whole numbers."""
    return np.concatenate([[0], np.cumsum(values)])


def check_columns(*columns: ndarray) -> None:
    """Refuse columns of different lengths or without rows, and a quality (any but the first) that is NaN."""
    lengths = [len(column) for column in columns]
    if min(lengths) == 0 or len(set(lengths)) > 1:
        raise ValueError(f"Scores and qualities must be as many, and at least one; got {lengths}.")
    if any(np.isnan(column).any() for column in columns[1:] if column.dtype != bool):
        raise ValueError("A quality is NaN. Say how good each answer is, for instance 0 where there is none.")
