"""Predicting what a teacher, or the input itself, has in places that are not seen."""

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mvssl.functional.precision import full_precision, precise, standardise


def byol(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    sum_over: Literal["features", "batch"] = "features",
) -> Tensor:
    """Regression of one view's target from another view's prediction (BYOL, arXiv:2006.07733, eq. 2).

    The squared distance of normalised vectors, 2 − 2 cos, summed over dimensions, averaged over the batch
    and over all ordered pairs of different views. (The paper adds the two directions of its two views;
    this averages them, so that the value does not grow with the number of views.)

    Args:
        predictions: Predictor outputs of the online network, one (batch, dim) tensor per view.
        targets: Projections of the target network; no gradient reaches them.
        sum_over: Which axis of the products makes the cosine. ``"batch"`` is the slip of the 2024
            comparison (arXiv:2404.09177): sums over the batch, averages over features, and so multiplies
            the cosines by batch / dim.

    Raises:
        ValueError: If ``sum_over`` is unknown or the shapes do not fit.
    """
    if sum_over not in ("features", "batch"):
        raise ValueError(f"sum_over={sum_over!r}: use 'features' or 'batch'")
    axis = 1 if sum_over == "features" else 0
    views = len(predictions)
    if views < 2 or views != len(targets):
        raise ValueError(f"one of each for at least two views is needed, got {views} and {len(targets)}")
    with full_precision([*predictions, *(target.detach() for target in targets)]) as precise:
        unit = [F.normalize(z, dim=1) for z in precise]
        online, target = unit[:views], unit[views:]
        pairs = permutations(range(views), 2)
        return torch.stack([2 - 2 * (online[i] * target[j]).sum(axis).mean() for i, j in pairs]).mean()


def masked_reconstruction(
    predictions: Sequence[Tensor],
    patches: Sequence[Tensor],
    masks: Sequence[Tensor],
    eps: float = 1e-6,
) -> Tensor:
    """Mean squared error on masked patches, each normalised by itself (MAE, arXiv:2111.06377, §3).

    Every patch has its own mean taken away and is divided by its own deviation; the error is averaged over
    values and masked patches, then over views. Predicting zero costs (nearly) 1, and 0 where nothing changes
    within patches.

    Args:
        predictions: One (batch, patches, size) tensor per view; views may differ in their patches.
        patches: What is to be predicted, of the same shapes; no gradient reaches them.
        masks: Which patches count, (batch, patches), at least one of each view.
        eps: Added to the variance of a patch.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_masked(predictions, patches, masks)
    losses = []
    for prediction, patch, mask in zip(predictions, patches, masks, strict=True):
        with torch.autocast(prediction.device.type, enabled=False):
            target = precise(patch.detach())
            centred = target - target.mean(2, keepdim=True)
            target = centred * (centred.square().mean(2, keepdim=True) + eps).rsqrt()
            losses.append(_masked_error(precise(prediction), target, mask))
    return torch.stack(losses).mean()


def masked_latent(
    predictions: Sequence[Tensor], features: Sequence[Tensor], masks: Sequence[Tensor]
) -> Tensor:
    """Regression of a teacher's features at masked places (data2vec, arXiv:2202.03555, §3.3, squared).

    Features are standardised per dimension over the batch and over all places, so that predicting zero costs
    (nearly) 1 whatever their scale: the mean squared error, averaged over dimensions and masked places, then
    over views.

    Args:
        predictions: One (batch, places, dim) tensor per view; views may differ in their places.
        features: Those of the teacher, of the same shapes; no gradient reaches them.
        masks: Which places count, (batch, places), at least one of each view.

    Raises:
        ValueError: If the shapes do not fit, or there is but one sample.
    """
    _check_masked(predictions, features, masks)
    if len(predictions[0]) < 2:
        raise ValueError(f"at least two samples per batch are needed, got {len(predictions[0])}")
    losses = []
    for prediction, feature, mask in zip(predictions, features, masks, strict=True):
        with torch.autocast(prediction.device.type, enabled=False):
            target = standardise(precise(feature.detach()).flatten(0, 1)).view_as(feature)
            losses.append(_masked_error(precise(prediction), target, mask))
    return torch.stack(losses).mean()


def _masked_error(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the places that a mask marks."""
    error = (predictions - targets).square().mean(2)
    return (error * mask).sum() / mask.sum()


def _check_masked(predictions: Sequence[Tensor], targets: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    shapes = [[tuple(x.shape) for x in views] for views in (predictions, targets, masks)]
    places = [shape[:2] for shape in shapes[0]]
    if not shapes[0] or any(len(shape) != 3 for shape in shapes[0]) or shapes[1:] != [shapes[0], places]:
        raise ValueError(
            f"one prediction, target (batch, places, dim) and mask (batch, places) per view are needed, "
            f"got shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
