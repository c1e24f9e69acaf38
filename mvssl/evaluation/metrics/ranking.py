"""Ranking metrics of many tags at once, also under many weightings of the tracks (bootstrap).

Ties are treated as scikit-learn treats them: tracks with equal scores enter the ranking together.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.evaluation.metrics.weighting import checked_weights, ratio


class Curve(NamedTuple):
    """Weights along the ranking of one tag, best first, at each group of tied scores with a positive.

    All are (groups, resamples): the positives in the group, all tracks ranked above it, and all tracks
    down to and including it.
    """

    hits: NDArray[np.float64]
    above: NDArray[np.float64]
    through: NDArray[np.float64]


def average_precision(
    scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Average precision of each tag: Σ over thresholds of (gain in recall) × precision.

    Args:
        scores: (tracks, tags); larger means more likely.
        targets: (tracks, tags) of booleans.
        weights: Optional non-negative weights (resamples, tracks), such as how often each bootstrap
            resample drew each track. Each tag is sorted once for all of them.

    Returns:
        (tags,), or (resamples, tags) with weights. NaN where a tag has no positive (of weight above zero).

    Raises:
        ValueError: If shapes do not match, a score is not finite or a weight is negative.
    """
    scores, targets, columns = checked(scores, targets, weights)
    result = np.full((columns.shape[1], scores.shape[1]), np.nan)
    for tag in np.flatnonzero(targets.any(axis=0)):
        _, (hits, _, through) = tie_groups(scores[:, tag], targets[:, tag], columns)
        positives = hits.cumsum(axis=0)
        area = (hits * ratio(positives, through, empty=0.0)).sum(axis=0)
        result[:, tag] = ratio(area, positives[-1], empty=np.nan)
    return result[0] if weights is None else result


def roc_auc(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Area under the ROC curve of each tag: how often a positive outranks a negative, ties counting half.

    Arguments, shapes and errors are those of `average_precision`. NaN where a tag has no positive or no
    negative (of weight above zero).
    """
    scores, targets, columns = checked(scores, targets, weights)
    result = np.full((columns.shape[1], scores.shape[1]), np.nan)
    total = columns.sum(axis=0)
    for tag in np.flatnonzero(targets.any(axis=0)):
        _, (hits, above, through) = tie_groups(scores[:, tag], targets[:, tag], columns)
        positives = hits.sum(axis=0)
        # Against all tracks, positives included, a positive loses to those above it and draws with its
        # group. Among themselves positives lose exactly half of their pairs, which is taken off again.
        lost = (hits * (above + through)).sum(axis=0) / 2 - positives**2 / 2
        result[:, tag] = 1 - ratio(lost, positives * (total - positives), empty=np.nan)
    return result[0] if weights is None else result


def chance_ap(targets: ArrayLike) -> NDArray[np.float64]:
    """The average precision that random scores get on average, exactly, for each tag.

    With P positives among n tracks in random order, the track at rank k is positive with probability
    P/n, and then each of the k − 1 tracks above it with probability (P − 1)/(n − 1). So
    E[AP] = 1/P · Σₖ P/n · (1 + (k − 1)(P − 1)/(n − 1))/k = (H + (P − 1)/(n − 1) · (n − H))/n,
    where H = Σₖ 1/k. This exceeds the prevalence P/n, notably in small test splits (Bestgen, 2015, "Exact
    expected average precision of the random baseline for system evaluation").

    Args:
        targets: (tracks, tags) of booleans.

    Returns:
        (tags,); NaN where a tag has no positive.
    """
    targets = np.asarray(targets, dtype=bool)
    tracks, positives = len(targets), targets.sum(axis=0)
    harmonic = (1 / np.arange(1, tracks + 1)).sum()
    expected = (harmonic + (positives - 1) * (tracks - harmonic) / max(tracks - 1, 1)) / tracks
    return np.where(positives > 0, expected, np.nan)


def macro(values: ArrayLike) -> NDArray[np.float64]:
    """Mean over the last axis (tags), leaving out those that are not defined (NaN)."""
    values = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1), empty=np.nan)


def micro(
    metric: Callable[..., NDArray[np.float64]],
    scores: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """A metric of all pairs of a track and a tag as if they were one tag: frequent tags count more.

    Args:
        metric: `average_precision`, `roc_auc` or another function of (scores, targets, weights).
        scores: (tracks, tags).
        targets: (tracks, tags) of booleans.
        weights: Optional non-negative weights (resamples, tracks).

    Returns:
        A number, or (resamples,) with weights.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    of_pairs = None if weights is None else np.repeat(np.asarray(weights), targets.shape[-1], axis=1)
    return metric(scores.reshape(-1, 1), targets.reshape(-1, 1), of_pairs)[..., 0]


def tie_groups(
    scores: NDArray, targets: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Curve]:
    """Scores, best first, of the groups of tied tracks of one tag that hold a positive, and their curve.

    Args:
        scores: (tracks,).
        targets: (tracks,), at least one of them true.
        weights: (tracks, resamples).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    stops = np.r_[starts[1:], len(order)]
    ranks = np.flatnonzero(targets[order])  # of the positives
    groups, first = np.unique(np.searchsorted(starts, ranks, side="right") - 1, return_index=True)
    rows = weights[order]
    # A leading row of zeros, so that row k is the weight of the k best tracks.
    cumulative = np.zeros((len(order) + 1, weights.shape[1]))
    np.cumsum(rows, axis=0, out=cumulative[1:])
    hits = rows[ranks] if len(groups) == len(ranks) else np.add.reduceat(rows[ranks], first, axis=0)
    return ranked[starts[groups]], Curve(hits, cumulative[starts[groups]], cumulative[stops[groups]])


def checked(
    scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.float64]]:
    """Scores and targets (tracks, tags), and weights (tracks, resamples), of ones if there are none.

    Raises:
        ValueError: If shapes do not match, a score is not finite or a weight is negative.
    """
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=bool)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f"scores {scores.shape} and targets {targets.shape} must both be (tracks, tags) of the same shape"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"scores of track row {np.argmin(np.isfinite(scores).all(axis=1))} are not finite")
    return scores, targets, np.ascontiguousarray(checked_weights(weights, len(scores)).T)
