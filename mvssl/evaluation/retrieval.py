"""Whether nearest neighbours by cosine similarity are of the same track, or of the same artist."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl.data import Corpus, CorpusError
from mvssl.evaluation.embeddings import Embeddings, crops_of
from mvssl.evaluation.estimates import Estimate, resamples_of, row

RANKS = (1, 5, 10)
_AT_ONCE = 2**24  # similarities in memory
_TIE = 1e-6  # similarities that are closer than that are equal but for rounding


@dataclass(frozen=True)
class Recall:
    """Shares of queries that have at least one right answer among their k nearest neighbours.

    Attributes:
        kind: What a right answer shares with the query: ``"track"`` or ``"group"``.
        queries: How many there are.
        left_out: Queries without any right answer, which are not counted.
        values: By k.
        chance: By k, the share with neighbours drawn at random.
    """

    kind: str
    queries: int
    left_out: int
    values: dict[int, Estimate]
    chance: dict[int, float]


@dataclass(frozen=True)
class Retrieval:
    """What nearest neighbours in a split have in common with the query; printed, it is a table.

    Attributes:
        found: For crops of the same track, and tracks of the same group; without what no query has a right
            answer for.
    """

    found: tuple[Recall, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every value: by kind and k."""
        for recall in self.found:
            name = f"same_{recall.kind}"
            yield row(name, "queries", recall.queries)
            yield row(name, "queries_left_out", recall.left_out)
            for k, value in recall.values.items():
                yield row(name, "recall", value, level=k, unit="neighbours", chance=recall.chance[k])

    def __str__(self) -> str:
        lines = ["retrieval: share of queries with a right answer among k neighbours [95 %], and by chance"]
        for recall in self.found:
            for k, value in recall.values.items():
                lines.append(f"{f'same {recall.kind}, k = {k}':28}{value}   {recall.chance[k]:.3f}")
            lines.append(
                f"{'':28}{recall.queries} queries, {recall.left_out} left out: no right answer exists"
            )
        return "\n".join(lines)


