"""Masked modelling: reconstructing what was hidden of a log-mel."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mvssl.distributed import mean
from mvssl.functional import masked_reconstruction
from mvssl.pretext.base import Pretext, PretextOutput, register_pretext
from mvssl.pretext.dense import DENSE, PatchDecoder
from mvssl.pretext.masks import PatchMasking, predict_masked, to_patches


@register_pretext("masked", paper="arXiv:2111.06377")
class MaskedModeling(Pretext):
    """Reconstructs masked patches of a log-mel, each normalised by itself (MAE).

    Masked autoencoders as published leave masked patches out of a transformer. A convolutional encoder
    cannot; here it sees a learned patch instead, as in SimMIM (arXiv:2111.09886). For audio, see
    arXiv:2203.16691 and arXiv:2207.06405. Each view is a task of its own, so one is enough. The embeddings in
    the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.dense.DenseEncoder`.
        patch: Bins and frames of a patch; the papers on audio take 16 bins × 160 ms, and with ``tiny`` eight
            frames are 256 ms.
        mask_ratio: Share of the patches that is masked; 0.75 is the paper's, SimMIM uses 0.6.
        hidden_dim: Channels of the decoder.

    Raises:
        TypeError: If the encoder has no feature map.
        ValueError: If the ratio is outside (0, 1), or a size is not positive.
    """

    learning_rate = 1e-3
    min_views = 1
    requires = DENSE
    paper_views = "one crop of an image, resized, and its flip; 75 % of the patches are taken away"

    def __init__(
        self,
        encoder: nn.Module,
        patch: tuple[int, int] = (16, 8),
        mask_ratio: float = 0.75,
        hidden_dim: int = 64,
    ) -> None:
        super().__init__(encoder)
        dense: Any = encoder
        self.masking = PatchMasking(patch, mask_ratio)
        self.decoder = PatchDecoder(dense, self.masking.patch, hidden_dim, patch[0] * patch[1])

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        encoder: Any = self.encoder
        masked = self.masking(encoder, views)
        embeddings, predictions = predict_masked(encoder, self.decoder, masked)
        targets = [to_patches(view.image, self.masking.patch) for view in masked]
        loss = masked_reconstruction(predictions, targets, [view.mask for view in masked])
        (loss,) = mean([loss], rows=len(views[0]))
        return PretextOutput(loss, {}, embeddings, [prediction.flatten(1) for prediction in predictions])
