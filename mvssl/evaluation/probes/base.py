"""What all probes share: checked features, what they predict, and the choice on the validation split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.evaluation.metrics import average_precision, macro
from mvssl.registry import Registry


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe predicts on the test split, for each label subset.

    Attributes:
        scores: (subsets, test tracks, tags); larger means more likely.
        valid_scores: The same of the validation split, (subsets, valid tracks, tags).
        chosen: The setting chosen on the validation split, (subsets,): an element of the grid each.
        grid: All settings that were tried.
        valid_ap: Macro average precision on the validation split, (subsets, grid).
    """

    scores: NDArray[np.float64]
    valid_scores: NDArray[np.float64]
    chosen: NDArray[np.float64]
    grid: tuple[float, ...]
    valid_ap: NDArray[np.float64]


Probe = Callable[..., ProbeResult]
"""``(data, subsets, **options)``: trains on every label subset, and chooses a setting for each."""

probes: Registry[Probe] = Registry("probe", group="mvssl.probes")
"""Probes by name; installed packages add theirs through the entry-point group ``mvssl.probes``."""


class ProbeData:
    """What probes are trained, chosen and judged on.

    Args:
        features: (tracks, dim) embeddings of all tracks; they are standardised over the train split, whose
            tracks are there even where their labels are not.
        targets: (tracks, tags) of booleans.
        train: Row numbers of the train split, to which the rows of label subsets refer.
        valid: Row numbers of the validation split, which settings are chosen on.
        test: Row numbers of the test split.

    Raises:
        ValueError: If a feature is not finite, no tag has a positive in the validation split, splits share a
            track, or shapes do not match.
    """

    def __init__(
        self, features: ArrayLike, targets: ArrayLike, *, train: ArrayLike, valid: ArrayLike, test: ArrayLike
    ) -> None:
        checked_features, self.targets = checked(features, targets)
        self.train, self.valid, self.test = (
            np.asarray(split, dtype=np.int64) for split in (train, valid, test)
        )
        if not self.targets[self.valid].any():
            raise ValueError("no tag has a positive in the validation split; settings cannot be chosen on it")
        once = np.concatenate([np.unique(split) for split in (self.train, self.valid, self.test)])
        shared = np.flatnonzero(np.bincount(once) > 1)
        if len(shared):
            raise ValueError(
                f"{len(shared)} tracks are in more than one of train, valid and test (first: row "
                f"{shared[0]}): leave each in one"
            )
        self.features = standardise(checked_features, self.train)

    def valid_ap(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Macro average precision on the validation split, of scores (..., valid tracks, tags)."""
        flat = scores.reshape(-1, *scores.shape[-2:])
        found = [macro(average_precision(each, self.targets[self.valid])) for each in flat]
        return np.array(found).reshape(scores.shape[:-2])


def checked(features: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features (tracks, dim) and targets (tracks, tags).

    Raises:
        ValueError: If a feature is not finite or shapes do not match.
    """
    features, targets = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=bool)
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise ValueError(
            f"features {features.shape} must be (tracks, dim) and targets {targets.shape} (tracks, tags)"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise ValueError(
            f"features of {len(bad)} of {len(features)} tracks are not finite (first: row {bad[0]}); "
            "the encoder has probably diverged"
        )
    return features, targets


def standardise(features: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Features (tracks, dim) with mean 0 and standard deviation 1 over the train rows.

    A column that is constant there, up to the rounding of single precision, becomes 0 on the train rows and
    is not blown up on the others.
    """
    mean, std = features[train].mean(axis=0), features[train].std(axis=0)
    constant = std <= 1e-6 * np.abs(mean)
    return (features - mean) / np.where(constant, 1, std)
