"""What an encoder keeps of the causes of a sound: of those with tags, and of the production that has none."""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvssl.data import Corpus, CorpusError
from mvssl.evaluation.embeddings import extract_embeddings
from mvssl.evaluation.estimates import everything, probe_rows
from mvssl.evaluation.metrics import average_precision, chance_ap, macro, r2
from mvssl.evaluation.probes import fit_linear_probes, standardise
from mvssl.evaluation.subsets import Subset

GRID = tuple(float(c) for c in np.logspace(-5, 1, 13))
_MUSICAL = frozenset({"bpm"})  # the one number among the causes that production does not set


def causes_kept(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    *,
    seconds: float,
    sample_rate: int,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> dict[str, float]:
    """How well linear probes on a frozen encoder recover each known cause, with all labels.

    Args:
        encode: As in :func:`~mvssl.evaluation.extract_embeddings`.
        corpus: A corpus with tag groups and numeric factors, such as the embedded one.
        seconds: Length of the crops that are embedded.
        sample_rate: In Hz.
        cache: Folder that keeps embeddings, see :func:`~mvssl.evaluation.extract_embeddings`.
        progress: Show a progress bar.

    Returns:
        By name of each group of tags, the mean over its tags of (AP − chance) / (1 − chance); and as
        ``"production"`` the mean R² of ridge regressions on the numbers that make up the production. Both
        are 1 where everything is kept and about 0 where nothing is.

    Raises:
        CorpusError: If the corpus has no groups of tags, or no numeric factors.
    """
    numbers = {
        name: values
        for name, values in corpus.factors.items()
        if name not in _MUSICAL and np.issubdtype(values.dtype, np.number)
    }
    if not corpus.tag_groups or not numbers:
        raise CorpusError(f"{corpus.name} names no causes: tag groups and numeric factors are needed")
    embeddings = extract_embeddings(
        encode, corpus, seconds=seconds, sample_rate=sample_rate, cache=cache, progress=progress
    ).pooled()
    train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
    probe = probe_rows(embeddings, corpus, everything(corpus))
    truth = corpus.targets[test]
    chance = chance_ap(truth)
    kept = (average_precision(probe.scores[0], truth) - chance) / (1 - chance)
    found = {
        group: float(macro(kept[[tag in tags for tag in corpus.vocabulary]]))
        for group, tags in corpus.tag_groups.items()
    }
    kept_numbers = ridge_r2(
        embeddings, np.stack(list(numbers.values()), axis=1), train=train, valid=valid, test=test
    )
    return {**found, "production": float(macro(kept_numbers))}


def ridge_r2(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    test: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Share of each target's variance on the test rows that a ridge regression explains.

    The inverse regularisation strength is chosen for each target on the validation rows, out of :data:`GRID`.

    Args:
        features: (tracks, dim).
        targets: (tracks, targets) of numbers.
        train: Rows to fit on.
        valid: Rows to choose it on.
        test: Rows to judge on.

    Returns:
        (targets,) R², at most 1, and negative where the mean of the test rows would have been better. NaN
        where a target does not vary on them.
    """
    x = standardise(np.asarray(features, dtype=np.float64), train)
    y = np.asarray(targets, dtype=np.float64)
    whole = [Subset(1.0, 0, np.arange(len(train)))]
    weights, intercepts = fit_linear_probes(x[train], y[train], whole, GRID, "squares")
    of_grid = np.stack([r2(found, y[valid]) for found in x[valid] @ weights[0] + intercepts[0][:, None]])
    best = np.nan_to_num(of_grid, nan=-np.inf).argmax(axis=0)
    columns = np.arange(y.shape[1])
    return r2(x[test] @ weights[0, best, :, columns].T + intercepts[0, best, columns], y[test])
