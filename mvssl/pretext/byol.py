"""BYOL."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mvssl.distributed import BatchNorm, gather
from mvssl.functional import byol
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.ema import MovingAverage
from mvssl.pretext.heads import mlp
from mvssl.pretext.presets import Preset, presets


@register_pretext("byol", paper="arXiv:2006.07733")
class BYOL(Pretext):
    """Predicts what a slowly moving copy of the network makes of another view.

    Args:
        encoder: Encoder to train; the target network starts as a copy of it.
        hidden_dim: Size of the hidden layers of the projector; the paper uses 4096 on a 2048-d embedding.
        projection_dim: Size of projections; the paper uses 256, deezer2024 2048.
        momentum: Initial decay of the target network, see :class:`mvssl.pretext.ema.MovingAverage`. The
            paper uses 0.996 over 300 000 and more steps, and 0.99 for short runs; deezer2024 0.996.
        hidden_layers: Hidden layers of the projector; the paper uses one, deezer2024 two.
        predictor_dim: Size of the hidden layer of the predictor; the paper uses 4096, deezer2024 256.
        last_bias: Whether the last layers have a bias; not in deezer2024.
        projection_norm: Whether projections pass through a batch norm, as in SimSiam (arXiv:2011.10566);
            neither in the paper nor in deezer2024. In runs of some hundred steps it helps: it takes away the
            mean that all projections share, and with it most of any two tracks' similarity.
        sum_over: What makes a cosine, see :func:`mvssl.functional.byol`; deezer2024 sums over the batch,
            which multiplies the cosines by batch / projection_dim.
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If the momentum is outside [0, 1], or the preset unknown.
    """

    # At three times this rate the embeddings of `tiny` fall into one dimension.
    learning_rate = 1e-3
    paper_views = (
        "two crops of an image with SimCLR's flip, colour jitter and greyscale; blur (p 1 and 0.1) and "
        "solarisation (0 and 0.2) differ between the two"
    )

    @presets(
        deezer2024={
            "hidden_layers": 2, "projection_dim": 2048, "predictor_dim": 256, "last_bias": False,
            "momentum": 0.996, "projection_norm": False, "sum_over": "batch",
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 1024,
        projection_dim: int = 256,
        momentum: float = 0.99,
        hidden_layers: int = 1,
        predictor_dim: int = 1024,
        last_bias: bool = True,
        projection_norm: bool = True,
        sum_over: Literal["features", "batch"] = "features",
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        self.sum_over = sum_over
        hidden = [hidden_dim] * hidden_layers
        sizes = [self.embed_dim, *hidden, projection_dim]
        self.projector = mlp(sizes, last_bias=last_bias and not projection_norm)
        if projection_norm:
            self.projector.append(BatchNorm(projection_dim, affine=False))
        self.predictor = mlp([projection_dim, predictor_dim, projection_dim], last_bias=last_bias)
        self.target = MovingAverage(encoder, self.projector, momentum=momentum)

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        predictions = forward_views(self.predictor, projections)
        whole = gather([*predictions, *forward_views(self.target, views)])
        loss = byol(whole[: len(views)], whole[len(views) :], self.sum_over)
        return PretextOutput(loss, {}, embeddings, projections)

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Moves the target towards the online network."""
        self.target.update(self.encoder, self.projector, step=step, total_steps=total_steps)
