"""The nearest-neighbour probe: nothing is trained, so that it shows what the embedding space itself knows."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from mvssl.evaluation.probes.base import ProbeResult, Problem, probes
from mvssl.evaluation.subsets import Subset

NEIGHBOURS = (1, 3, 10, 30, 100)
_AT_ONCE = 2**24  # votes (tracks × neighbours × tags) in memory


@probes.register("knn")
def knn_probe(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    train: ArrayLike,
    valid: ArrayLike,
    test: ArrayLike,
    subsets: Sequence[Subset],
    grid: Sequence[int] = NEIGHBOURS,
    temperature: float = 0.07,
) -> ProbeResult:
    """Weighted nearest neighbours; how many there are is chosen on validation.

    The score of a tag is the share of the neighbours' weight that has it. A neighbour of cosine similarity s
    weighs exp(s / temperature), as in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination" (https://arxiv.org/abs/1805.01978). Where a subset has fewer tracks than neighbours are
    asked for, all of them are taken.

    Args:
        features: (tracks, dim) embeddings of all tracks.
        targets: (tracks, tags) of booleans.
        train: Row numbers of the train split, to which the rows of the subsets refer.
        valid: Row numbers of the validation split.
        test: Row numbers of the test split.
        subsets: Label subsets from `draw_subsets`.
        grid: Numbers of neighbours to try; of equally good ones the smallest is taken.
        temperature: Of the weights.

    Raises:
        ValueError: If a feature is not finite, no tag has a positive in the validation split, shapes do not
            match, splits overlap, or a number of neighbours is below 1.
    """
    grid = tuple(sorted(grid))
    if not grid or grid[0] < 1:
        raise ValueError(f"grid={grid} must hold numbers of neighbours from 1 on")
    problem = Problem.of(features, targets, train, valid, test)
    unit = F.normalize(torch.from_numpy(problem.features), dim=1)
    asked = torch.from_numpy(np.concatenate([problem.valid, problem.test]))
    similarity = unit[asked] @ unit[torch.from_numpy(problem.train)].T / temperature
    labels = torch.from_numpy(problem.targets[problem.train]).double()
    votes = np.stack([_votes(similarity[:, rows], labels[rows], grid) for rows in _rows(subsets)])
    valid_scores, scores = np.split(votes, [len(problem.valid)], axis=2)
    valid_ap = problem.valid_ap(valid_scores)
    best = valid_ap.argmax(axis=1)
    every = np.arange(len(subsets))
    return ProbeResult(scores[every, best], valid_scores[every, best], np.array(grid)[best], grid, valid_ap)


def _rows(subsets: Sequence[Subset]) -> list[Tensor]:
    return [torch.from_numpy(subset.indices) for subset in subsets]


def _votes(similarity: Tensor, labels: Tensor, grid: Sequence[int]) -> NDArray[np.float64]:
    """Shares (grid, tracks, tags) of the weight of the nearest labelled tracks.

    Args:
        similarity: (tracks, labelled tracks), over the temperature.
        labels: (labelled tracks, tags) of 0 and 1.
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
