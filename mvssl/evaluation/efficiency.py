"""What an encoder is worth at several label fractions, in one call."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvssl.data import Corpus
from mvssl.encoders import Encoder
from mvssl.evaluation.embeddings import extract_embeddings
from mvssl.evaluation.metrics import average_precision, macro
from mvssl.evaluation.probes import linear_probe
from mvssl.evaluation.subsets import Subset, draw_subsets


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


def label_efficiency(
    encoder: Encoder,
    corpus: Corpus,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 1.0),
    repeats: int = 4,
    *,
    progress: bool = False,
) -> dict[float, float]:
    """Macro average precision of a linear probe on a frozen encoder, by label fraction.

    The protocol of ``mvssl compare`` without its intervals: the same crops, subsets and probe.

    Args:
        encoder: The encoder; it is not changed.
        corpus: A corpus with labels and all three splits.
        fractions: Shares of the training split's labels.
        repeats: Draws of each fraction below 1, over which the mean is taken.
        progress: Show a progress bar.

    Raises:
        CorpusError: If the corpus has no labels or lacks a split.
    """
    corpus.require_labels()
    subsets = draw_subsets(corpus.targets[corpus.indices("train")], fractions, repeats)
    scores = probe_subsets(
        encoder, corpus, subsets, seconds=encoder.seconds, sample_rate=encoder.sample_rate, progress=progress
    )
    truth = corpus.targets[corpus.indices("test")]
    found: dict[float, list[float]] = {}
    for subset, score in zip(subsets, scores, strict=True):
        value = float(macro(average_precision(score, truth)))
        found.setdefault(subset.fraction, []).append(value)
    return {fraction: sum(values) / len(values) for fraction, values in found.items()}
