"""The metrics of each method on the test split, and under the resamples that all methods share."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvssl.compare.comparison import Comparison
from mvssl.evaluation import bootstrap_metric, macro
from mvssl.evaluation.tasks import Metric

Scope = tuple[str, str]
"""What a number is about: (``"macro"``, ``""``), (``"group"``, name) or (``"tag"``, name)."""

MACRO: Scope = ("macro", "")

Array = NDArray[np.float64]
Scopes = Mapping[Scope, NDArray[np.int64]]


class Sample(NamedTuple):
    """One method at one fraction by one metric; the last axis of all arrays are the scopes, macro first."""

    seeds: tuple[int, ...]  # none for a method without weights, which has one row of values for all of them
    values: Array  # (seeds, repeats, scopes)
    mean: Array  # (scopes,)
    resampled: Array  # (resamples, scopes), the mean over seeds and repeats of each


def scopes_of(comparison: Comparison) -> dict[Scope, NDArray[np.int64]]:
    """Places in the vocabulary of the columns of each scope, macro first."""
    place = {tag: index for index, tag in enumerate(comparison.vocabulary)}
    scopes = {MACRO: np.arange(len(place))}
    for name, tags in comparison.tag_groups.items():
        if members := [place[tag] for tag in tags if tag in place]:
            scopes["group", name] = np.array(members)
    return scopes | {("tag", tag): np.array([index]) for tag, index in place.items()}


def chances(metric: Metric, comparison: Comparison, scopes: Scopes) -> dict[Scope, float]:
    """What predictions that know nothing get on average, by scope."""
    overall = np.array(metric.chance_overall(comparison.targets))
    values = _scoped(metric.chance(comparison.targets), overall, scopes)
    return dict(zip(scopes, values.tolist(), strict=True))


def samples_of(
    comparison: Comparison, fraction: float, metric: Metric, weights: NDArray, scopes: Scopes
) -> dict[str, Sample]:
    """Every method at one fraction, in parallel: NumPy frees the interpreter while it sums."""
    cells = [place for place, cell in enumerate(comparison.cells) if cell[0] == fraction]
    targets = comparison.targets

    def sample(method: str) -> Sample:
        runs = [entry.scores[cells] for entry in comparison.scores if entry.method == method]
        values = np.array([_on_test_split(metric, run, targets, scopes) for run in runs])
        # Which tags are undefined depends on the resample alone, so means over runs and over tags commute.
        resampled = np.mean([_resampled(metric, run, targets, weights, scopes) for run in runs], axis=0)
        return Sample(comparison.paired_seeds(method), values, values.mean(axis=(0, 1)), resampled)

    with ThreadPoolExecutor() as pool:
        return dict(zip(comparison.methods, pool.map(sample, comparison.methods), strict=True))


def _on_test_split(metric: Metric, run: NDArray, targets: NDArray, scopes: Scopes) -> Array:
    """(repeats, scopes)."""
    columns = np.array([metric.of_columns(scores, targets, None) for scores in run])
    overall = np.array([metric.overall(scores, targets) for scores in run]) if metric.of_all else None
    return _scoped(columns, overall, scopes)


def _resampled(metric: Metric, run: NDArray, targets: NDArray, weights: NDArray, scopes: Scopes) -> Array:
    """(resamples, scopes), the mean over repeats."""
    columns = bootstrap_metric(metric.of_columns, run, targets, weights).mean(axis=0)
    if metric.of_all is None:
        return _scoped(columns, None, scopes)
    return _scoped(columns, bootstrap_metric(metric.of_all, run, targets, weights).mean(axis=0), scopes)


def _scoped(columns: Array, overall: Array | None, scopes: Scopes) -> Array:
    """(..., columns) to (..., scopes); without a value for all columns, it is their mean."""
    values = [macro(columns[..., members]) for members in scopes.values()]
    return np.stack(values if overall is None else [overall, *values[1:]], axis=-1)
