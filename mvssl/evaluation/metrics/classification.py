"""Metrics of decisions: tags by threshold, and one class per track."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.evaluation.metrics.ranking import checked, tie_groups
from mvssl.evaluation.metrics.weighting import checked_weights, ratio, weighted_mean


def best_thresholds(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """The threshold of each tag that gives the best F1, to be found on the validation split.

    Args:
        scores: (tracks, tags); a track gets a tag if its score is at or above the threshold.
        targets: (tracks, tags) of booleans.

    Returns:
        (tags,): of thresholds that are as good, the highest; infinity where a tag has no positive.

    Raises:
        ValueError: If shapes do not match, or a score is not finite.
    """
    scores, targets, columns = checked(scores, targets, None)
    found = np.full(scores.shape[1], np.inf)
    for tag in np.flatnonzero(targets.any(axis=0)):
        values, curve = tie_groups(scores[:, tag], targets[:, tag], columns)
        hits = curve.hits.cumsum(axis=0)[:, 0]
        found[tag] = values[np.argmax(2 * hits / (curve.through[:, 0] + hits[-1]))]
    return found


def f1(predicted: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """F1 of each tag: the harmonic mean of precision and recall.

    Args:
        predicted: (tracks, tags) of booleans, such as ``scores >= best_thresholds(...)``.
        targets: (tracks, tags) of booleans.
        weights: Optional non-negative weights (resamples, tracks).

    Returns:
        (tags,), or (resamples, tags) with weights. NaN where a tag has no positive (of weight above zero).

    Raises:
        ValueError: If shapes do not match or a weight is negative.
    """
    predicted, targets = np.asarray(predicted, dtype=bool), np.asarray(targets, dtype=bool)
    if predicted.ndim != 2 or predicted.shape != targets.shape:
        raise ValueError(
            f"predicted {predicted.shape} and targets {targets.shape} must both be (tracks, tags) of the "
            "same shape"
        )
    rows = checked_weights(weights, len(targets))
    hits, said, there = (rows @ part.astype(np.float64) for part in (predicted & targets, predicted, targets))
    result = np.where(there > 0, ratio(2 * hits, said + there, empty=0.0), np.nan)
    return result[0] if weights is None else result


def accuracy(
    scores: ArrayLike, labels: ArrayLike, k: int = 1, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """How often the true class is among the k with the highest scores.

    Of classes with the same score the last counts as the highest, as in scikit-learn's
    ``top_k_accuracy_score``.

    Args:
        scores: (tracks, classes).
        labels: Number of the true class of each track, (tracks,).
        k: How many classes are looked at.
        weights: Optional non-negative weights (resamples, tracks).

    Returns:
        A number, or (resamples,) with weights.

    Raises:
        ValueError: If shapes do not match, a label is no class, k is out of range, a score is not finite or
            a weight is negative.
    """
    return weighted_mean(_hits(scores, labels, k)[0].astype(np.float64), weights)


def recall(
    scores: ArrayLike, labels: ArrayLike, k: int = 1, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """How often the tracks of each class have it among the k with the highest scores.

    Arguments and errors are those of :func:`accuracy`.

    Returns:
        (classes,), or (resamples, classes) with weights. NaN for a class without a track (of weight above
        zero).
    """
    hits, labels = _hits(scores, labels, k)
    classes = np.arange(np.shape(scores)[1])
    rows = checked_weights(weights, len(labels))
    there = (labels[:, None] == classes).astype(np.float64)
    found = ratio(rows @ (there * hits[:, None]), rows @ there, empty=np.nan)
    return found[0] if weights is None else found


def _hits(scores: ArrayLike, labels: ArrayLike, k: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether the class of each track is among the best k, and its number."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores {scores.shape} must be (tracks, classes), all of them finite")
    classes = scores.shape[1]
    labels = checked_labels("labels", labels, len(scores), classes)
    if not 1 <= k <= classes:
        raise ValueError(f"k={k} must lie between 1 and the number of classes, {classes}")
    own = scores[np.arange(len(scores)), labels][:, None]
    later = np.arange(classes) > labels[:, None]
    better = (scores > own) | ((scores == own) & later)
    return better.sum(axis=1) < k, labels


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """How many tracks of each class (rows) were taken for each class (columns), (classes, classes).

    Args:
        predicted: Number of the predicted class of each track, (tracks,).
        labels: Number of the true class of each track, (tracks,).
        classes: How many classes there are.

    Raises:
        ValueError: If lengths differ or a number is no class.
    """
    labels = checked_labels("labels", labels, np.size(predicted), classes)
    predicted = checked_labels("predicted", predicted, len(labels), classes)
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def checked_labels(name: str, labels: ArrayLike, tracks: int, classes: int) -> NDArray[np.int64]:
    """Class numbers (tracks,).

    Raises:
        ValueError: If they are not as many, not whole, or no classes.
    """
    given = np.asarray(labels)
    whole = given.astype(np.int64)
    if given.shape != (tracks,) or (whole != given).any():
        raise ValueError(f"{name} {given.shape} must be whole numbers, one for each of {tracks} tracks")
    wrong = np.flatnonzero((whole < 0) | (whole >= classes))
    if len(wrong):
        raise ValueError(
            f"{name} of track row {wrong[0]} is {whole[wrong[0]]}, and there are {classes} classes"
        )
    return whole
