"""Distributions over prototypes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mvssl.functional.precision import full_precision


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
    with full_precision([*students, *(teacher.detach() for teacher in teachers)]) as precise:
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
    with full_precision(scores) as precise:
        if not 1 <= codes <= len(precise) or len(queued) not in (0, codes):
            raise ValueError(
                f"{codes} views with codes and {len(queued)} queues do not fit {len(precise)} views"
            )
        batch = len(precise[0])
        pools = [torch.cat([z, *(q.to(z) for q in queued[i : i + 1])]) for i, z in enumerate(precise[:codes])]
        targets = torch.stack([sinkhorn(pool, epsilon, iterations)[:batch] for pool in pools])
        return _swapped(targets, torch.stack(precise) / temperature)
