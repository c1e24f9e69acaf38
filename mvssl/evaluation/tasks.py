"""Kinds of downstream tasks: what is predicted of a track, and by which metrics predictions are judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional as F

from mvssl.data import Corpus
from mvssl.evaluation.metrics import (
    accuracy,
    average_precision,
    chance_ap,
    f1,
    macro,
    r2,
    recall,
    roc_auc,
    weighted_key_score,
)
from mvssl.registry import Registry

Values = NDArray[np.float64]
Measure = Callable[[Any, Any, Any], Values]


@dataclass(frozen=True)
class Metric:
    """One way to judge scores; all its parts take (scores, targets, weights) and allow for resamples.

    Attributes:
        name: As in ``results.csv``: ``"ap"``.
        title: As in a report: ``"mAP"``.
        meaning: What it is, to go on after the title and "is".
        of_columns: One value per tag, class or number: (columns,), or (resamples, columns) with weights.
        chance: What predictions that know nothing get on average, (columns,), from the targets.
        of_all: One value for all columns, () or (resamples,); by default the mean over those that exist.
        chance_of_all: The same without knowledge; by default the mean, too.
    """

    name: str
    title: str
    meaning: str
    of_columns: Measure
    chance: Callable[[Any], Values]
    of_all: Measure | None = None
    chance_of_all: Callable[[Any], Values] | None = None

    def overall(self, scores: Any, targets: Any, weights: Any = None) -> Values:
        """One value for all columns."""
        if self.of_all is not None:
            return self.of_all(scores, targets, weights)
        return macro(self.of_columns(scores, targets, weights))

    def chance_overall(self, targets: Any) -> float:
        """What predictions that know nothing get on average."""
        return float(
            macro(self.chance(targets)) if self.chance_of_all is None else self.chance_of_all(targets)
        )


@dataclass(frozen=True)
class Task:
    """A kind of downstream task.

    Attributes:
        loss: What probes and networks minimise: sigmoid cross-entropy of each column, softmax cross-entropy
            over the columns, or squared errors.
        metrics: The first one leads: settings are chosen by it.
        columns: What a column is called, in the singular.
    """

    loss: Literal["sigmoid", "softmax", "squares"]
    metrics: tuple[Metric, ...]
    columns: str

    @property
    def lead(self) -> Metric:
        """The metric that settings are chosen by and that stands first."""
        return self.metrics[0]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of outputs and targets (..., columns), in fp32 and not yet averaged."""
        return _LOSSES[self.loss](outputs.float(), targets)

    def units(self, labelled: NDArray[Any]) -> tuple[Values, Values]:
        """Mean and deviation (columns,) of the numbers of labelled tracks; 0 and 1 of what is no number.

        Numbers are learned in these units, so that neither rates nor penalties depend on theirs. A number
        without spread, up to rounding, keeps its unit.
        """
        columns = labelled.shape[1]
        if self.loss != "squares":
            return np.zeros(columns), np.ones(columns)
        mean, deviation = labelled.mean(axis=0), labelled.std(axis=0)
        return mean, np.where(deviation > 1e-9 * np.abs(mean), deviation, 1.0)

    def as_scores(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Scores of outputs (..., columns): of classes, logarithms of probabilities.

        Only so can tracks be ranked by one class.
        """
        return log_softmax(outputs, axis=-1) if self.loss == "softmax" else outputs

    def metric(self, name: str) -> Metric:
        """The metric of a name.

        Raises:
            ValueError: If there is none.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise ValueError(f"metric={name!r}: use {' or '.join(repr(metric.name) for metric in self.metrics)}")


def _softmax_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * outputs.log_softmax(dim=-1)).sum(dim=-1)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigmoid": partial(F.binary_cross_entropy_with_logits, reduction="none"),
    "softmax": _softmax_loss,
    "squares": partial(F.mse_loss, reduction="none"),
}
tasks: Registry[Task] = Registry("kind of task")
"""Kinds of tasks, by the name that :attr:`mvssl.data.Corpus.task` has."""


def task_of(corpus: Corpus) -> Task:
    """The kind of task that the labels of a corpus make."""
    return tasks.entry(corpus.task).target


def _chance_recall(targets: Any, k: int = 1) -> Values:
    """Of a random order of the classes."""
    return np.full(targets.shape[1], min(k / targets.shape[1], 1.0))


def _recall(scores: Any, targets: Any, weights: Any = None, *, k: int) -> Values:
    return recall(scores, np.argmax(targets, axis=1), min(k, np.shape(targets)[1]), weights)


def _accuracy(scores: Any, targets: Any, weights: Any = None, *, k: int) -> Values:
    return accuracy(scores, np.argmax(targets, axis=1), min(k, np.shape(targets)[1]), weights)


def _class_f1(scores: Any, targets: Any, weights: Any = None) -> Values:
    scores = np.asarray(scores)
    return f1(np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None], targets, weights)


def _chance_class_f1(targets: Any) -> Values:
    """Of the right share of tracks, drawn at random among k classes: near 2 p / (1 + k p) for a share p."""
    share, classes = np.mean(targets, axis=0), np.shape(targets)[1]
    return np.where(share > 0, 2 * share / (1 + classes * share), np.nan)


def _key_scores(scores: Any, targets: Any, weights: Any = None) -> Values:
    return weighted_key_score(np.argmax(scores, axis=1), np.argmax(targets, axis=1), weights)


def _mean_key_score(_: Any) -> Values:
    """A key drawn at random is right, a fifth above, relative or parallel once in 24."""
    return np.float64((1 + 0.5 + 0.3 + 0.2) / 24)  # type: ignore[return-value]


def _half(targets: Any) -> Values:
    return np.where(np.any(targets, axis=0) & ~np.all(targets, axis=0), 0.5, np.nan)


def _zero(targets: Any) -> Values:
    return np.zeros(np.shape(targets)[1])


AP = Metric("ap", "mAP", "average precision, the mean over {columns}", average_precision, chance_ap)
AUC = Metric("roc_auc", "ROC-AUC", "the area under the ROC curve, the mean over {columns}", roc_auc, _half)
ACCURACY = Metric(
    "accuracy", "accuracy", "the share of tracks whose class has the highest score",
    partial(_recall, k=1), _chance_recall, partial(_accuracy, k=1),
)  # fmt: skip
TOP3 = Metric(
    "top3", "top-3 accuracy", "the share of tracks whose class is among the three with the highest scores",
    partial(_recall, k=3), partial(_chance_recall, k=3), partial(_accuracy, k=3),
)  # fmt: skip
F1 = Metric("f1", "macro F1", "F1 of the class with the highest score", _class_f1, _chance_class_f1)
KEY_SCORE = Metric(
    "key_score", "weighted key score", "MIREX's score, where near misses count in part",
    partial(_recall, k=1), _chance_recall, _key_scores, _mean_key_score,
)  # fmt: skip
R2 = Metric("r2", "R²", "the share of the variance that is predicted, the mean over {columns}", r2, _zero)

tasks.register("tagging", summary="any number of tags per track")(Task("sigmoid", (AP, AUC), "tag"))
tasks.register("classification", summary="one class per track")(
    Task("softmax", (ACCURACY, TOP3, F1, AP, AUC), "class")
)
tasks.register("key", summary="one of the 24 keys per track")(Task("softmax", (KEY_SCORE, ACCURACY), "key"))
tasks.register("regression", summary="one or more numbers per track")(Task("squares", (R2,), "number"))
