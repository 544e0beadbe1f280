"""Hard partitions of each class into subclasses: what LELP's directions are compared with."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

Partition = Literal["kmeans", "agglomerative", "tsne", "random"]
MOST_ROWS = 4000


def partition_classes(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    n_subclasses: int,
    method: Partition,
    seed: int = 0,
) -> Int[Tensor, " n"]:
    """Split the rows of every class into S subclasses and return each row's number, 0 to S - 1.

    Args:
        embeddings: the teacher's.
        labels: classes of the rows.
        n_subclasses: S.
        method: "kmeans"; "agglomerative" (Ward); "tsne" (K-means in a two-dimensional t-SNE); "random" (of
            equal size, whatever the embeddings are). The second and third are computed on at most 4,000 rows
            a class; further rows join the nearest centroid.
        seed: of the clustering.

    Raises:
        ValueError: a class has fewer rows than subclasses, or the method is unknown.
    """
    if method not in get_args(Partition):
        raise ValueError(f"method is {method!r}; expected one of {', '.join(get_args(Partition))}.")
    subclasses = torch.zeros(len(labels), dtype=torch.long)
    for label in labels.unique().tolist():
        rows = embeddings[labels == label].double().numpy()
        if len(rows) < n_subclasses:
            raise ValueError(f"Class {label} has {len(rows)} rows; too few for {n_subclasses} subclasses.")
        subclasses[labels == label] = torch.from_numpy(
            _partition(rows, n_subclasses, method, seed + label)
        ).long()
    return subclasses


def known_subclasses(groups: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> tuple[Int[Tensor, " n"], int]:
    """Number known groups inside their classes, 0 to S_c - 1, and return S, the largest S_c.

    Raises:
        ValueError: no class has more than one group.
    """
    subclasses, most = torch.zeros(len(labels), dtype=torch.long), 0
    for label in labels.unique().tolist():
        found, numbers = groups[labels == label].unique(return_inverse=True)
        subclasses[labels == label] = numbers
        most = max(most, len(found))
    if most < 2:
        raise ValueError("Every class has a single group, so the groups are no subclasses.")
    return subclasses, most


def _partition(rows: np.ndarray, n: int, method: Partition, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if method == "random":
        return generator.permutation(len(rows)) % n
    if method == "kmeans":
        return _kmeans(rows, n, seed)
    chosen = rows
    if len(rows) > MOST_ROWS:
        chosen = rows[generator.choice(len(rows), MOST_ROWS, replace=False)]
    if method == "agglomerative":
        numbers = np.asarray(AgglomerativeClustering(n).fit_predict(chosen))
    else:
        perplexity = min(30.0, (len(chosen) - 1) / 3)
        numbers = _kmeans(TSNE(2, perplexity=perplexity, random_state=seed).fit_transform(chosen), n, seed)
    if chosen is not rows:
        centroids = np.stack([chosen[numbers == s].mean(0) for s in range(n)])
        numbers = pairwise_distances_argmin(rows, centroids)
    return np.asarray(numbers)


def _kmeans(rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.asarray(KMeans(n, n_init=4, random_state=seed).fit_predict(rows))
