"""SimCLR."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mvssl.functional import nt_xent
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp
from mvssl.pretext.presets import Preset, presets


@register_pretext("simclr", paper="arXiv:2002.05709")
class SimCLR(Pretext):
    """Contrasts views of a track with the other tracks of the batch (NT-Xent).

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
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If the temperature is not positive, or the preset unknown.
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
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} must be positive")
        self.temperature, self.reduction = temperature, reduction
        hidden = [self.embed_dim if hidden_dim is None else hidden_dim] * hidden_layers
        sizes = [self.embed_dim, *hidden, projection_dim]
        self.projector = mlp(sizes, batch_norm=batch_norm, last_bias=last_bias)

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        embeddings = forward_views(self.encoder, views)
        projections = forward_views(self.projector, embeddings)
        loss = nt_xent(projections, self.temperature, self.reduction)
        return PretextOutput(loss, {}, embeddings, projections)
