"""BYOL."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mvssl.functional import byol
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp


@register_pretext("byol", paper="arXiv:2006.07733")
class BYOL(Pretext):
    """Predicts what a slowly moving copy of the network makes of another view.

    Args:
        encoder: Encoder to train; the target network starts as a copy of it.
        hidden_dim: Hidden size of projector and predictor; the paper uses 4096 on a 2048-d embedding.
        projection_dim: Size of projections; the paper uses 256.
        momentum: Initial decay of the target network; rises to 1 along a cosine when the length of the run
            is known. The paper uses 0.996 over 300 000 and more steps, and 0.99 for short runs.
        projection_norm: Whether projections pass through a batch norm, as in SimSiam (arXiv:2011.10566). The
            paper does without. In runs of some hundred steps it helps: it takes the mean away that all
            projections share, and with it most of any two tracks' similarity.

    Raises:
        ValueError: If the momentum is outside [0, 1].
    """

    # At three times this rate the embeddings of `tiny` fall into one dimension.
    learning_rate = 1e-3

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 1024,
        projection_dim: int = 256,
        momentum: float = 0.99,
        projection_norm: bool = True,
    ) -> None:
        super().__init__(encoder)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum} must lie in [0, 1]")
        self.momentum = momentum
        self.projector = mlp([self.embed_dim, hidden_dim, projection_dim], last_bias=not projection_norm)
        if projection_norm:
            self.projector.append(nn.BatchNorm1d(projection_dim, affine=False))
        self.predictor = mlp([projection_dim, hidden_dim, projection_dim])
        # The target's batch norms stay in training mode and keep statistics of their own, so only
        # parameters are averaged.
        self.target = nn.Sequential(copy.deepcopy(encoder), copy.deepcopy(self.projector))
        self.target.requires_grad_(False)

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        embeddings = forward_views(self.encoder, views)
        projections = forward_views(self.projector, embeddings)
        predictions = forward_views(self.predictor, projections)
        with torch.no_grad():
            targets = forward_views(self.target, views)
        return PretextOutput(byol(predictions, targets), {}, embeddings, projections)

    @torch.no_grad()
    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Moves the target towards the online network; τ = 1 − (1 − τ₀)(cos(πk/K) + 1)/2 (§3.3)."""
        momentum = self.momentum
        if total_steps:
            progress = min(step / total_steps, 1.0)
            momentum = 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2
        online: list[Tensor] = [*self.encoder.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1 - momentum)
