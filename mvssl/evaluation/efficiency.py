"""Scores of the test tracks, from an encoder and label subsets."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvssl.data import Corpus
from mvssl.evaluation.embeddings import extract_embeddings
from mvssl.evaluation.probes import linear_probe
from mvssl.evaluation.subsets import Subset


def probe_subsets(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    subsets: Sequence[Subset],
    *,
    seconds: float,
    sample_rate: int,
    progress: bool = True,
) -> NDArray[np.float64]:
    """Embeds a corpus and trains a linear probe on each subset of its training split.

    Args:
        encode: As in :func:`~mvssl.evaluation.extract_embeddings`.
        corpus: A corpus with labels and all three splits.
        subsets: Labelled tracks of the training split.
        seconds: Length of the crops that are embedded.
        sample_rate: In Hz.
        progress: Show a progress bar.

    Returns:
        Scores of the test tracks (subsets, test tracks, tags).
    """
    embeddings = extract_embeddings(
        encode, corpus, seconds=seconds, sample_rate=sample_rate, progress=progress
    )
    train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
    return linear_probe(
        embeddings.pooled(), corpus.targets, train=train, valid=valid, test=test, subsets=subsets
    ).scores
