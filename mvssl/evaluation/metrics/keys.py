"""The weighted score of musical keys."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.data.labels import KEYS
from mvssl.evaluation.metrics.classification import checked_labels
from mvssl.evaluation.metrics.weighting import weighted_mean


def _scores() -> NDArray[np.float64]:
    """What each key (columns) is worth where another is right (rows)."""
    number = np.arange(24)
    tonic, minor = number % 12, number >= 12
    above = (tonic[None] - tonic[:, None]) % 12
    same_mode = minor[None] == minor[:, None]
    relative = above == np.where(minor, 3, 9)[:, None]
    return np.select(
        [
            same_mode & (above == 0),
            same_mode & (above == 7),
            ~same_mode & relative,
            ~same_mode & (above == 0),
        ],
        [1.0, 0.5, 0.3, 0.2],
        0.0,
    )


_SCORES = _scores()


def weighted_key_score(
    predicted: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """The key score of MIREX, as mir_eval has it: near misses count in part.

    The right key counts 1, one a fifth above it 0.5, its relative 0.3 and its parallel key 0.2. (MIREX has
    also counted a fifth below; mir_eval does not.)

    Args:
        predicted: Number of the predicted key of each track in :data:`KEYS`, (tracks,).
        labels: Number of the true key of each track, (tracks,).
        weights: Optional non-negative weights (resamples, tracks).

    Returns:
        A number, or (resamples,) with weights.

    Raises:
        ValueError: If lengths differ, a number is no key or a weight is negative.
    """
    labels = checked_labels("labels", labels, np.size(predicted), len(KEYS))
    predicted = checked_labels("predicted", predicted, len(labels), len(KEYS))
    return weighted_mean(_SCORES[labels, predicted], weights)
