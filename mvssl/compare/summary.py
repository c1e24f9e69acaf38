"""From the scores of a comparison to the numbers that are reported.

Two kinds of uncertainty are kept apart. *Test-bootstrap* intervals say how the numbers would move with other
test tracks; every method sees the same resampled tracks, so that differences are paired. *Spreads* say how
they move with another draw of the labelled tracks, or with another seed of the training.
"""

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvssl.compare.comparison import Comparison
from mvssl.evaluation import (
    Difference,
    average_precision,
    bootstrap_metric,
    chance_ap,
    interval,
    macro,
    resample_weights,
    roc_auc,
)

Scope = tuple[str, str]
"""What a number is about: (``"macro"``, ``""``), (``"group"``, name) or (``"tag"``, name)."""

MACRO: Scope = ("macro", "")
METRICS = {"ap": average_precision, "roc_auc": roc_auc}
PROBE = "linear"
_SEED = 0

Array = NDArray[np.float64]


class Row(NamedTuple):
    """One line of ``results.csv``. ``tag`` is ``"macro"`` for the mean over tags."""

    method: str
    seed: int
    encoder: str
    probe: str
    fraction: float
    repeat: int
    tag: str
    metric: str
    value: float


@dataclass(frozen=True)
class Estimate:
    """One method at one label fraction, by one metric, over one scope.

    Attributes:
        mean: Mean over repeats and seeds; NaN when the metric is undefined for every tag of the scope.
        low: Lower end of the 95 % test-bootstrap interval.
        high: Upper end of it.
        draw_sd: Standard deviation over draws of labelled tracks, pooled over seeds; ``None`` with one draw.
        seed_sd: Standard deviation over seeds of the mean over draws; ``None`` with one seed.
        versus: Difference to every baseline but itself.
        baseline: The baseline with the highest mean here; ``None`` without baselines.
        best: Whether no method has a higher mean here.
        tied: Whether it is not the best, but the paired interval of the best minus this contains 0.
    """

    mean: float
    low: float
    high: float
    draw_sd: float | None
    seed_sd: float | None
    versus: Mapping[str, Difference]
    baseline: str | None
    best: bool
    tied: bool

    @property
    def gain(self) -> Difference | None:
        """Difference to the best baseline; ``None`` for that baseline itself."""
        return self.versus.get(self.baseline) if self.baseline else None


@dataclass(frozen=True)
class LabelSaving:
    """A pretext that with few labels is at least as good as every baseline with more of them."""

    method: str
    fraction: float
    baseline: str
    baseline_fraction: float
    difference: Difference


@dataclass(frozen=True)
class Summary:
    """All statistics of a comparison.

    Attributes:
        estimates: By (method, fraction, metric, scope).
        chance: AP that random scores get, by scope.
        positives: Test tracks that carry each tag.
        undefined: Per metric, the tags for which it does not exist on this test set.
        saving: The largest saving of labels by a pretext, if there is one.
        resamples: Number of bootstrap resamples.
    """

    estimates: Mapping[tuple[str, float, str, Scope], Estimate]
    chance: Mapping[Scope, float]
    positives: Mapping[str, int]
    undefined: Mapping[str, tuple[str, ...]]
    saving: LabelSaving | None
    resamples: int

    def at(self, method: str, fraction: float, metric: str = "ap", scope: Scope = MACRO) -> Estimate:
        """The estimate of one cell of a table."""
        return self.estimates[method, fraction, metric, scope]

    def best(self, methods: tuple[str, ...], fraction: float, metric: str = "ap") -> str | None:
        """The method with the highest macro mean among some; ``None`` among none."""
        return max(methods, key=lambda method: self.at(method, fraction, metric).mean, default=None)


