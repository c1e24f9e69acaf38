"""Values on the test tracks with their intervals, and the linear probe that looks into an encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.data import Corpus
from mvssl.evaluation.bootstrap import bootstrap_metric, interval, resample_weights
from mvssl.evaluation.probes import ProbeData, ProbeResult, linear_probe
from mvssl.evaluation.subsets import Subset
from mvssl.evaluation.tasks import task_of

COLUMNS = ("name", "level", "unit", "metric", "value", "low", "high", "chance")
"""What stands in each row of a table; a cell is empty where it does not apply."""


@dataclass(frozen=True)
class Estimate:
    """A value on the test tracks, and its 95 % interval over resamples of them."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @classmethod
    def of(cls, value: ArrayLike, resampled: ArrayLike) -> "Estimate":
        """From the value on the tracks as they are, and those of the resamples (resamples,)."""
        low, high = interval(resampled, estimate=value)
        return cls(float(value), float(low), float(high))  # type: ignore[arg-type]


class Judge:
    """Judges scores of the test tracks of a corpus by the leading metric of its task.

    All scores are judged under the same resamples of the tracks, whole groups at a time, so that values of
    one judge can be subtracted.

    Args:
        corpus: Has labels.

    Attributes:
        corpus: The corpus.
        metric: The metric.
        truth: Targets of the test tracks, (test tracks, columns).
        chance: What predictions that know nothing get.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.metric = task_of(corpus).lead
        self.truth = corpus.targets[corpus.indices("test")]
        self.chance = self.metric.chance_overall(self.truth)
        self._weights = resamples_of(corpus, "test")

    def values(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """(cells,) of scores (cells, test tracks, columns)."""
        return np.array([self.metric.overall(cell, self.truth) for cell in scores])

    def resampled(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """(cells, resamples) of scores (cells, test tracks, columns)."""
        return bootstrap_metric(self.metric.overall, scores, self.truth, self._weights)


def resamples_of(corpus: Corpus, split: str) -> NDArray[np.uint16]:
    """Resamples of the tracks of a split, whole groups at a time: (resamples, tracks of the split)."""
    rows = corpus.indices(split)
    return resample_weights(len(rows), groups=None if corpus.groups is None else corpus.groups[rows])


def everything(corpus: Corpus) -> list[Subset]:
    """All labels of the training split."""
    return [Subset(1.0, 0, np.arange(len(corpus.indices("train"))))]


def probe_rows(
    features: NDArray[np.floating],
    corpus: Corpus,
    subsets: Sequence[Subset],
    others: NDArray[np.floating] | None = None,
) -> ProbeResult:
    """A linear probe on all tracks of a corpus, tested on further embeddings of its test tracks, too.

    Args:
        features: (tracks, dim).
        corpus: Where their labels and splits come from.
        subsets: Labelled tracks.
        others: (variants, test tracks, dim) embeddings that are scored as well.

    Returns:
        Scores (subsets, (1 + variants) · test tracks, columns): of the test tracks as they are, then of each
        of the variants.
    """
    train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
    targets = corpus.targets
    if others is not None:
        further = np.tile(test, len(others))
        test = np.concatenate([test, len(features) + np.arange(len(further))])
        features = np.concatenate([features, others.reshape(len(further), -1)])
        targets = np.concatenate([targets, targets[further]])
    data = ProbeData(features, targets, train=train, valid=valid, test=test, task=corpus.task)
    return linear_probe(data, subsets)


def row(
    name: str,
    metric: str,
    value: Estimate | float,
    *,
    level: float | str = "",
    unit: str = "",
    chance: float | str = "",
) -> dict[str, Any]:
    """One line of a table, in the order of :data:`COLUMNS`."""
    ends = (value.value, value.low, value.high) if isinstance(value, Estimate) else (value, "", "")
    return dict(zip(COLUMNS, (name, level, unit, metric, *ends, chance), strict=True))
