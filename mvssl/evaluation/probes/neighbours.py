"""The nearest-neighbour probe: nothing is trained, so that it shows what the embedding space itself knows."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvssl.evaluation.probes.base import ProbeData, ProbeResult, probes
from mvssl.evaluation.subsets import Subset

NEIGHBOURS = (1, 3, 10, 30, 100)
_AT_ONCE = 2**24  # votes (tracks × neighbours × columns) in memory


@probes.register("knn")
def knn_probe(
    data: ProbeData,
    subsets: Sequence[Subset],
    *,
    grid: Sequence[int] = NEIGHBOURS,
    temperature: float = 0.07,
) -> ProbeResult:
    """Weighted nearest neighbours; how many there are is chosen on validation.

    The score of a tag or class is the share of the neighbours' weight that has it, a number is their weighted
    mean. A neighbour of cosine similarity s
    weighs exp(s / temperature), as in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination" (https://arxiv.org/abs/1805.01978). Where a subset has fewer tracks than neighbours are
    asked for, all of them are taken.

    Args:
        data: Features, targets and splits.
        subsets: Label subsets from `draw_subsets`.
        grid: Numbers of neighbours to try; of equally good ones the smallest is taken.
        temperature: Of the weights.

    Raises:
        ValueError: If a number of neighbours is below 1.
    """
    grid = tuple(sorted(grid))
    if not grid or grid[0] < 1:
        raise ValueError(f"grid={grid} must hold numbers of neighbours from 1 on")
    unit = F.normalize(torch.from_numpy(data.features), dim=1)
    asked = torch.from_numpy(np.concatenate([data.valid, data.test]))
    similarity = unit[asked] @ unit[torch.from_numpy(data.train)].T / temperature
    labels = torch.from_numpy(data.targets[data.train]).double()
    votes = np.stack([_votes(similarity[:, rows], labels[rows], grid) for rows in _rows(subsets)])
    valid_scores, scores = np.split(votes, [len(data.valid)], axis=2)
    valid_values = data.valid_value(valid_scores)
    best = valid_values.argmax(axis=1)
    every = np.arange(len(subsets))
    return ProbeResult(
        scores[every, best], valid_scores[every, best], np.array(grid)[best], grid, valid_values
    )


def _rows(subsets: Sequence[Subset]) -> list[Tensor]:
    return [torch.from_numpy(subset.indices) for subset in subsets]


def _votes(similarity: Tensor, labels: Tensor, grid: Sequence[int]) -> NDArray[np.float64]:
    """Weighted means (grid, tracks, columns) of the labels of the nearest labelled tracks.

    Args:
        similarity: (tracks, labelled tracks), over the temperature.
        labels: (labelled tracks, columns).
        grid: Numbers of neighbours, ascending.
    """
    most = min(grid[-1], len(labels))
    last = torch.tensor(grid).clamp_max(most) - 1
    at_once = max(1, _AT_ONCE // (most * labels.shape[1]))
    parts = []
    for some in similarity.split(at_once):
        nearest = some.topk(most, dim=1)
        weights = (nearest.values - nearest.values[:, :1]).exp()
        votes = (weights.unsqueeze(2) * labels[nearest.indices]).cumsum(1)[:, last]
        parts.append(votes / weights.cumsum(1)[:, last].unsqueeze(2))
    result: NDArray[np.float64] = torch.cat(parts).transpose(0, 1).numpy()
    return result
