"""Dimensions that agree between views and differ from each other."""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mvssl.functional.precision import full_precision, standardise


def vicreg_terms(
    projections: Sequence[Tensor],
    eps: float = 1e-4,
    redundancy: Literal["covariance", "correlation"] = "covariance",
) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of VICReg (https://arxiv.org/abs/2105.04906, eqs. 1–5), unweighted.

    With two views they are those of the authors' code, which divides the paper's invariance by dim and the
    paper's variance by two.

    Args:
        projections: One (batch, dim) tensor per view.
        eps: Added to variances before the square root.
        redundancy: What the third term is made of. ``"correlation"`` is that of the 2024 comparison
            (arXiv:2404.09177): the mean, not the sum, of squared correlations, which cannot exceed
            (batch / (batch − 1))² and does not see how large the projections are.

    Returns:
        Invariance: mean squared difference over the elements and over all pairs of views. Variance: mean
        hinge 1 − standard deviation over dimensions and views. Covariance: sum of the squared off-diagonal
        covariances over dim, twice the mean over views (with two views, their sum); of correlations, the
        mean over off-diagonal elements and views.

    Raises:
        ValueError: If ``redundancy`` is unknown or the shapes do not fit.
    """
    if redundancy not in ("covariance", "correlation"):
        raise ValueError(f"redundancy={redundancy!r}: use 'covariance' or 'correlation'")
    with full_precision(projections) as precise:
        batch, dim = precise[0].shape
        invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(precise, 2)]).mean()
        centred = [z - z.mean(0) for z in precise]
        deviations = [(z.square().sum(0) / (batch - 1) + eps).sqrt() for z in centred]
        variance = torch.stack([F.relu(1 - deviation).mean() for deviation in deviations]).mean()
        if redundancy == "correlation":
            products, scale = [standardise(z) for z in precise], 1 / max(dim * (dim - 1), 1)
        else:
            products, scale = centred, 2 / dim
        squares = [_squares(z, z, batch - 1)[1] for z in products]
        return invariance, variance, scale * torch.stack(squares).mean()


def vicreg(
    projections: Sequence[Tensor],
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """Weighted sum of the terms of VICReg, see :func:`vicreg_terms`."""
    terms = vicreg_terms(projections)
    return invariance * terms[0] + variance * terms[1] + covariance * terms[2]


def barlow_twins(
    projections: Sequence[Tensor],
    lambda_: float = 5e-3,
    reduction: Literal["sum", "mean"] = "sum",
    correction: int = 0,
) -> Tensor:
    """Cross-correlations of two views, pulled towards the identity.

    Barlow Twins, https://arxiv.org/abs/2103.03230, eqs. 1–2; the mean over all pairs of views. Projections
    are standardised over the batch with the ε of the authors' batch norm (1e-5 on the variance), so that a
    constant dimension counts as uncorrelated: a constant output costs dim. The value grows with dim, as
    published.

    Args:
        projections: One (batch, dim) tensor per view.
        lambda_: Weight of the redundancy term.
        reduction: ``"sum"`` over the elements of the matrix is the paper's. ``"mean"`` averages each term
            over its own elements; ``lambda_=1`` then weighs as 1 / (dim − 1) does in the paper's loss.
        correction: Subtracted from the batch size in the mean over the batch. With 1, as in the 2024
            comparison (arXiv:2404.09177), identical views do not reach zero.

    Raises:
        ValueError: If the reduction is unknown or the shapes do not fit.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r}: use 'sum' or 'mean'")
    with full_precision(projections) as precise:
        batch, dim = precise[0].shape
        views = [standardise(z) for z in precise]
        pairs = [_squares(a, b, batch - correction, diagonal=1.0) for a, b in combinations(views, 2)]
        invariance, redundancy = (torch.stack(terms).mean() for terms in zip(*pairs, strict=True))
        if reduction == "mean":
            invariance, redundancy = invariance / dim, redundancy / max(dim * (dim - 1), 1)
        return invariance + lambda_ * redundancy


def _squares(a: Tensor, b: Tensor, divisor: float, diagonal: float = 0.0) -> tuple[Tensor, Tensor]:
    """Of the products aᵀb / divisor between dimensions, squares summed up: on the diagonal and off it.

    Where there are fewer rows than dimensions, aaᵀ and bbᵀ do with less work: ‖aᵀb‖² = Σ (aaᵀ ∘ bbᵀ).

    Args:
        a: (rows, dim).
        b: The same, or the very same tensor.
        divisor: Of the products.
        diagonal: Subtracted on the diagonal.
    """
    on = (a * b).sum(0) / divisor
    if a.shape[0] < a.shape[1]:
        gram = a @ a.T
        everything = (gram * (gram if b is a else b @ b.T)).sum() / divisor**2
    else:
        everything = (a.T @ b / divisor).square().sum()
    return (on - diagonal).square().sum(), everything - on.square().sum()


def effective_rank(embeddings: Tensor, eps: float = 1e-7) -> Tensor:
    """Exponential of the entropy of the singular values (RankMe, https://arxiv.org/abs/2210.02885, eq. 1–2).

    Args:
        embeddings: (batch, dim); at most min(batch, dim) can come out.
        eps: Keeps the logarithm finite.
    """
    values = torch.linalg.svdvals(embeddings.float())
    share = values / values.sum().clamp_min(eps) + eps
    return (-(share * share.log()).sum()).exp()
