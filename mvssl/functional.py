"""Equations of the pretexts, as pure functions of projections.

Each takes a sequence of projections, one (batch, dim) tensor per view, and returns a scalar. All compute in
fp32 (or in float64, if that is what they get) with autocast off: half precision overflows in most of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def _full_precision(projections: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Checks the shapes of the views, and gives them in at least fp32 with autocast off."""
    if len(projections) < 2:
        raise ValueError(f"at least two views are needed, got {len(projections)}")
    shapes = [tuple(z.shape) for z in projections]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"projections must all have one shape (batch, dim), got {shapes}")
    if shapes[0][0] < 2:
        raise ValueError(f"at least two samples per batch are needed, got {shapes[0][0]}")
    with torch.autocast(projections[0].device.type, enabled=False):
        yield [z if z.dtype == torch.float64 else z.float() for z in projections]


def nt_xent(
    projections: Sequence[Tensor],
    temperature: float = 0.1,
    reduction: Literal["pairwise", "multi_positive"] = "pairwise",
) -> Tensor:
    """Normalised temperature-scaled cross-entropy (SimCLR, https://arxiv.org/abs/2002.05709, eq. 1).

    With two views both reductions are the published loss. With more, the name has no single meaning:

    - ``"pairwise"``: the mean of the two-view losses over all pairs of views.
    - ``"multi_positive"``: every other view of a track is a positive; the cross-entropies are averaged over
      positives, and each denominator holds every other sample, the other positives included.

    A constant output gives log(samples in the denominator), for two views log(2 · batch − 1).

    Args:
        projections: One (batch, dim) tensor per view; row i of each is a view of track i.
        temperature: Divides the cosine similarities.
        reduction: What to do with more than two views.

    Raises:
        ValueError: If the reduction is unknown or the shapes do not fit.
    """
    if reduction not in ("pairwise", "multi_positive"):
        raise ValueError(f"reduction={reduction!r}: use 'pairwise' or 'multi_positive'")
    with _full_precision(projections) as precise:
        views = [F.normalize(z, dim=1) for z in precise]
        if reduction == "multi_positive":
            return _multi_positive(views, temperature)
        losses = [_multi_positive(list(pair), temperature) for pair in combinations(views, 2)]
        return torch.stack(losses).mean()


def _multi_positive(views: list[Tensor], temperature: float) -> Tensor:
    count, batch = len(views), len(views[0])
    z = torch.cat(views)
    similarity = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    denominator = similarity.masked_fill(itself, -torch.inf).logsumexp(1)
    # Sum over the positives of row (view, track): similarities between the views of one track.
    together = torch.stack(views)
    positives = torch.einsum("ubd,vbd->ubv", together, together).sum(2) - together.square().sum(2)
    return (denominator - positives.reshape(count * batch) / (temperature * (count - 1))).mean()


def byol(predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Regression of one view's target from another view's prediction (BYOL, arXiv:2006.07733, eq. 2).

    The squared distance of normalised vectors, 2 − 2 cos, summed over dimensions, averaged over the batch
    and over all ordered pairs of different views. (The paper adds the two directions of its two views;
    this averages them, so that the value does not grow with the number of views.)

    Args:
        predictions: Predictor outputs of the online network, one (batch, dim) tensor per view.
        targets: Projections of the target network; no gradient reaches them.

    Raises:
        ValueError: If the shapes do not fit.
    """
    views = len(predictions)
    if views < 2 or views != len(targets):
        raise ValueError(f"one of each for at least two views is needed, got {views} and {len(targets)}")
    with _full_precision([*predictions, *(target.detach() for target in targets)]) as precise:
        unit = [F.normalize(z, dim=1) for z in precise]
        online, target = unit[:views], unit[views:]
        pairs = permutations(range(views), 2)
        return torch.stack([2 - 2 * (online[i] * target[j]).sum(1).mean() for i, j in pairs]).mean()


def vicreg_terms(projections: Sequence[Tensor], eps: float = 1e-4) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of VICReg (https://arxiv.org/abs/2105.04906, eqs. 1–5), unweighted.

    With two views they are those of the authors' code, which divides the paper's invariance by dim and the
    paper's variance by two.

    Args:
        projections: One (batch, dim) tensor per view.
        eps: Added to variances before the square root.

    Returns:
        Invariance: mean squared difference over the elements and over all pairs of views. Variance: mean
        hinge 1 − standard deviation over dimensions and views. Covariance: sum of the squared off-diagonal
        covariances over dim, twice the mean over views (with two views, their sum).

    Raises:
        ValueError: If the shapes do not fit.
    """
    with _full_precision(projections) as precise:
        invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(precise, 2)]).mean()
        variances, covariances = [], []
        for z in precise:
            centred = z - z.mean(0)
            deviation = (centred.square().sum(0) / (len(z) - 1) + eps).sqrt()
            variances.append(F.relu(1 - deviation).mean())
            covariance = centred.T @ centred / (len(z) - 1)
            off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
            covariances.append(off_diagonal / z.shape[1])
        return invariance, torch.stack(variances).mean(), 2 * torch.stack(covariances).mean()


def vicreg(
    projections: Sequence[Tensor],
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """Weighted sum of the terms of VICReg, see :func:`vicreg_terms`."""
    terms = vicreg_terms(projections)
    return invariance * terms[0] + variance * terms[1] + covariance * terms[2]


def effective_rank(embeddings: Tensor, eps: float = 1e-7) -> Tensor:
    """Exponential of the entropy of the singular values (RankMe, https://arxiv.org/abs/2210.02885, eq. 1–2).

    Args:
        embeddings: (batch, dim); at most min(batch, dim) can come out.
        eps: Keeps the logarithm finite.
    """
    values = torch.linalg.svdvals(embeddings.float())
    share = values / values.sum().clamp_min(eps) + eps
    return (-(share * share.log()).sum()).exp()
