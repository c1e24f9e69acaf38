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
from torch.utils.checkpoint import checkpoint

Negatives = Literal["batch", "track", "both"]
_BLOCK = 1024  # anchors whose similarities exist at a time


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


def _standardise(z: Tensor, eps: float = 1e-5) -> Tensor:
    """Gives each dimension mean 0 and (nearly) variance 1 over the batch, as a batch norm does.

    ``eps`` keeps values and gradients of a constant dimension finite; both become 0.
    """
    centred = z - z.mean(0)
    return centred * (centred.square().mean(0) + eps).rsqrt()


def _squares(matrix: Tensor, diagonal: float = 0.0) -> tuple[Tensor, Tensor]:
    """Sums of the squared distances to ``diagonal`` on the diagonal and to zero off it."""
    on = matrix.diagonal()
    return (on - diagonal).square().sum(), matrix.square().sum() - on.square().sum()


def nt_xent(
    projections: Sequence[Tensor],
    temperature: float = 0.1,
    reduction: Literal["pairwise", "multi_positive"] = "pairwise",
    decoupled: bool = False,
    negatives: Negatives = "batch",
    positions: int = 1,
    queue: Tensor | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross-entropy (SimCLR, https://arxiv.org/abs/2002.05709, eq. 1).

    With two views both reductions are the published loss. With more, the name has no single meaning:

    - ``"pairwise"``: the mean of the two-view losses over all pairs of views.
    - ``"multi_positive"``: every other view of a track is a positive; the cross-entropies are averaged over
      positives, and each denominator holds every other sample, the other positives included.

    With ``negatives`` within tracks, the views are ``positions`` places of the track, each with at least two
    augmentations, place by place: with two of each, the views are a, a', b, b'. Positives are the other
    augmentations of the same place, and what is said above of tracks and their views holds for places and
    their augmentations.

    A constant output gives log(samples in the denominator), for two views log(2 · batch − 1).

    Args:
        projections: One (batch, dim) tensor per view; row i of each is a view of track i.
        temperature: Divides the cosine similarities.
        reduction: What to do with more than two views.
        decoupled: Leave the positives out of the denominators (DCL, arXiv:2110.06848, eq. 6 without
            weights). What remains in them are negatives only; the loss can be negative.
        negatives: ``"batch"``: the other tracks. ``"track"``: the other places of the same track, and no
            other track (arXiv:2207.04471). ``"both"``: other places of all tracks.
        positions: Places per track; 1 for ``"batch"``, at least 2 otherwise.
        queue: (samples, dim) further negatives for every anchor, such as earlier projections; no gradient
            reaches them.

    Raises:
        ValueError: If a name is unknown, ``negatives``, ``positions`` and ``queue`` do not go together, or
            the shapes do not fit.
    """
    if reduction not in ("pairwise", "multi_positive"):
        raise ValueError(f"reduction={reduction!r}: use 'pairwise' or 'multi_positive'")
    check_negatives(negatives, positions, queue is not None)
    with _full_precision(projections) as precise:
        z = F.normalize(_instances(torch.stack(precise), negatives, positions), dim=3)
        others = z.new_empty(0, z.shape[3]) if queue is None else queue.detach().to(z)
        if others.shape[1:] != z.shape[3:]:
            raise ValueError(f"queue must have shape (samples, {z.shape[3]}), got {tuple(others.shape)}")
        others = F.normalize(others, dim=1)
        if reduction == "multi_positive":
            return _multi_positive(z, temperature, decoupled, others)
        pairs = combinations(range(z.shape[1]), 2)
        return torch.stack(
            [_multi_positive(z[:, pair], temperature, decoupled, others) for pair in map(list, pairs)]
        ).mean()


def check_negatives(negatives: str, positions: int, queued: bool) -> None:
    """Checks that arguments of :func:`nt_xent` go together.

    Args:
        negatives: Where negatives are from.
        positions: Places per track.
        queued: Whether there is a queue.

    Raises:
        ValueError: If they do not.
    """
    if negatives not in ("batch", "track", "both"):
        raise ValueError(f"negatives={negatives!r}: use 'batch', 'track' or 'both'")
    if negatives == "batch" and positions != 1:
        raise ValueError(
            f"positions={positions} needs negatives='track' or 'both': for 'batch' all views of a track are "
            f"positives"
        )
    if negatives != "batch" and positions < 2:
        raise ValueError(
            f"positions={positions}: negatives={negatives!r} needs at least two places per track"
        )
    if negatives == "track" and queued:
        raise ValueError("negatives='track' has no use for a queue of other tracks: use 'batch' or 'both'")


def _instances(views: Tensor, negatives: Negatives, positions: int) -> Tensor:
    """Views (views, batch, dim) as problems to solve apart: (problems, augmentations, instances, dim)."""
    count, batch, dim = views.shape
    if count % positions or count // positions < 2:
        raise ValueError(
            f"{count} views are not positions={positions} with the same number of augmentations, at least two"
        )
    places = views.reshape(positions, count // positions, batch, dim)
    if negatives == "track":
        return places.permute(2, 1, 0, 3)
    return places.transpose(0, 1).reshape(1, count // positions, positions * batch, dim)


def _multi_positive(z: Tensor, temperature: float, decoupled: bool, others: Tensor) -> Tensor:
    """Mean over samples of log denominator − mean similarity with the other views of the instance."""
    positives = (z * (z.sum(1, keepdim=True) - z)).sum(3) / (temperature * (z.shape[1] - 1))
    return _log_denominators(z, temperature, decoupled, others).mean() - positives.mean()


def _log_denominators(z: Tensor, temperature: float, decoupled: bool, others: Tensor) -> Tensor:
    """Logarithms of the sums over all samples but the anchor, or but its instance, and over ``others``.

    Args:
        z: Unit vectors (problems, views, instances, dim).
        temperature: Divides the similarities.
        decoupled: Whether the other views of the anchor's instance are left out as well.
        others: Unit vectors (samples, dim) that are in every sum.

    Returns:
        (problems, views · instances).
    """
    problems, views, instances, dim = z.shape
    rows = z.reshape(problems, views * instances, dim)
    columns = torch.cat([rows, others.expand(problems, -1, -1)], 1).mT / temperature
    itself = torch.arange(views * instances, device=z.device)[None, :, None]
    if decoupled:
        itself = itself % instances + torch.arange(0, views * instances, instances, device=z.device)

    def block(anchors: Tensor, columns: Tensor, left_out: Tensor) -> Tensor:
        similarity = anchors @ columns
        return similarity.scatter_(2, left_out.expand(problems, -1, -1), -torch.inf).logsumexp(2)

    blocks = list(zip(rows.split(_BLOCK, 1), itself.split(_BLOCK, 1), strict=True))
    if len(blocks) == 1:
        return block(rows, columns, itself)
    # Of large batches only one block of similarities exists at a time: the way back makes each anew.
    sums = [
        checkpoint(block, anchors, columns, left_out, use_reentrant=False, preserve_rng_state=False)
        for anchors, left_out in blocks
    ]
    return torch.cat(sums, 1)


def sup_con(projections: Sequence[Tensor], groups: Tensor | None = None, temperature: float = 0.1) -> Tensor:
    """Contrasts groups of tracks (SupCon, https://arxiv.org/abs/2004.11362, eq. 2: L_out).

    Positives of a sample are the other views of its track and all views of the other tracks of its group;
    the cross-entropies are averaged over them, outside of the logarithm, and then over samples (the paper
    adds these). Each denominator holds every other sample. Without groups this is :func:`nt_xent` with the
    reduction ``"multi_positive"``.

    Args:
        projections: One (batch, dim) tensor per view; row i of each is a view of track i.
        groups: (batch,) int64; tracks with the same number are a group, a negative one means no group.
        temperature: Divides the cosine similarities.

    Raises:
        ValueError: If the shapes do not fit, or groups are not integers.
    """
    with _full_precision(projections) as precise:
        z = F.normalize(torch.stack(precise), dim=2)
        views, batch, dim = z.shape
        alone = -1 - torch.arange(batch, device=z.device)
        groups = alone if groups is None else groups
        if groups.shape != (batch,) or groups.dtype != torch.int64:
            raise ValueError(
                f"groups must be int64 of shape ({batch},), got {groups.dtype} {tuple(groups.shape)}"
            )
        _, members, sizes = torch.where(groups < 0, alone, groups).unique(
            return_inverse=True, return_counts=True
        )
        sums = z.new_zeros(len(sizes), dim).index_add(0, members, z.sum(0))
        similarities = (z * (sums[members] - z)).sum(2)
        positives = similarities / (views * sizes[members] - 1) / temperature
        denominators = _log_denominators(z[None], temperature, False, z.new_empty(0, dim))
        return denominators.mean() - positives.mean()


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
    with _full_precision([*predictions, *(target.detach() for target in targets)]) as precise:
        unit = [F.normalize(z, dim=1) for z in precise]
        online, target = unit[:views], unit[views:]
        pairs = permutations(range(views), 2)
        return torch.stack([2 - 2 * (online[i] * target[j]).sum(axis).mean() for i, j in pairs]).mean()


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
    with _full_precision(projections) as precise:
        batch, dim = precise[0].shape
        invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(precise, 2)]).mean()
        centred = [z - z.mean(0) for z in precise]
        deviations = [(z.square().sum(0) / (batch - 1) + eps).sqrt() for z in centred]
        variance = torch.stack([F.relu(1 - deviation).mean() for deviation in deviations]).mean()
        if redundancy == "correlation":
            products, scale = [_standardise(z) for z in precise], 1 / max(dim * (dim - 1), 1)
        else:
            products, scale = centred, 2 / dim
        squares = [_squares(z.T @ z / (batch - 1))[1] for z in products]
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
    with _full_precision(projections) as precise:
        batch, dim = precise[0].shape
        views = [_standardise(z) for z in precise]
        pairs = [_squares(a.T @ b / (batch - correction), diagonal=1.0) for a, b in combinations(views, 2)]
        invariance, redundancy = (torch.stack(terms).mean() for terms in zip(*pairs, strict=True))
        if reduction == "mean":
            invariance, redundancy = invariance / dim, redundancy / max(dim * (dim - 1), 1)
        return invariance + lambda_ * redundancy


def cola(projections: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Contrasts tracks by a bilinear similarity (COLA, https://arxiv.org/abs/2010.10915, eqs. 1–2).

    The cross-entropy of finding, by zᵀ·W·z', the other view of a track among that view of all tracks of the
    batch. The mean over all ordered pairs of different views; the paper takes one of the two orders, in
    which its crops are drawn alike. A constant output gives log(batch).

    Args:
        projections: One (batch, dim) tensor per view.
        weight: W, (dim, dim); need not be symmetric.

    Raises:
        ValueError: If the shapes do not fit.
    """
    with _full_precision(projections) as precise:
        dim = precise[0].shape[1]
        if weight.shape != (dim, dim):
            raise ValueError(f"weight must have shape {(dim, dim)}, got {tuple(weight.shape)}")
        anchors = [z @ weight.to(z.dtype) for z in precise]
        tracks = torch.arange(len(precise[0]), device=weight.device)
        pairs = permutations(range(len(precise)), 2)
        return torch.stack([F.cross_entropy(anchors[i] @ precise[j].T, tracks) for i, j in pairs]).mean()


def dino(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float | Tensor = 0.04,
) -> Tensor:
    """Cross-entropy between a teacher's and a student's distributions over prototypes.

    DINO, https://arxiv.org/abs/2104.14294, eqs. 1–3: the mean over all pairs of a teacher's view and another
    view of the student. The teacher's scores are centred and sharpened. A student that does not tell
    prototypes apart gets log(prototypes).

    Args:
        students: Scores of the student, one (batch, prototypes) tensor per view.
        teachers: Scores of the teacher for the first of these views, at least one; no gradient reaches them.
        center: Running mean of the teacher's scores, (prototypes,).
        student_temperature: Divides the student's scores.
        teacher_temperature: Divides the teacher's centred scores.

    Raises:
        ValueError: If there are more teachers than students, or none, or the shapes do not fit.
    """
    views = len(students)
    if views < 2 or not 1 <= len(teachers) <= views:
        raise ValueError(
            f"at least two views are needed, and teachers for some of them, got {views} and {len(teachers)}"
        )
    with _full_precision([*students, *(teacher.detach() for teacher in teachers)]) as precise:
        if center.shape != precise[0].shape[1:]:
            raise ValueError(f"center {tuple(center.shape)} must be a row of {tuple(precise[0].shape)}")
        targets = ((torch.stack(precise[views:]) - center) / teacher_temperature).softmax(2)
        return _swapped(targets, torch.stack(precise[:views]) / student_temperature)


def _swapped(targets: Tensor, scores: Tensor) -> Tensor:
    """Mean cross-entropy of targets (some views, batch, k) with scores (views, batch, k) of other views."""
    cross = -torch.einsum("tbk,vbk->tv", targets, scores.log_softmax(2)) / scores.shape[1]
    pairs = len(targets) * (len(scores) - 1)
    return (cross.sum() - cross.diagonal().sum()) / pairs


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignments of samples that use all prototypes alike (SwAV, arXiv:2006.09882, eqs. 3–5).

    Sinkhorn–Knopp on exp(scores / ε), in the logarithm: no score overflows. Samples have the last word.

    Args:
        scores: (samples, prototypes).
        epsilon: Smoothness; small values give hard assignments.
        iterations: Each makes the prototypes' shares equal, then the samples'. With 0 this is a softmax.

    Returns:
        (samples, prototypes); rows add up to 1, and columns nearly to samples / prototypes.
    """
    logarithms = scores / epsilon
    for _ in range(iterations):
        logarithms = (logarithms - logarithms.logsumexp(0)).log_softmax(1)
    return logarithms.softmax(1)


def swav(
    scores: Sequence[Tensor],
    code_views: int | None = None,
    queued: Sequence[Tensor] = (),
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """Swapped prediction of cluster assignments (SwAV, https://arxiv.org/abs/2006.09882, eqs. 1–2).

    The cross-entropy between the code of a view, see :func:`sinkhorn`, and the softmax of another view's
    scores; the mean over all such ordered pairs. (The paper adds the two orders of its two views.)

    Args:
        scores: Cosines with the prototypes, one (batch, prototypes) tensor per view.
        code_views: How many views, from the first, have codes; all unless told. The rest, such as short
            crops, only predict.
        queued: Scores of earlier samples, one (samples, prototypes) tensor per view with codes. They share
            in the assignment and not in the loss, which helps when the batch is smaller than the number of
            prototypes.
        temperature: Divides the scores of predictions.
        epsilon: Smoothness of codes.
        iterations: Of Sinkhorn–Knopp.

    Raises:
        ValueError: If ``code_views`` or the number of queues is impossible, or the shapes do not fit.
    """
    codes = len(scores) if code_views is None else code_views
    with _full_precision(scores) as precise:
        if not 1 <= codes <= len(precise) or len(queued) not in (0, codes):
            raise ValueError(
                f"{codes} views with codes and {len(queued)} queues do not fit {len(precise)} views"
            )
        batch = len(precise[0])
        pools = [torch.cat([z, *(q.to(z) for q in queued[i : i + 1])]) for i, z in enumerate(precise[:codes])]
        targets = torch.stack([sinkhorn(pool, epsilon, iterations)[:batch] for pool in pools])
        return _swapped(targets, torch.stack(precise) / temperature)


def effective_rank(embeddings: Tensor, eps: float = 1e-7) -> Tensor:
    """Exponential of the entropy of the singular values (RankMe, https://arxiv.org/abs/2210.02885, eq. 1–2).

    Args:
        embeddings: (batch, dim); at most min(batch, dim) can come out.
        eps: Keeps the logarithm finite.
    """
    values = torch.linalg.svdvals(embeddings.float())
    share = values / values.sum().clamp_min(eps) + eps
    return (-(share * share.log()).sum()).exp()


def masked_reconstruction(
    predictions: Sequence[Tensor],
    patches: Sequence[Tensor],
    masks: Sequence[Tensor],
    patch_norm: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """Mean squared error on masked patches (MAE, arXiv:2111.06377, §3), averaged over values and patches.

    The mean over views. With normalised patches predicting zero costs (nearly) 1, and 0 where nothing changes
    within patches.

    Args:
        predictions: One (batch, patches, size) tensor per view; views may differ in their patches.
        patches: What is to be predicted, of the same shapes; no gradient reaches them.
        masks: Which patches count, (batch, patches), at least one of each view.
        patch_norm: Take from each patch its own mean, and divide it by its own deviation.
        eps: Added to the variance of a patch.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_masked(predictions, patches, masks)
    losses = []
    for prediction, patch, mask in zip(predictions, patches, masks, strict=True):
        with torch.autocast(prediction.device.type, enabled=False):
            target = _precise(patch.detach())
            if patch_norm:
                centred = target - target.mean(2, keepdim=True)
                target = centred * (centred.square().mean(2, keepdim=True) + eps).rsqrt()
            losses.append(_masked_error(_precise(prediction), target, mask))
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
            target = _standardise(_precise(feature.detach()).flatten(0, 1)).view_as(feature)
            losses.append(_masked_error(_precise(prediction), target, mask))
    return torch.stack(losses).mean()


def cpc(
    predictions: Sequence[Tensor],
    embeddings: Tensor,
    negatives: Literal["batch", "track", "both"] = "batch",
) -> Tensor:
    """InfoNCE over the segments of tracks (CPC, https://arxiv.org/abs/1807.03748, eqs. 3–4).

    The cross-entropy of finding, by inner products with a prediction Wₖ·cₜ, the segment z at t + k of its
    track among negatives, averaged over tracks and places, then over steps k. Whatever does not tell segments
    apart gets the logarithm of how many there are to choose from: batch, segments, or batch + segments − 1.

    Args:
        predictions: Wₖ·cₜ for steps k = 1, 2, …: (batch, segments − k, dim), from all t that have a t + k.
        embeddings: z, (batch, segments, dim).
        negatives: ``"batch"``: the segments at t + k of the other tracks; ``"track"``: all other segments of
            the same track, those heard included; ``"both"``.

    Raises:
        ValueError: If the name is unknown, the shapes do not fit, or negatives from other tracks are asked
            for and there is but one.
    """
    if negatives not in ("batch", "track", "both"):
        raise ValueError(f"negatives={negatives!r}: use 'batch', 'track' or 'both'")
    batch, segments, dim = embeddings.shape
    expected = [(batch, segments - step, dim) for step in range(1, len(predictions) + 1)]
    if [tuple(p.shape) for p in predictions] != expected or not 1 <= len(expected) < segments:
        shapes = [tuple(p.shape) for p in predictions]
        raise ValueError(f"predictions of shapes {shapes} do not fit embeddings {(batch, segments, dim)}")
    if batch < 2 and negatives != "track":
        raise ValueError(f"at least two samples per batch are needed, got {batch}")
    with torch.autocast(embeddings.device.type, enabled=False):
        z, losses = _precise(embeddings), []
        itself = torch.eye(segments, dtype=torch.bool, device=z.device)
        for step, prediction in enumerate(map(_precise, predictions), start=1):
            within = torch.einsum("btd,bsd->bts", prediction, z)
            scores = positives = within.diagonal(step, 1, 2).unsqueeze(2)
            if negatives != "track":
                across = torch.einsum("atd,btd->atb", prediction, z[:, step:])
                same = torch.eye(batch, dtype=torch.bool, device=z.device)[:, None]
                scores = torch.cat([scores, across.masked_fill(same, -torch.inf)], 2)
            if negatives != "batch":
                scores = torch.cat([scores, within.masked_fill(itself[step:], -torch.inf)], 2)
            losses.append((scores.logsumexp(2) - positives.squeeze(2)).mean())
        return torch.stack(losses).mean()


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


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
