"""Barlow Twins."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import barlow_twins
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import mlp
from mvssl.pretext.presets import Preset, presets


@register_pretext("barlow_twins", paper="arXiv:2103.03230")
class BarlowTwins(Pretext):
    """Makes dimensions agree between views and differ from each other (cross-correlation).

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the two hidden layers of the projector; the paper uses 8192, deezer2024
            1024.
        projection_dim: Size of the projector's output; the paper uses 8192, deezer2024 2048.
        lambda_: Weight of the redundancy term, see :func:`mvssl.functional.barlow_twins`; 5e-3 is the
            paper's.
        reduction: Of the elements; deezer2024 takes means, with a weight of 1 that counts as 1 / (dim − 1).
        correction: Subtracted from the batch size in the correlations; deezer2024 1.
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If the weight is negative, or a name unknown.
    """

    learning_rate = 1e-3
    paper_views = "two crops of an image as BYOL's: flip, colour jitter, greyscale, blur, solarisation"

    @presets(
        deezer2024={
            "hidden_dim": 1024, "projection_dim": 2048, "lambda_": 1.0, "reduction": "mean", "correction": 1
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 512,
        projection_dim: int = 1024,
        lambda_: float = 5e-3,
        reduction: Literal["sum", "mean"] = "sum",
        correction: int = 0,
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        if lambda_ < 0:
            raise ValueError(f"lambda_={lambda_} must not be negative")
        self.lambda_, self.reduction, self.correction = lambda_, reduction, correction
        self.projector = mlp([self.embed_dim, hidden_dim, hidden_dim, projection_dim], last_bias=False)

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        loss = barlow_twins(gather(projections), self.lambda_, self.reduction, self.correction)
        return PretextOutput(loss, {}, embeddings, projections)