def retrieval(
    embeddings: Embeddings, corpus: Corpus, *, split: str = "test", ks: Sequence[int] = RANKS
) -> Retrieval:
    """Recall at k by cosine similarity, within one split.

    Same track: each crop is a query, all other crops of the split are candidates, and those of its own track
    are right. Crops do not overlap. Same group (artist): each track, the mean of its crops, is a query, all
    other tracks are candidates, and those of its group are right; crops of the query's own track are no
    candidates, or its recording would be recognised and not its artist. Neighbours that are equally near are
    taken in a random order, on average over all orders, so that a collapsed encoder gets what chance gets.

    Intervals hold for other queries among the same candidates: tracks are resampled, whole groups at a time.

    Args:
        embeddings: Of all tracks of the corpus.
        corpus: Names the split and the groups.
        split: Where queries and candidates are from.
        ks: Numbers of neighbours.

    Raises:
        CorpusError: If no query has any right answer.
        ValueError: If the embeddings are not those of the corpus, or a k is below 1.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks={tuple(ks)} must hold numbers of neighbours from 1 on")
    rows = corpus.indices(split)
    crops, owners = crops_of(embeddings, corpus, rows)
    numbers = corpus.group_numbers()
    groups = np.full(len(rows), -1) if numbers is None else numbers[rows]
    weights = resamples_of(corpus, split)
    of_tracks = _recall("track", hit_rates(crops, owners, ks), owners, ks, weights)
    pooled = embeddings.pooled()[rows]
    of_groups = _recall("group", hit_rates(pooled, groups, ks), np.arange(len(rows)), ks, weights)
    found = tuple(recall for recall in (of_tracks, of_groups) if recall.queries)
    if not found:
        raise CorpusError(
            f"{corpus.name}: no {split} track has two crops, and none has another of its group: nothing can "
            "be retrieved"
        )
    return Retrieval(found)


def _recall(
    kind: str,
    rates: tuple[NDArray[np.float64], NDArray[np.float64]],
    tracks: NDArray[np.int64],
    ks: Sequence[int],
    weights: NDArray[np.integer],
) -> Recall:
    """Means over queries, and their intervals.

    Args:
        kind: As in :class:`Recall`.
        rates: What :func:`hit_rates` gave.
        tracks: (queries,) the track that each query is of.
        ks: Numbers of neighbours.
        weights: (resamples, tracks).
    """
    asked = ~np.isnan(rates[0]).any(axis=1)
    hits, chance = (each[asked] for each in rates)
    counts = np.bincount(tracks[asked], minlength=weights.shape[1])
    drawn = weights @ counts
    values = {}
    for k, column in zip(ks, hits.T, strict=True):
        sums = weights @ np.bincount(tracks[asked], column, minlength=weights.shape[1])
        resampled = np.divide(sums, drawn, out=np.full(len(weights), np.nan), where=drawn > 0)
        values[k] = Estimate.of(column.mean() if len(column) else np.nan, resampled)
    by_chance = chance.mean(axis=0) if len(chance) else np.full(len(ks), np.nan)
    chances = dict(zip(ks, by_chance.tolist(), strict=True))
    return Recall(kind, int(asked.sum()), int((~asked).sum()), values, chances)


def hit_rates(
    vectors: ArrayLike, labels: ArrayLike, ks: Sequence[int], at_once: int = _AT_ONCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whether one of the k nearest other vectors has the label of the query, for each vector as a query.

    Args:
        vectors: (queries, dim).
        labels: (queries,) numbers; nothing is right for a negative one.
        ks: Numbers of neighbours.
        at_once: Similarities in memory.

    Returns:
        Hits (queries, ks), 0 or 1 and between them where the order of equals decides, and what neighbours
        drawn at random would get; NaN for queries without any right answer.
    """
    labels = np.asarray(labels)
    unit = np.asarray(vectors, dtype=np.float32)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-12)
    hits = np.empty((len(unit), len(ks)))
    chance = np.empty_like(hits)
    step = max(1, at_once // len(unit))
    for start in range(0, len(unit), step):
        some = slice(start, start + step)
        queries = np.arange(len(unit))[some]
        similar = unit[some] @ unit.T
        right = labels[some, None] == labels
        right[labels[some] < 0] = False
        right[np.arange(len(queries)), queries] = False
        similar[np.arange(len(queries)), queries] = -np.inf
        hits[some], chance[some] = _hits(similar, right, ks)
    return hits, chance


def _hits(
    similar: NDArray[np.float32], right: NDArray[np.bool_], ks: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hits and chance, (queries, ks), of similarities (queries, candidates), the query among them as −inf."""
    best = np.where(right, similar, -np.inf).max(axis=1, keepdims=True)
    nearer = (similar > best + _TIE).sum(axis=1)
    tied = similar >= best - _TIE
    tied_right = (tied & right).sum(axis=1)
    tied_all = tied.sum(axis=1) - nearer
    answers, candidates = right.sum(axis=1), np.full(len(right), right.shape[1] - 1)
    hits = [_any_drawn(k - nearer, tied_right, tied_all) for k in ks]
    chance = [_any_drawn(np.full(len(right), k), answers, candidates) for k in ks]
    none = (answers == 0)[:, None]
    return np.where(none, np.nan, np.stack(hits, 1)), np.where(none, np.nan, np.stack(chance, 1))


def _any_drawn(
    draws: NDArray[np.int64], right: NDArray[np.int64], candidates: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probability that a right one is among so many draws without replacement; elementwise."""
    missed = np.ones(len(draws))
    for draw in range(int(draws.max(initial=0))):
        left = np.maximum(candidates - draw, 1)
        missed *= np.where(draw < draws, np.clip((candidates - right - draw) / left, 0, 1), 1)
    return 1 - missed
