"""Random masks over patches of a log-mel, drawn from what they mask and when.

The key of a mask is made of the bits of its log-mel, the view's place and a step counter. It knows nothing
of the other tracks of the batch: neither their order nor how they are split over processes changes a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvssl.patches import draw_masks, hash_keys
from mvssl.pretext.base import forward_views, require_views
from mvssl.pretext.dense import DenseEncoder, PatchDecoder


def content(mel: Tensor) -> Tensor:
    """The wrapping sum of the bits of each fp32 log-mel: (batch, bins, frames) → (batch,) int64."""
    return mel.float().contiguous().view(torch.int32).flatten(1).sum(1, dtype=torch.int64)


def to_patches(image: Tensor, patch: tuple[int, int]) -> Tensor:
    """Cuts (batch, bins, frames) into (batch, patches, bins × frames of a patch), row by row."""
    rows = image.unflatten(1, (-1, patch[0])).unflatten(3, (-1, patch[1]))
    return rows.transpose(2, 3).flatten(3).flatten(1, 2)


@dataclass(frozen=True)
class Masked:
    """A view as a masked pretext sees it.

    Attributes:
        image: Normalised log-mel, cut to whole patches, (batch, bins, frames).
        hidden: The same with the mask token in masked patches, if there is one.
        mask: True where a patch is masked, (batch, patches), row by row as in :func:`to_patches`.
        grid: Rows and columns of patches.
    """

    image: Tensor
    hidden: Tensor
    mask: Tensor
    grid: tuple[int, int]


class PatchMasking(nn.Module):
    """Hides patches of log-mels behind a learned one, at places that change from step to step.

    The token replaces patches behind the encoder's normalisation, so that masking moves neither a clip's
    statistics nor the values of what stays visible, and starts near zero, the mean of every bin. The
    statistics are those of the whole clip, masked places included.

    The step counter moves in each forward pass in training mode.

    Args:
        patch: Bins and frames of a patch. What is left at the upper and right edge is cut off.
        ratio: Share of the patches of a view that is masked; at least one is, and at least one is not.
        token: Whether there is a learned patch. Without it, what encoders see is up to them.

    Raises:
        ValueError: If the ratio is outside (0, 1), or a side of the patch is not positive.
    """

    step: Tensor

    def __init__(self, patch: tuple[int, int], ratio: float, token: bool = True) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise ValueError(f"mask_ratio={ratio} must lie between 0 and 1")
        if min(patch) < 1:
            raise ValueError(f"patch={tuple(patch)}: the sides, in bins and frames, must be all positive")
        self.patch, self.ratio = (patch[0], patch[1]), ratio
        self.token = nn.Parameter(0.02 * torch.randn(self.patch)) if token else None
        self.register_buffer("step", torch.tensor(0))

    def forward(self, encoder: DenseEncoder, views: Sequence[Tensor]) -> list[Masked]:
        """Masks each view, audio or log-mel.

        Raises:
            ValueError: If there is no view or but one sample, batch sizes differ, or a view has one patch.
        """
        require_views(views, least=1)
        if len(views[0]) < 2:
            raise ValueError(f"at least two samples per batch are needed, got {len(views[0])}")
        # View by view, because together they could differ in their last bits, which make the masks.
        mels = [encoder.frontend(view) if view.ndim == 2 else view for view in views]
        masked = [self._mask(encoder, mel, place) for place, mel in enumerate(mels)]
        if self.training:
            self.step += 1
        return masked

    def masked(self, patches: int) -> int:
        """How many of so many patches are masked."""
        return min(max(round(self.ratio * patches), 1), patches - 1)

    def _mask(self, encoder: DenseEncoder, mel: Tensor, place: int) -> Masked:
        rows, columns = mel.shape[1] // self.patch[0], mel.shape[2] // self.patch[1]
        if (patches := rows * columns) < 2:
            raise ValueError(
                f"a log-mel of {mel.shape[1]} bins × {mel.shape[2]} frames has fewer than two patches of "
                f"{self.patch[0]} × {self.patch[1]}: give a smaller patch or longer views"
            )
        mask = draw_masks(hash_keys(content(mel), self.step, place), patches, self.masked(patches))
        image = encoder.normalise(mel)[:, : rows * self.patch[0], : columns * self.patch[1]]
        if self.token is None:
            return Masked(image, image, mask, (rows, columns))
        places = mask.unflatten(1, (rows, columns))
        for axis, side in enumerate(self.patch, start=1):
            places = places.repeat_interleave(side, axis)
        hidden = torch.where(places, self.token.to(image.dtype).repeat(rows, columns), image)
        return Masked(image, hidden, mask, (rows, columns))


def encode_masked(encoder: DenseEncoder, masked: Sequence[Masked]) -> tuple[list[Tensor], list[Tensor]]:
    """Feature maps and embeddings of views of which the encoder sees what is not masked."""
    maps = forward_views(encoder.feature_map, [view.hidden for view in masked], least=1)
    return maps, forward_views(encoder.pool, maps, least=1)


def predict_masked(
    encoder: DenseEncoder, decoder: PatchDecoder, masked: Sequence[Masked]
) -> tuple[list[Tensor], list[Tensor]]:
    """Embeddings of masked views, and what a decoder predicts for each of their patches."""
    maps, embeddings = encode_masked(encoder, masked)
    together = zip(maps, embeddings, masked, strict=True)
    return embeddings, [decoder(features, embedding, view.grid) for features, embedding, view in together]
