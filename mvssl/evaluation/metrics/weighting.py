"""Averages over tracks under many weightings at once, which is what the bootstrap asks of a metric."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_weights(weights: ArrayLike | None, tracks: int) -> NDArray[np.float64]:
    """Weights (resamples, tracks), a single row of ones if there are none.

    Raises:
        ValueError: If their shape does not fit or one is negative.
    """
    if weights is None:
        return np.ones((1, tracks))
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != tracks:
        raise ValueError(f"weights {weights.shape} must be (resamples, tracks) for {tracks} tracks")
    if weights.min(initial=0) < 0:
        raise ValueError("weights must not be negative")
    return weights.astype(np.float64)


def ratio(numerator: ArrayLike, denominator: ArrayLike, empty: float) -> NDArray[np.float64]:
    """Elementwise quotient, with ``empty`` where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, empty), where=denominator > 0)


def weighted_mean(values: NDArray[np.float64], weights: ArrayLike | None) -> NDArray[np.float64]:
    """Mean over tracks of values (tracks, ...): (...), or (resamples, ...) with weights."""
    rows = checked_weights(weights, len(values))
    totals = rows.sum(1).reshape(-1, *(1,) * (values.ndim - 1))
    means = ratio(np.tensordot(rows, values, 1), totals, empty=np.nan)
    return means[0] if weights is None else means
