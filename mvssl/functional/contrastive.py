"""Telling apart: NT-Xent and its variants, SupCon, COLA, CPC."""

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mvssl.functional.precision import full_precision, precise

Negatives = Literal["batch", "track", "both"]
_BLOCK = 1024  # anchors whose similarities exist at a time


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
    with full_precision(projections) as precise:
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
    with full_precision(projections) as precise:
        z = F.normalize(torch.stack(precise), dim=2)
        views, batch, dim = z.shape
        alone = -1 - torch.arange(batch, device=z.device)
        groups = alone if groups is None else groups
        if groups.shape != (batch,) or groups.dtype != torch.int64:
            raise ValueError(
                f"groups must be int64 of shape ({batch},), got {groups.dtype} {tuple(groups.shape)}"
            )
        groups = torch.where(groups < 0, alone, groups)
        members = torch.searchsorted(groups.sort().values, groups)  # unique() would wait for the device
        sums = z.new_zeros(batch, dim).index_add(0, members, z.sum(0))[members]
        sizes = z.new_zeros(batch).index_add(0, members, z.new_ones(batch))[members]
        positives = (z * (sums - z)).sum(2) / (views * sizes - 1) / temperature
        denominators = _log_denominators(z[None], temperature, False, z.new_empty(0, dim))
        return denominators.mean() - positives.mean()


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
    with full_precision(projections) as precise:
        dim = precise[0].shape[1]
        if weight.shape != (dim, dim):
            raise ValueError(f"weight must have shape {(dim, dim)}, got {tuple(weight.shape)}")
        anchors = [z @ weight.to(z.dtype) for z in precise]
        tracks = torch.arange(len(precise[0]), device=weight.device)
        pairs = permutations(range(len(precise)), 2)
        return torch.stack([F.cross_entropy(anchors[i] @ precise[j].T, tracks) for i, j in pairs]).mean()


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
        z, losses = precise(embeddings), []
        itself = torch.eye(segments, dtype=torch.bool, device=z.device)
        for step, prediction in enumerate(map(precise, predictions), start=1):
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
