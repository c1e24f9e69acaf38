"""SimCLR."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import Negatives, check_negatives, nt_xent
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp
from mvssl.pretext.presets import Preset, presets
from mvssl.pretext.queue import Queue


@register_pretext("simclr", paper="arXiv:2002.05709")
class SimCLR(Pretext):
    """Contrasts views of a track with the other tracks of the batch (NT-Xent).

    The queue is that of MoCo (arXiv:1911.05722) without its momentum encoder: projections of earlier batches
    as they were, as in cross-batch memory (arXiv:1912.06798). Let it hold a few batches: the oldest come from
    an older encoder, and a queue as long as the corpus holds a track's own earlier views as negatives.

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the hidden layers of the projector; ``None`` takes the size of the embedding, as
            the paper does.
        projection_dim: Size of the projection; the paper uses 128.
        temperature: Divides the cosine similarities; the paper's best is 0.1 for long training.
        reduction: What NT-Xent means for more than two views, see :func:`mvssl.functional.nt_xent`.
        hidden_layers: Hidden layers of the projector; the paper uses one.
        batch_norm: Whether hidden layers are normalised.
        last_bias: Whether the last layer has a bias.
        decoupled: Leave the positives out of the denominators, as decoupled contrastive learning does.
        negatives: Other tracks (``"batch"``), other places of the same track (``"track"``), or both.
        positions: Places of a track that its views show, in the order place by place, each with the same
            number of augmentations, at least two; 1 for ``negatives="batch"``.
        queue_size: Earlier projections, of all views, that are further negatives once there are so many.
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If the temperature is not positive, the queue's size negative, a name unknown, or
            ``negatives``, ``positions`` and the queue do not go together.
    """

    paper_views = (
        "two random crops of an image, resized; flip, colour jitter (p 0.8), greyscale (0.2), blur (0.5)"
    )

    @presets(
        deezer2024={
            "hidden_dim": 1024, "hidden_layers": 2, "projection_dim": 2048, "last_bias": False,
            "reduction": "multi_positive",
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int | None = None,
        projection_dim: int = 128,
        temperature: float = 0.1,
        reduction: Literal["pairwise", "multi_positive"] = "pairwise",
        hidden_layers: int = 1,
        batch_norm: bool = True,
        last_bias: bool = True,
        decoupled: bool = False,
        negatives: Negatives = "batch",
        positions: int = 1,
        queue_size: int = 0,
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} must be positive")
        check_negatives(negatives, positions, queue_size > 0)
        self.temperature, self.reduction, self.decoupled = temperature, reduction, decoupled
        self.negatives, self.positions = negatives, positions
        if positions > 1:
            self.min_views = 2 * positions
        hidden = [self.embed_dim if hidden_dim is None else hidden_dim] * hidden_layers
        sizes = [self.embed_dim, *hidden, projection_dim]
        self.projector = mlp(sizes, batch_norm=batch_norm, last_bias=last_bias)
        self.queue = Queue(queue_size, projection_dim)

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        whole, queued = gather(projections), self.queue.full()
        loss = nt_xent(
            whole, self.temperature, self.reduction, self.decoupled, self.negatives, self.positions,
            None if queued is None else queued[0],
        )  # fmt: skip
        self.queue.push([torch.cat(whole)])
        return PretextOutput(loss, {}, embeddings, projections)
