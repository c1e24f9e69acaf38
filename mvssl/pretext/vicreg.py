"""VICReg."""

from collections.abc import Sequence

from torch import Tensor, nn

from mvssl.functional import vicreg_terms
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp


@register_pretext("vicreg", paper="arXiv:2105.04906")
class VICReg(Pretext):
    """Pulls views together while keeping every dimension varied and uncorrelated.

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the two hidden layers of the expander; the paper uses 8192.
        projection_dim: Size of the expander's output; the paper uses 8192.
        invariance: Weight of the invariance term.
        variance: Weight of the variance term.
        covariance: Weight of the covariance term.

    Raises:
        ValueError: If a weight is negative.
    """

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 1024,
        projection_dim: int = 1024,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        if min(self.weights.values()) < 0:
            raise ValueError(f"weights must not be negative, got {self.weights}")
        self.projector = mlp([self.embed_dim, hidden_dim, hidden_dim, projection_dim], last_bias=False)

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        embeddings = forward_views(self.encoder, views)
        projections = forward_views(self.projector, embeddings)
        terms = dict(zip(self.weights, vicreg_terms(projections), strict=True))
        loss = sum(weight * terms[name] for name, weight in self.weights.items())
        detached = {name: term.detach() for name, term in terms.items()}
        return PretextOutput(loss, detached, embeddings, projections)  # type: ignore[arg-type]
