"""Label efficiency: how many labels one method needs to be as good as the best baseline."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvssl.compare.comparison import Comparison
from mvssl.compare.pairs import Gain, gains
from mvssl.compare.sampling import Sample
from mvssl.evaluation.result import share_needed

Samples = Mapping[float, Mapping[str, Sample]]
"""By fraction and method, all by one metric; the first scope is the macro value."""


@dataclass(frozen=True)
class LabelSaving:
    """A pretext that with few labels is at least as good as every baseline with more of them."""

    method: str
    fraction: float
    baseline: str
    baseline_fraction: float
    difference: Gain


@dataclass(frozen=True)
class LabelsNeeded:
    """The share of labelled tracks with which a method equals the best baseline with some share.

    Between measured fractions a metric is taken to grow linearly with the logarithm of the share. The
    smallest fraction stands for itself and all below it, infinity for more than the largest.

    Attributes:
        baseline: The baseline with the highest mean.
        share: What the method needs.
        low: Lower end of the 95 % test-bootstrap interval.
        high: Upper end of it.
    """

    baseline: str
    share: float
    low: float
    high: float


def labels_needed(comparison: Comparison, samples: Samples) -> dict[tuple[str, float], LabelsNeeded]:
    """By method and fraction of the best baseline there, of methods without a missing seed.

    There is nothing for that baseline itself, or without one.
    """
    fractions, methods = comparison.fractions, comparison.judged(comparison.methods)
    shares = np.array([comparison.share(fraction) for fraction in fractions])
    means = {name: np.array([samples[f][name].mean[0] for f in fractions]) for name in methods}
    curves = {
        name: np.stack([samples[f][name].resampled[:, 0] for f in fractions], axis=-1) for name in means
    }
    found = {}
    for place, fraction in enumerate(fractions):
        best = max(comparison.judged(comparison.baselines), key=lambda name: means[name][place], default=None)
        for method in methods:
            if best is None or method == best:
                continue
            resampled = share_needed(shares, curves[method], curves[best][:, place])
            # By order, because some may be infinite; the resamples' bias is that of both and cancels.
            low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
            share = float(share_needed(shares, means[method], means[best][place]))
            found[method, fraction] = LabelsNeeded(best, share, float(low), float(high))
    return found


def largest_saving(comparison: Comparison, samples: Samples) -> LabelSaving | None:
    """The pretext that does with the smallest share of the labels what every baseline needs more for."""
    baselines = comparison.judged(comparison.baselines)
    if not baselines:
        return None
    fractions, labels = comparison.fractions, comparison.label_counts
    found: list[tuple[float, float, LabelSaving]] = []
    for method in comparison.judged(comparison.pretexts):
        for few in fractions:
            sample = samples[few][method]
            for many in fractions:
                _, baseline = max((samples[many][name].mean[0], name) for name in baselines)
                difference = gains(sample, samples[many][baseline])[0]
                if not difference.value >= 0:
                    break  # with this many labels a baseline is better
                share = sum(labels[few]) / max(sum(labels[many]), 1)
                if many > few and share < 1:
                    found.append(
                        (share, -sample.mean[0], LabelSaving(method, few, baseline, many, difference))
                    )
    return min(found, key=lambda entry: entry[:2])[2] if found else None
