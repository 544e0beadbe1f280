"""What can be proven about a mixture of clean and protected data."""

from __future__ import annotations


def mixture_bayes_error_lower_bound(clean: float, protected: float, ratio: float) -> float:
    """Return the least Bayes error of a mixture: (1 - r) BE(clean) + r BE(protected).

    The Bayes error is concave in the joint distribution of pictures and labels, because E_x max_c p(x, c) is
    convex, so a mixture p = (1 - r) p_clean + r p_protected has at least its parts' weighted mean. It bounds
    the error on pictures drawn from the mixture, and says nothing about accuracy on clean pictures.

    Args:
        clean: Bayes error of the clean distribution.
        protected: Bayes error of the protected distribution.
        ratio: r, the share of protected data.

    Raises:
        ValueError: an argument is not between 0 and 1.
    """
    for name, value in (("clean", clean), ("protected", protected), ("ratio", ratio)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return (1 - ratio) * clean + ratio * protected