def results_rows(comparison: Comparison) -> list[Row]:
    """Every metric of every cell, per tag and macro, in sorted order.

    A tag for which a metric is undefined (no positive test track, or no negative one) has the value NaN and
    takes no part in the macro mean.
    """
    encoder = str(comparison.config.get("encoder", ""))
    rows = []
    for entry in comparison.scores:
        for (fraction, repeat), scores in zip(comparison.cells, entry.scores, strict=True):
            for metric, measure in METRICS.items():
                values = measure(scores, comparison.targets)
                named = [*zip(comparison.vocabulary, values, strict=True), ("macro", macro(values))]
                for tag, value in named:
                    place = (entry.method, entry.seed, encoder, PROBE, float(fraction), repeat)
                    rows.append(Row(*place, tag, metric, float(value)))
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[object, ...]:
    return row[:-1]


def write_results(path: Path, rows: list[Row]) -> None:
    """Writes rows as CSV, sorted, each number with the digits that give it back exactly."""
    ordered = sorted(rows, key=_place)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(ordered)  # floats are written by repr


def summarise(comparison: Comparison, resamples: int = 1000) -> Summary:
    """Means, intervals, spreads and differences of every method, fraction, metric and scope.

    Args:
        comparison: The scores.
        resamples: Test-set resamples behind each interval; the same ones for every method.
    """
    weights = resample_weights(len(comparison.targets), resamples, _SEED, comparison.groups)
    scopes = _scopes(comparison)
    estimates: dict[tuple[str, float, str, Scope], Estimate] = {}
    by_ap: dict[tuple[str, float], _Sample] = {}
    for metric in METRICS:
        for fraction in comparison.fractions:
            samples = _samples(comparison, fraction, metric, weights, scopes)
            for method, row in _estimates(samples, comparison.baselines).items():
                for scope, estimate in zip(scopes, row, strict=True):
                    estimates[method, fraction, metric, scope] = estimate
            if metric == "ap":
                by_ap |= {(method, fraction): sample for method, sample in samples.items()}
    chance = _scoped(chance_ap(comparison.targets), scopes)
    return Summary(
        estimates,
        dict(zip(scopes, chance.tolist(), strict=True)),
        dict(zip(comparison.vocabulary, comparison.targets.sum(axis=0).tolist(), strict=True)),
        {metric: _undefined(comparison, metric) for metric in METRICS},
        _saving(comparison, by_ap),
        resamples,
    )


class _Sample(NamedTuple):
    """One method at one fraction by one metric; the last axis of all are the scopes, macro first."""

    values: Array  # (seeds, repeats, scopes)
    mean: Array  # (scopes,)
    resampled: Array  # (resamples, scopes), the mean over seeds and repeats of each


def _scopes(comparison: Comparison) -> dict[Scope, NDArray[np.int64]]:
    """Places in the vocabulary of the tags of each scope."""
    place = {tag: index for index, tag in enumerate(comparison.vocabulary)}
    scopes = {MACRO: np.arange(len(place))}
    for name, tags in comparison.tag_groups.items():
        if members := [place[tag] for tag in tags if tag in place]:
            scopes["group", name] = np.array(members)
    return scopes | {("tag", tag): np.array([index]) for tag, index in place.items()}


def _scoped(values: Array, scopes: Mapping[Scope, NDArray[np.int64]]) -> Array:
    """(..., tags) to (..., scopes)."""
    return np.stack([macro(values[..., tags]) for tags in scopes.values()], axis=-1)


def _samples(
    comparison: Comparison,
    fraction: float,
    metric: str,
    weights: NDArray,
    scopes: Mapping[Scope, NDArray[np.int64]],
) -> dict[str, _Sample]:
    """Every method at one fraction, in parallel: NumPy frees the interpreter while it sums."""
    cells = [place for place, cell in enumerate(comparison.cells) if cell[0] == fraction]
    measure, targets = METRICS[metric], comparison.targets

    def sample(method: str) -> _Sample:
        runs = [entry.scores[cells] for entry in comparison.scores if entry.method == method]
        values = _scoped(np.array([[measure(scores, targets) for scores in run] for run in runs]), scopes)
        # Which tags are undefined depends on the resample alone, so means over runs and over tags commute.
        resampled = [bootstrap_metric(measure, run, targets, weights).mean(axis=0) for run in runs]
        return _Sample(values, values.mean(axis=(0, 1)), _scoped(np.mean(resampled, axis=0), scopes))

    with ThreadPoolExecutor() as pool:
        return dict(zip(comparison.methods, pool.map(sample, comparison.methods), strict=True))


