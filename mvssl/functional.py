"""Equations of the pretexts, as pure functions of projections.

Each takes a sequence of projections, one (batch, dim) tensor per view, and returns a scalar. All compute in
fp32 (or in float64, if that is what they get) with autocast off: half precision overflows in most of them.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import combinations
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

R = TypeVar("R")


def _full_precision(function: Callable[..., R]) -> Callable[..., R]:
    """Runs a function with autocast off and its leading views in at least fp32."""

    @wraps(function)
    def wrapped(projections: Sequence[Tensor], *args: object, **kwargs: object) -> R:
        _check(projections)
        with torch.autocast(projections[0].device.type, enabled=False):
            precise = [z if z.dtype == torch.float64 else z.float() for z in projections]
            return function(precise, *args, **kwargs)

    return wrapped


def _check(projections: Sequence[Tensor]) -> None:
    if len(projections) < 2:
        raise ValueError(f"at least two views are needed, got {len(projections)}")
    shapes = [tuple(z.shape) for z in projections]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"projections must all have one shape (batch, dim), got {shapes}")
    if shapes[0][0] < 2:
        raise ValueError("at least two samples per batch are needed, got 1")


@_full_precision
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

    Args:
        projections: One (batch, dim) tensor per view; row i of each is a view of track i.
        temperature: Divides the cosine similarities.
        reduction: What to do with more than two views.

    Raises:
        ValueError: If the reduction is unknown or the shapes do not fit.
    """
    views = [F.normalize(z, dim=1) for z in projections]
    if reduction == "pairwise":
        losses = [_multi_positive(list(pair), temperature) for pair in combinations(views, 2)]
        return torch.stack(losses).mean()
    if reduction == "multi_positive":
        return _multi_positive(views, temperature)
    raise ValueError(f"reduction={reduction!r}: use 'pairwise' or 'multi_positive'")


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


@_full_precision
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
    _check([*predictions, *targets])
    online = [F.normalize(p, dim=1) for p in predictions]
    target = [F.normalize(t.detach().to(p.dtype), dim=1) for t, p in zip(targets, predictions, strict=True)]
    losses = [
        2 - 2 * (p * t).sum(1).mean()
        for i, p in enumerate(online)
        for j, t in enumerate(target)
        if i != j
    ]
    return torch.stack(losses).mean()


@_full_precision
def vicreg_terms(projections: Sequence[Tensor], eps: float = 1e-4) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of VICReg (https://arxiv.org/abs/2105.04906, eqs. 1–5), unweighted.

    Args:
        projections: One (batch, dim) tensor per view.
        eps: Added to variances before the square root.

    Returns:
        Invariance (mean squared difference over the elements and over all pairs of views, as in the
        authors' code), variance (mean hinge 1 − standard deviation) and covariance (squared off-diagonal
        covariances, summed, over dim). Variance and covariance are averaged over views times two over two:
        with two views the variance term is the half-sum and the covariance term the sum, as in the
        authors' code.
    """
    invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(projections, 2)]).mean()
    variances, covariances = [], []
    for z in projections:
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
