"""How embeddings of held-out tracks lie in space, by the definitions that pre-training logs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mvssl.data import Corpus, CorpusError
from mvssl.evaluation.embeddings import Embeddings, crops_of
from mvssl.evaluation.estimates import row
from mvssl.pretext.health import alignment, signs_of_collapse

_MEANINGS = {
    "alignment": "squared distance between two crops of a track: 0 the same, 2 unrelated",
    "uniformity": "0 all tracks alike, about -4 spread evenly",
    "embedding_std": "0 all tracks alike, 1 in all directions",
    "rankme": "effective dimensions",
}


@dataclass(frozen=True)
class Geometry:
    """Signs of health of embeddings; printed, it is a table.

    Attributes:
        tracks: How many there are.
        dim: Dimensions of an embedding.
        values: ``uniformity``, ``embedding_std`` and ``rankme``, and ``alignment`` where tracks have two
            crops, as :mod:`mvssl.pretext.health` defines them.
    """

    tracks: int
    dim: int
    values: Mapping[str, float]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every value."""
        for name, value in self.values.items():
            yield row("embedding", name, value)

    def __str__(self) -> str:
        lines = [f"geometry of {self.tracks} tracks in {self.dim} dimensions"]
        lines += [f"{name:28}{value:.3f}   {_MEANINGS[name]}" for name, value in self.values.items()]
        return "\n".join(lines)


def geometry(embeddings: Embeddings, corpus: Corpus, *, split: str = "test") -> Geometry:
    """Alignment, uniformity, spread and effective rank of the embeddings of a split.

    Alignment is between the first and the last crop of each track, which are the farthest apart; the others
    are of the first crops alone. The effective rank is at most the smaller of tracks and dimensions.

    Args:
        embeddings: Of all tracks of the corpus.
        corpus: Names the split.
        split: Which tracks to look at.

    Raises:
        CorpusError: If the split has fewer than two tracks.
        ValueError: If the embeddings are not those of the corpus.
    """
    rows = corpus.indices(split)
    if len(rows) < 2:
        raise CorpusError(f"{corpus.name}: {len(rows)} {split} tracks have no geometry; two are needed")
    crops, owners = crops_of(embeddings, corpus, rows)
    first = np.searchsorted(owners, np.arange(len(rows)))
    last = np.searchsorted(owners, np.arange(len(rows)), side="right") - 1
    two = first < last
    vectors = torch.from_numpy(crops)
    found = {"alignment": alignment([vectors[first[two]], vectors[last[two]]])} if two.any() else {}
    found |= signs_of_collapse([vectors[first]])
    return Geometry(len(rows), crops.shape[1], {name: value.item() for name, value in found.items()})