def _estimates(samples: Mapping[str, _Sample], baselines: tuple[str, ...]) -> dict[str, list[Estimate]]:
    """Per method, one estimate per scope."""
    methods = tuple(samples)
    means = np.array([sample.mean for sample in samples.values()])
    leaders = np.argmax(means, axis=0)
    strongest = np.argmax([samples[name].mean for name in baselines], axis=0) if baselines else None
    everywhere = np.arange(means.shape[1])
    resampled = np.array([sample.resampled for sample in samples.values()])
    top = _Sample(np.empty(0), means[leaders, everywhere], resampled[leaders, :, everywhere].T)
    table = {}
    for method, sample in samples.items():
        low, high = interval(sample.resampled, estimate=sample.mean)
        behind = _differences(top, sample)
        versus = {name: _differences(sample, samples[name]) for name in baselines if name != method}
        draw_sd, seed_sd = _draw_spread(sample.values), _seed_spread(sample.values)
        table[method] = [
            Estimate(
                mean=float(sample.mean[at]),
                low=float(low[at]),
                high=float(high[at]),
                draw_sd=None if draw_sd is None else float(draw_sd[at]),
                seed_sd=None if seed_sd is None else float(seed_sd[at]),
                versus={name: column[at] for name, column in versus.items()},
                baseline=None if strongest is None else baselines[strongest[at]],
                best=bool(np.isfinite(means[0, at])) and methods[leaders[at]] == method,
                tied=methods[leaders[at]] != method and behind[at].low <= 0,
            )
            for at in everywhere
        ]
    return table


def _differences(one: _Sample, other: _Sample) -> list[Difference]:
    """One minus the other, per scope."""
    values = one.mean - other.mean
    low, high = interval(one.resampled - other.resampled, estimate=values)
    return [Difference(*map(float, numbers)) for numbers in zip(values, low, high, strict=True)]


def _draw_spread(values: Array) -> Array | None:
    return np.sqrt(values.var(axis=1, ddof=1).mean(axis=0)) if values.shape[1] > 1 else None


def _seed_spread(values: Array) -> Array | None:
    return values.mean(axis=1).std(axis=0, ddof=1) if values.shape[0] > 1 else None


def _undefined(comparison: Comparison, metric: str) -> tuple[str, ...]:
    values = METRICS[metric](np.zeros(comparison.targets.shape), comparison.targets)
    return tuple(tag for tag, value in zip(comparison.vocabulary, values, strict=True) if np.isnan(value))


def _saving(comparison: Comparison, by_ap: Mapping[tuple[str, float], _Sample]) -> LabelSaving | None:
    """The pretext that does with the smallest share of the labels what every baseline needs more for."""
    if not comparison.baselines:
        return None
    fractions, labels = comparison.fractions, comparison.label_counts
    found: list[tuple[float, float, LabelSaving]] = []
    for method in comparison.pretexts:
        for few in fractions:
            sample = by_ap[method, few]
            for many in fractions:
                _, baseline = max((by_ap[name, many].mean[0], name) for name in comparison.baselines)
                difference = _differences(sample, by_ap[baseline, many])[0]
                if not difference.value >= 0:
                    break  # with this many labels a baseline is better
                share = sum(labels[few]) / max(sum(labels[many]), 1)
                if many > few and share < 1:
                    found.append(
                        (share, -sample.mean[0], LabelSaving(method, few, baseline, many, difference))
                    )
    return min(found, key=lambda entry: entry[:2])[2] if found else None
