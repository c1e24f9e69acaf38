"""COLA."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import cola
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext


@register_pretext("cola", paper="arXiv:2010.10915")
class COLA(Pretext):
    """Contrasts tracks of the batch by a learned bilinear similarity.

    The projector is one linear layer, a layer norm and a hyperbolic tangent; there is no temperature. The
    paper takes two random crops of 1 s without augmentation, and Adam at 1e-3.

    Args:
        encoder: Encoder to train.
        projection_dim: Size of projections; 512 is the paper's.
        init_std: Standard deviation of the bilinear weight at first; 0.05 is that of the authors' code.

    Raises:
        ValueError: If a size or the deviation is not positive.
    """

    chain = "crops"
    # At three times this rate all tracks get one embedding within 40 steps.
    learning_rate = 1e-3
    paper_views = "two random segments of 1 s, without augmentation"

    def __init__(self, encoder: nn.Module, projection_dim: int = 512, init_std: float = 0.05) -> None:
        super().__init__(encoder)
        if projection_dim < 1 or init_std <= 0:
            raise ValueError(f"projection_dim={projection_dim} and init_std={init_std} must be all positive")
        self.projector = nn.Sequential(
            nn.Linear(self.embed_dim, projection_dim), nn.LayerNorm(projection_dim), nn.Tanh()
        )
        self.weight = nn.Parameter(init_std * torch.randn(projection_dim, projection_dim))

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        return PretextOutput(cola(gather(projections), self.weight), {}, embeddings, projections)
