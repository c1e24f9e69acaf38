"""From the scores of a comparison to the numbers that are reported.

Two kinds of uncertainty are kept apart. *Test-bootstrap* intervals say how the numbers would move with other
test tracks; every method sees the same resampled tracks, so that differences are paired. *Spreads* say how
they move with another draw of the labelled tracks, or with another seed of the training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvssl.compare.comparison import Comparison
from mvssl.compare.efficiency import LabelSaving, LabelsNeeded, labels_needed, largest_saving
from mvssl.compare.pairs import Contest, Gain, contests, gains
from mvssl.compare.sampling import MACRO, Array, Sample, Scope, chances, samples_of, scopes_of
from mvssl.evaluation import interval, resample_weights
from mvssl.evaluation.tasks import Metric

_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """One method at one label fraction, by one metric, over one scope.

    Attributes:
        mean: Mean over repeats and seeds; NaN when the metric is undefined for every tag of the scope.
        low: Lower end of the 95 % test-bootstrap interval.
        high: Upper end of it.
        draw_sd: Standard deviation over draws of labelled tracks, pooled over seeds; ``None`` with one draw.
        seed_sd: Standard deviation over seeds of the mean over draws; ``None`` with one seed.
        versus: Difference to every baseline but itself that no seed is missing of, paired.
        baseline: The baseline with the highest mean here; ``None`` without baselines.
        best: Whether no method has a higher mean here.
        tied: Whether it is not the best, but the best does not beat it for certain.
    """

    mean: float
    low: float
    high: float
    draw_sd: float | None
    seed_sd: float | None
    versus: Mapping[str, Gain]
    baseline: str | None
    best: bool
    tied: bool

    @property
    def gain(self) -> Gain | None:
        """Difference to the best baseline; ``None`` for that baseline itself."""
        return self.versus.get(self.baseline) if self.baseline else None


@dataclass(frozen=True)
class Summary:
    """All statistics of a comparison.

    Attributes:
        estimates: By (method, fraction, metric, scope).
        contests: Per fraction, by (method, other method): the first against the second, by the lead metric;
            of methods without a missing seed.
        chances: Per metric, what predictions that know nothing get, by scope.
        positives: Test tracks that carry each tag; of numbers, all of them.
        undefined: Per metric, the tags for which it does not exist on this test set.
        saving: The largest saving of labels by a pretext, if there is one.
        needed: By (method, fraction): labels that equal the best baseline with that fraction.
        resamples: Number of bootstrap resamples.
        lead: Name of the metric that leads.
    """

    estimates: Mapping[tuple[str, float, str, Scope], Estimate]
    contests: Mapping[float, Mapping[tuple[str, str], Contest]]
    chances: Mapping[str, Mapping[Scope, float]]
    positives: Mapping[str, int]
    undefined: Mapping[str, tuple[str, ...]]
    saving: LabelSaving | None
    needed: Mapping[tuple[str, float], LabelsNeeded]
    resamples: int
    lead: str

    @property
    def chance(self) -> Mapping[Scope, float]:
        """What predictions that know nothing get by the lead metric."""
        return self.chances[self.lead]

    def at(self, method: str, fraction: float, metric: str | None = None, scope: Scope = MACRO) -> Estimate:
        """The estimate of one cell of a table; by the lead metric if none is named."""
        return self.estimates[method, fraction, metric or self.lead, scope]

    def best(self, methods: tuple[str, ...], fraction: float) -> str | None:
        """The method with the highest macro mean among some, by the lead metric; ``None`` among none."""
        return max(methods, key=lambda method: self.at(method, fraction).mean, default=None)


def summarise(comparison: Comparison, resamples: int = 1000) -> Summary:
    """Means, intervals, spreads and differences of every method, fraction, metric and scope.

    Args:
        comparison: The scores.
        resamples: Test-set resamples behind each interval; the same ones for every method.
    """
    weights = resample_weights(len(comparison.targets), resamples, _SEED, comparison.groups)
    scopes, task = scopes_of(comparison), comparison.kind
    judged = comparison.judged(comparison.methods)
    estimates: dict[tuple[str, float, str, Scope], Estimate] = {}
    by_lead: dict[float, dict[str, Sample]] = {}
    for metric in task.metrics:
        for fraction in comparison.fractions:
            samples = samples_of(comparison, fraction, metric, weights, scopes)
            for method, row in _estimates(samples, comparison).items():
                for scope, estimate in zip(scopes, row, strict=True):
                    estimates[method, fraction, metric.name, scope] = estimate
            if metric is task.lead:
                by_lead[fraction] = samples
    return Summary(
        estimates,
        {
            fraction: contests({name: samples[name] for name in judged}, comparison.units)
            for fraction, samples in by_lead.items()
        },
        {metric.name: chances(metric, comparison, scopes) for metric in task.metrics},
        _positives(comparison),
        {metric.name: _undefined(comparison, metric) for metric in task.metrics},
        largest_saving(comparison, by_lead),
        labels_needed(comparison, by_lead),
        resamples,
        task.lead.name,
    )


def _estimates(samples: Mapping[str, Sample], comparison: Comparison) -> dict[str, list[Estimate]]:
    """Per method, one estimate per scope; only methods without a missing seed can be best, tied or beaten."""
    methods, baselines = comparison.judged(samples) or tuple(samples), comparison.judged(comparison.baselines)
    means = np.array([samples[name].mean for name in methods])
    leaders = [methods[place] for place in np.argmax(means, axis=0)]
    strongest = np.argmax([samples[name].mean for name in baselines], axis=0) if baselines else None
    table = {}
    for method, sample in samples.items():
        low, high = interval(sample.resampled, estimate=sample.mean)
        behind = {leader: gains(samples[leader], sample) for leader in set(leaders)}
        versus = {name: gains(sample, samples[name]) for name in baselines if name != method}
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
                best=bool(np.isfinite(sample.mean[at])) and leader == method,
                tied=method in methods
                and leader != method
                and bool(np.isfinite(sample.mean[at]))
                and not behind[leader][at].above,
            )
            for at, leader in enumerate(leaders)
        ]
    return table


def _draw_spread(values: Array) -> Array | None:
    return np.sqrt(values.var(axis=1, ddof=1).mean(axis=0)) if values.shape[1] > 1 else None


def _seed_spread(values: Array) -> Array | None:
    return values.mean(axis=1).std(axis=0, ddof=1) if values.shape[0] > 1 else None


def _positives(comparison: Comparison) -> dict[str, int]:
    targets = comparison.targets
    counts = targets.sum(axis=0) if targets.dtype == bool else np.isfinite(targets).sum(axis=0)
    return dict(zip(comparison.vocabulary, counts.tolist(), strict=True))


def _undefined(comparison: Comparison, metric: Metric) -> tuple[str, ...]:
    values = metric.of_columns(np.zeros(comparison.targets.shape), comparison.targets, None)
    return tuple(tag for tag, value in zip(comparison.vocabulary, values, strict=True) if np.isnan(value))
