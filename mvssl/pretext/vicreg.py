"""VICReg."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import vicreg_terms
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp
from mvssl.pretext.presets import Preset, presets


@register_pretext("vicreg", paper="arXiv:2105.04906")
class VICReg(Pretext):
    """Pulls views together while keeping every dimension varied and uncorrelated.

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the two hidden layers of the expander; the paper uses 8192, deezer2024
            1024.
        projection_dim: Size of the expander's output; the paper uses 8192, deezer2024 2048.
        invariance: Weight of the invariance term; deezer2024 1.
        variance: Weight of the variance term; deezer2024 1.
        covariance: Weight of the covariance term.
        redundancy: What the covariance term is made of, see :func:`mvssl.functional.vicreg_terms`.
            deezer2024 takes the mean of squared correlations: where deviations are one, it weighs
            2 (dim − 1) / 25 times less beside the invariance (164 times at its 2048 dimensions).
        eps: Added to variances before the square root; deezer2024 1e-5.
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If a weight is negative, or a name unknown.
    """

    paper_views = "two crops of an image as BYOL's: flip, colour jitter, greyscale, blur, solarisation"

    @presets(
        deezer2024={
            "hidden_dim": 1024, "projection_dim": 2048, "invariance": 1.0, "variance": 1.0,
            "redundancy": "correlation", "eps": 1e-5,
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 512,
        projection_dim: int = 1024,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        redundancy: Literal["covariance", "correlation"] = "covariance",
        eps: float = 1e-4,
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        if min(self.weights.values()) < 0:
            raise ValueError(f"weights must not be negative, got {self.weights}")
        self.redundancy, self.eps = redundancy, eps
        self.projector = mlp([self.embed_dim, hidden_dim, hidden_dim, projection_dim], last_bias=False)

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        found = vicreg_terms(gather(projections), self.eps, self.redundancy)
        terms = dict(zip(self.weights, found, strict=True))
        loss = torch.stack([weight * terms[name] for name, weight in self.weights.items()]).sum()
        detached = {name: term.detach() for name, term in terms.items()}
        return PretextOutput(loss, detached, embeddings, projections)
