"""SimCLR."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mvssl.functional import nt_xent
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp


@register_pretext("simclr", paper="arXiv:2002.05709")
class SimCLR(Pretext):
    """Contrasts views of a track with the other tracks of the batch (NT-Xent).

    Args:
        encoder: Encoder to train.
        hidden_dim: Hidden size of the two-layer projection head; ``None`` takes the size of the embedding,
            as the paper does.
        projection_dim: Size of the projection; the paper uses 128.
        temperature: Divides the cosine similarities; the paper's best is 0.1 for long training.
        reduction: What NT-Xent means for more than two views, see :func:`mvssl.functional.nt_xent`.

    Raises:
        ValueError: If the temperature is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int | None = None,
        projection_dim: int = 128,
        temperature: float = 0.1,
        reduction: Literal["pairwise", "multi_positive"] = "pairwise",
    ) -> None:
        super().__init__(encoder)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} must be positive")
        self.temperature, self.reduction = temperature, reduction
        hidden_dim = self.embed_dim if hidden_dim is None else hidden_dim
        self.projector = mlp([self.embed_dim, hidden_dim, projection_dim])

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        embeddings = forward_views(self.encoder, views)
        projections = forward_views(self.projector, embeddings)
        loss = nt_xent(projections, self.temperature, self.reduction)
        return PretextOutput(loss, {}, embeddings, projections)
