"""Masked prediction of a teacher's features."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.distributed import gather
from mvssl.functional import masked_latent
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.dense import DENSE, DenseEncoder, PatchDecoder
from mvssl.pretext.ema import MovingAverage
from mvssl.pretext.masks import PatchMasking, predict_masked


@register_pretext("masked_latent", paper="arXiv:2202.03555")
class MaskedLatent(Pretext):
    """Predicts what a slowly moving teacher that sees everything makes of masked patches (data2vec).

    The teacher sees whole views, as in data2vec; in M2D (arXiv:2210.14648) it sees what the student does
    not. Its target is the feature map of the deepest stage that still has a cell for every patch: the last
    map of a network with a stride of 32 has hardly any places left. Targets are standardised per channel over
    the batch and all places, so that what tells tracks apart stays in them; data2vec standardises over the
    time of a clip, and averages several layers. Each view is a task of its own, so one is enough. The
    embeddings in the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.dense.DenseEncoder`; the teacher starts as a copy
            of it.
        patch: Bins and frames of a patch; unless told, those of a transformer's own, and for others (16, 8).
        mask_ratio: Share of the patches that is masked; M2D uses 0.7.
        hidden_dim: Channels of the predictor.
        momentum: Initial decay of the teacher, see :class:`mvssl.pretext.ema.MovingAverage`. The papers use
            0.999 and more, over hundreds of thousands of steps.

    Raises:
        TypeError: If the encoder has no feature map.
        ValueError: If a number is out of range, or a patch is smaller than the cells of every stage.
    """

    learning_rate = 1e-3
    min_views = 1
    requires = DENSE
    paper_views = "one view of the input; the student sees it masked, the teacher whole"

    def __init__(
        self,
        encoder: nn.Module,
        patch: tuple[int, int] | None = None,
        mask_ratio: float = 0.7,
        hidden_dim: int = 128,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(encoder)
        dense: Any = encoder
        patch = getattr(encoder, "patch", (16, 8)) if patch is None else patch
        self.masking = PatchMasking(patch, mask_ratio)
        fits = [rows <= patch[0] and columns <= patch[1] for rows, columns in dense.map_strides]
        self.stage = sum(fits) - 1
        if self.stage < 0:
            rows, columns = dense.map_strides[0]
            raise ValueError(f"patch={tuple(patch)}: the finest feature map has cells of {rows} × {columns}")
        self.decoder = PatchDecoder(dense, self.masking.patch, hidden_dim, dense.map_channels[self.stage])
        self.teacher = MovingAverage(_Stage(dense, self.stage), momentum=momentum)

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        encoder: Any = self.encoder
        masked = self.masking(encoder, views)
        embeddings, predictions = predict_masked(encoder, self.decoder, masked)
        seen = forward_views(self.teacher, [view.image for view in masked], least=1)
        targets = [
            F.adaptive_avg_pool2d(features, view.grid).flatten(2).transpose(1, 2)
            for features, view in zip(seen, masked, strict=True)
        ]
        n = len(views)
        whole = gather([*predictions, *targets, *(view.mask for view in masked)])
        loss = masked_latent(whole[:n], whole[n : 2 * n], whole[2 * n :])
        return PretextOutput(loss, {}, embeddings, [prediction.flatten(1) for prediction in predictions])

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Moves the teacher towards the student."""
        dense: Any = self.encoder
        self.teacher.update(_Stage(dense, self.stage), step=step, total_steps=total_steps)


class _Stage(nn.Module):
    """An encoder up to one of its stages."""

    def __init__(self, encoder: DenseEncoder, stage: int) -> None:
        super().__init__()
        self.encoder, self.stage = encoder, stage

    def forward(self, image: Tensor) -> Tensor:
        return self.encoder.feature_map(image, self.stage)
