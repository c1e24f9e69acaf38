"""A pretext of another package, which mvssl finds by its entry point and no one imports."""

import torch
from torch import nn

import mvssl
from mvssl.functional import nt_xent
from mvssl.pretext import forward_views


@mvssl.register_pretext("neighbours", paper="https://example.org/neighbours")
class Neighbours(mvssl.Pretext):
    """Contrasts tracks without a hidden layer, and keeps projections short.

    Args:
        encoder: Encoder to train.
        projection_dim: Size of projections.
    """

    def __init__(self, encoder: nn.Module, projection_dim: int = 32) -> None:
        super().__init__(encoder)
        if projection_dim < 1:
            raise ValueError(f"projection_dim={projection_dim}: sizes must be all positive")
        self.projector = nn.Linear(self.embed_dim, projection_dim)

    def forward(self, views):
        embeddings = forward_views(self.encoder, views)
        projections = forward_views(self.projector, embeddings)
        length = torch.stack([z.float().square().mean() for z in projections]).mean()
        loss = nt_xent(projections, 0.2) + 0.01 * length
        return mvssl.PretextOutput(loss, {"length": length.detach()}, embeddings, projections)
