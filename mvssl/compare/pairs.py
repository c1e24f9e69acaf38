"""Two methods beside each other: paired differences, and which of all pairs are decided.

There are two ways to be wrong about a difference: other test tracks might turn it round, and so might other
seeds of the training. The bootstrap over test tracks knows nothing of the second, so that with three seeds or
more both have to agree before one method is said to beat another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from mvssl.compare.sampling import Array, Sample
from mvssl.evaluation import Difference, interval

LEVEL = 0.05
MIN_SEEDS = 3

Outcome = Literal["win", "loss", "undecided"]


@dataclass(frozen=True)
class Gain(Difference):
    """One method minus another, with its 95 % interval from the paired test bootstrap.

    Attributes:
        over_seeds: The mean of the differences between runs of one seed, with its 95 % interval by Student's
            t over seeds; ``None`` with fewer than three seeds in common.
    """

    over_seeds: Difference | None = None

    @property
    def above(self) -> bool:
        """Whether the whole interval is above 0, and that over seeds, too, where there is one."""
        return super().above and (self.over_seeds is None or self.over_seeds.above)

    @property
    def below(self) -> bool:
        """Whether the whole interval is below 0, and that over seeds, too, where there is one."""
        return super().below and (self.over_seeds is None or self.over_seeds.below)


@dataclass(frozen=True)
class Contest:
    """One pair among all pairs of methods at one label fraction, by the leading metric.

    Attributes:
        gain: The first minus the second.
        p: Two-sided, see :func:`p_values`.
        adjusted: The same after Holm's correction for all pairs of the fraction.
    """

    gain: Gain
    p: float
    adjusted: float

    @property
    def outcome(self) -> Outcome:
        """Of the first: decided if ``adjusted`` is below 0.05 and an interval over seeds does not object."""
        seeds = self.gain.over_seeds
        if not self.adjusted < LEVEL:
            return "undecided"
        if self.gain.value > 0 and (seeds is None or seeds.above):
            return "win"
        return "loss" if self.gain.value < 0 and (seeds is None or seeds.below) else "undecided"


def gains(one: Sample, other: Sample) -> list[Gain]:
    """One minus the other, per scope."""
    values = one.mean - other.mean
    low, high = interval(one.resampled - other.resampled, estimate=values)
    over_seeds: Sequence[Difference | None] = seed_differences(one, other) or [None] * len(values)
    return [
        Gain(float(value), float(least), float(most), seeds)
        for value, least, most, seeds in zip(values, low, high, over_seeds, strict=True)
    ]


def seed_differences(one: Sample, other: Sample) -> list[Difference] | None:
    """Mean difference over the seeds in common, per scope, with a 95 % t interval.

    A method without weights stands beside every seed of the other. ``None`` with fewer than three seeds.
    """
    ours, theirs = set(one.seeds), set(other.seeds)
    common = sorted(ours & theirs if ours and theirs else ours | theirs)
    if len(common) < MIN_SEEDS:
        return None
    found = _by_seed(one, common) - _by_seed(other, common)
    means = found.mean(axis=0)
    reach = stdtrit(len(common) - 1, 0.975) * found.std(axis=0, ddof=1) / math.sqrt(len(common))
    return [
        Difference(*map(float, numbers)) for numbers in zip(means, means - reach, means + reach, strict=True)
    ]


def _by_seed(sample: Sample, seeds: Sequence[int]) -> Array:
    """(seeds, scopes), the mean over draws of the labelled tracks."""
    rows = [sample.seeds.index(seed) if sample.seeds else 0 for seed in seeds]
    return sample.values.mean(axis=1)[rows]


def contests(samples: Mapping[str, Sample], units: int) -> dict[tuple[str, str], Contest]:
    """Every method against every other, by the macro value.

    Args:
        samples: All methods at one fraction by one metric.
        units: Independent test tracks, or groups of tracks, that were resampled.

    Returns:
        By (method, other method), in both directions.
    """
    macros = {
        name: Sample(sample.seeds, sample.values[..., :1], sample.mean[:1], sample.resampled[:, :1])
        for name, sample in samples.items()
    }
    pairs = list(combinations(macros, 2))
    if not pairs:
        return {}
    found = [gains(macros[one], macros[other])[0] for one, other in pairs]
    spreads = [np.nanstd(macros[one].resampled - macros[other].resampled, ddof=1) for one, other in pairs]
    p = p_values([gain.value for gain in found], spreads, units)
    table = {}
    for (one, other), gain, *chances in zip(pairs, found, p, holm(p), strict=True):
        table[one, other] = Contest(gain, *map(float, chances))
        table[other, one] = Contest(_reversed(gain), *map(float, chances))
    return table


def _reversed(gain: Gain) -> Gain:
    seeds = gain.over_seeds
    turned = None if seeds is None else Difference(-seeds.value, -seeds.high, -seeds.low)
    return Gain(-gain.value, -gain.high, -gain.low, turned)


def p_values(values: ArrayLike, spreads: ArrayLike, units: int) -> Array:
    """How likely differences as large would be if there were none, two-sided.

    A difference, divided by the standard deviation of its paired bootstrap values, is looked up in Student's
    t distribution with ``units - 1`` degrees of freedom. Counting resamples beyond 0 instead could give no
    p below 2 / 1,001 with 1,000 resamples, too coarse for the correction for 120 pairs.

    Args:
        values: Differences on the test split.
        spreads: Standard deviations over the resamples; where one is 0, nothing is known and p is 1.
        units: Independent test tracks, or groups of them.
    """
    values, spreads = np.abs(np.asarray(values, np.float64)), np.asarray(spreads, np.float64)
    ratio = np.divide(values, spreads, out=np.zeros_like(values), where=spreads > 0)
    return np.minimum(2 * stdtr(max(units - 1, 1), -ratio), 1.0)


def holm(p: ArrayLike) -> Array:
    """Corrects p values so that one wrong decision among all of them is as unlikely as each of them said.

    The smallest of n is multiplied by n, the next by n - 1 and so on, and none may fall below the one before
    (Holm, 1979, "A simple sequentially rejective multiple test procedure").
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    result = np.empty_like(corrected)
    result[order] = corrected
    return result


def ranking(table: Mapping[tuple[str, str], Contest], methods: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(pairs won, pairs lost) of each method, from the largest surplus of wins."""
    counts = {
        method: tuple(
            sum(table[method, other].outcome == outcome for other in methods if other != method)
            for outcome in ("win", "loss")
        )
        for method in methods
    }
    order = sorted(methods, key=lambda method: counts[method][1] - counts[method][0])
    return {method: (counts[method][0], counts[method][1]) for method in order}
