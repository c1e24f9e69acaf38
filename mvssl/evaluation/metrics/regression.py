"""Metrics of numbers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.evaluation.metrics.weighting import checked_weights, ratio


def r2(predicted: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Share of the variance of each target that is predicted; below 0 for worse than the mean.

    Args:
        predicted: (tracks, targets).
        targets: (tracks, targets).
        weights: Optional non-negative weights (resamples, tracks).

    Returns:
        (targets,), or (resamples, targets) with weights. NaN where a target does not vary.

    Raises:
        ValueError: If shapes do not match, a number is not finite or a weight is negative.
    """
    predicted, targets = (np.asarray(part, dtype=np.float64) for part in (predicted, targets))
    if predicted.ndim != 2 or predicted.shape != targets.shape:
        raise ValueError(
            f"predicted {predicted.shape} and targets {targets.shape} must both be (tracks, targets) of the "
            "same shape"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(targets).all()):
        raise ValueError("predicted and targets must be finite")
    rows = checked_weights(weights, len(targets))
    total = rows.sum(1, keepdims=True)
    centred = targets - targets.mean(0)  # near 0, so that the difference of squares below keeps its digits
    squares = rows @ centred**2
    spread = squares - ratio((rows @ centred) ** 2, total, empty=0.0)
    rounding = 1e-12 * squares + total * (1e-14 * np.abs(targets).max(0, initial=0)) ** 2
    varies = spread > rounding
    missed = ratio(rows @ (targets - predicted) ** 2, np.where(varies, spread, 0.0), empty=np.nan)
    return (1 - missed)[0] if weights is None else 1 - missed
