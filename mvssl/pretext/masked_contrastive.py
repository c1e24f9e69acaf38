"""Masked contrastive learning: SimCLR whose only augmentation need be a mask."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from mvssl.pretext.base import PretextOutput, register_pretext
from mvssl.pretext.dense import DENSE
from mvssl.pretext.masks import PatchMasking, encode_masked
from mvssl.pretext.simclr import SimCLR


@register_pretext("masked_contrastive", paper="arXiv:2502.12511")
class MaskedContrastive(SimCLR):
    """Contrasts heavily masked views of a track with the other tracks of the batch (Myna).

    The paper masks one crop twice, with no other augmentation; a single view is therefore masked twice. Of
    several views each is masked once. The embeddings in the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.dense.DenseEncoder`.
        patch: Bins and frames of a patch.
        mask_ratio: Share of the patches that is masked. The paper's transformer never sees those, and takes
            90 % of them away; a convolutional encoder has to look past them.
        hidden_dim: As in :class:`~mvssl.pretext.SimCLR`.
        projection_dim: As in SimCLR.
        temperature: As in SimCLR.
        reduction: As in SimCLR.

    Raises:
        TypeError: If the encoder has no feature map.
        ValueError: If the ratio is outside (0, 1), the temperature or a size is not positive.
    """

    learning_rate = 1e-3
    min_views = 1
    requires = DENSE
    paper_views = "one crop of a mel spectrogram, masked twice (90 %), without augmentation"

    def __init__(
        self,
        encoder: nn.Module,
        patch: tuple[int, int] = (16, 8),
        mask_ratio: float = 0.5,
        hidden_dim: int | None = None,
        projection_dim: int = 128,
        temperature: float = 0.1,
        reduction: Literal["pairwise", "multi_positive"] = "pairwise",
    ) -> None:
        super().__init__(encoder, hidden_dim, projection_dim, temperature, reduction)
        self.masking = PatchMasking(patch, mask_ratio)

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        encoder: Any = self.encoder
        masked = self.masking(encoder, [*views, *views] if len(views) == 1 else views)
        return self.from_embeddings(encode_masked(encoder, masked)[1], views)
