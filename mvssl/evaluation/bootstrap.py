"""How far a test result would move with other test tracks: the bootstrap, by weights on the tracks.

A resample is a row of weights that says how often each track was drawn. Metrics that take weights sort each
tag once for all resamples, and methods evaluated under the same weights can be compared pair by pair.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl import seeding

_BLOCK = 2**17  # weights handed to a metric at once: as many as processors keep close by


class Interval(NamedTuple):
    """Both ends of an interval; arrays of one shape."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """One method minus another, with its 95 % interval from the paired test bootstrap."""

    value: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0


def resample_weights(
    tracks: int, resamples: int = 1000, seed: int = 0, groups: ArrayLike | None = None
) -> NDArray[np.uint16]:
    """How often each bootstrap resample draws each track.

    Args:
        tracks: Number of test tracks.
        resamples: Number of resamples.
        seed: Seed of the draws.
        groups: Optional group of each track, such as its artist; a track whose group is empty is a group of
            its own. Whole groups are drawn, as many as there are, since tracks of one artist are more alike
            than tracks of two: treating them as independent would make intervals too narrow. With few
            groups intervals are rough; a single one says nothing: its weights are 0 and its intervals NaN.

    Returns:
        (resamples, tracks).

    Raises:
        ValueError: If there is no track, or not one group per track.
    """
    names = np.full(tracks, "") if groups is None else np.asarray(groups, dtype=str)
    if tracks < 1 or names.shape != (tracks,):
        raise ValueError(f"expected one group for each of at least one track, not {names.shape} for {tracks}")
    alone = np.flatnonzero(names == "")
    labels = np.unique(names, return_inverse=True)[1]
    labels[alone] = tracks + alone
    unique, member = np.unique(labels, return_inverse=True)
    rng = seeding.generator(seed)
    drawn = len(unique) if len(unique) > 1 else 0  # nothing is drawn where nothing could be learned from it
    counts = rng.multinomial(drawn, np.full(len(unique), 1 / len(unique)), size=resamples)
    return counts.astype(np.uint16)[:, member]


def bootstrap_metric(
    metric: Callable[[Any, Any, Any], NDArray[np.float64]],
    scores: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike,
) -> NDArray[np.float64]:
    """A metric of several sets of scores (cells) under the same resamples.

    Args:
        metric: `average_precision`, `roc_auc` or another function of (scores, targets, weights) that gives
            (resamples, tags), or (resamples,) for all tags at once.
        scores: (cells, tracks, tags).
        targets: (tracks, tags) of booleans.
        weights: (resamples, tracks) from `resample_weights`.

    Returns:
        (cells, resamples, tags) or (cells, resamples), NaN where a resample leaves a metric undefined.
    """
    weights = np.asarray(weights)
    blocks = np.array_split(weights, math.ceil(weights.size / _BLOCK))
    return np.stack(
        [np.concatenate([metric(cell, targets, block) for block in blocks]) for cell in np.asarray(scores)]
    )


def interval(
    values: ArrayLike, level: float = 0.95, axis: int = 0, *, estimate: ArrayLike | None = None
) -> Interval:
    """The central interval that holds a share ``level`` of bootstrap values (percentile bootstrap).

    Average precision needs ``estimate``: a track drawn twice ties with itself, which lifts the metric in
    every resample. For random scores of 270 tracks and 25 tags with a prevalence of 0.15 the resamples lie
    0.011 above the test split; as they are, intervals of 95 % hold the expected value in 68 % of all cases,
    moved back in 99 %.

    Args:
        values: Metric in each resample. Undefined values (NaN) are left out; where all are undefined, so are
            both ends.
        level: Share of the values, between 0 and 1.
        axis: Axis of the resamples.
        estimate: The metric on the test split itself, in the shape of ``values`` without ``axis``. If given,
            the interval is moved by the difference to the mean of the resamples, the bootstrap's estimate
            of its own bias.

    Raises:
        ValueError: If ``level`` is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1")
    values = np.asarray(values, dtype=np.float64)
    # The same numbers, but NumPy is much slower when it has to look for NaN.
    quantile = np.nanquantile if np.isnan(values).any() else np.quantile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN
        low, high = quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=axis)
        shift = 0.0 if estimate is None else np.asarray(estimate) - np.nanmean(values, axis=axis)
    return Interval(low + shift, high + shift)
