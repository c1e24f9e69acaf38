"""Masks on log-mels: spans of time, bands of frequency, patches of both."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mvssl.patches import draw_masks
from mvssl.views.transforms.base import Params, Range
from mvssl.views.transforms.mel import Fill, MelTransform, check_fill, filling


class Mask(MelTransform):
    """Replaces parts of a log-mel, by default with the mean of what stays visible.

    That mean gives nothing away of what is masked, so that two masked views of a clip have only in common
    what both of them show, and it keeps a clip's mean, so that an encoder which subtracts it sees the visible
    part as it is. Dead bins of published front ends stay dead.

    Args:
        fill: What stands in masked places, see :data:`~mvssl.views.transforms.mel.Fill`.
        p: Probability.
        **ranges: Lowest and highest value of each parameter.

    Raises:
        ValueError: If the filling is unknown.
    """

    axes: ClassVar[tuple[int, ...]] = (1, 2)  # over which the mean is taken

    def __init__(self, fill: Fill = "mean", p: float = 1.0, **ranges: Range) -> None:
        super().__init__(p, **ranges)
        check_fill(fill)
        self.fill = fill

    @abstractmethod
    def hidden(self, x: Tensor, params: Params) -> Tensor:
        """True where a log-mel is masked; (batch, bins, frames), or 1 where bins or frames are alike."""

    def transform(self, x: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        hidden = self.hidden(x, params)
        visible = ~hidden
        if self.live is not None:
            live = (self.frontend.centre_frequencies > 0).unsqueeze(1)
            hidden, visible = hidden & live, visible & live
        return torch.where(hidden, filling(self.fill, x, self.frontend, visible, self.axes), x)


class _Spans(Mask):
    """Masks spans of one axis; a frame or bin is masked if its middle lies in a span."""

    def __init__(self, width: Range, masks: int, fill: Fill, p: float) -> None:
        if masks < 1:
            raise ValueError(f"{type(self).__name__}: masks={masks} must be at least 1")
        suffixes = ["", *(f"_{number}" for number in range(2, masks + 1))]
        ranges = {f"{name}{suffix}": span for suffix in suffixes for name, span in _ranges(width)}
        super().__init__(fill, p, **ranges)
        if width[0] < 0:
            raise ValueError(f"{type(self).__name__}: width={width} must not be negative")
        self.masks = masks

    def spans(self, params: Params, size: int, unit: float) -> Tensor:
        """(batch, size) from widths in units of so many frames or bins."""
        width, place = (
            torch.stack([value for name, value in params.items() if name.startswith(kind)], 1).unsqueeze(2)
            for kind in ("width", "place")
        )
        start = place * (size - width * unit)
        middles = torch.arange(size, device=width.device) + 0.5
        return ((middles >= start) & (middles < start + width * unit)).any(1)


def _ranges(width: Range) -> tuple[tuple[str, Range], tuple[str, Range]]:
    return ("width", width), ("place", (0.0, 1.0))


class TimeMask(_Spans):
    """Masks spans of time, in all bins (SpecAugment, https://arxiv.org/abs/1904.08779).

    Where the mean is filled in, it is each bin's own.

    Args:
        width: Range of the width of a span, as a share of the clip. The paper's policy for Switchboard,
            "mild", bounds it by 0.2, and masks twice.
        masks: Spans per clip; they may overlap.
        fill: What stands in masked places, see :data:`~mvssl.views.transforms.mel.Fill`.
        p: Probability.

    Raises:
        ValueError: If the filling is unknown, or the spans could cover the clip.
    """

    axes = (2,)

    def __init__(
        self, width: Range = (0.0, 0.2), masks: int = 2, fill: Fill = "mean", p: float = 1.0
    ) -> None:
        super().__init__(width, masks, fill, p)
        if masks * width[1] >= 1:
            raise ValueError(f"TimeMask: {masks} masks of up to {width[1]:g} of a clip could cover it all")

    def hidden(self, x: Tensor, params: Params) -> Tensor:
        return self.spans(params, x.shape[2], x.shape[2]).unsqueeze(1)


class FrequencyMask(_Spans):
    """Masks bands of bins, in all frames (SpecAugment, https://arxiv.org/abs/1904.08779).

    Where the mean is filled in, it is that of the whole visible clip: a band's own would show its level.

    Args:
        width: Range of the width of a band in bins. The paper's policy for Switchboard, "mild", has up to 15
            of 80 bins, and masks twice.
        masks: Bands per clip; they may overlap.
        fill: What stands in masked places, see :data:`~mvssl.views.transforms.mel.Fill`.
        p: Probability.

    Raises:
        ValueError: If the filling is unknown, or the bands could cover all bins of a log-mel.
    """

    def __init__(
        self, width: Range = (0.0, 15.0), masks: int = 2, fill: Fill = "mean", p: float = 1.0
    ) -> None:
        super().__init__(width, masks, fill, p)

    def hidden(self, x: Tensor, params: Params) -> Tensor:
        bins, widest = x.shape[1], self.ranges["width"][1]
        if self.masks * widest >= bins:
            raise ValueError(
                f"FrequencyMask: {self.masks} masks of up to {widest:g} bins could cover all {bins}: "
                f"lower width"
            )
        return self.spans(params, bins, 1).unsqueeze(2)


class PatchMask(Mask):
    """Masks patches of bins × frames, the same share of them in every clip.

    With two views of one crop it is the augmentation of Myna (https://arxiv.org/abs/2502.12511), whose
    transformer leaves masked patches out; other encoders have to look past them. What is left at the upper
    and right edge belongs to its neighbouring patch.

    Args:
        patch: Bins and frames of a patch. Myna's are 16 × 16, or 128 × 2.
        ratio: Share of the patches that is masked, Myna's by default; at least one is, and at least one is
            not.
        fill: What stands in masked places, see :data:`~mvssl.views.transforms.mel.Fill`; the mean is that of
            the whole visible clip.
        p: Probability.

    Raises:
        ValueError: If an argument is out of range, or a log-mel has fewer than two patches.
    """

    def __init__(
        self, patch: tuple[int, int] = (16, 16), ratio: float = 0.9, fill: Fill = "mean", p: float = 1.0
    ) -> None:
        super().__init__(fill, p, pattern=(0.0, 1.0))
        if not 0 < ratio < 1 or min(patch) < 1:
            raise ValueError(
                f"PatchMask: patch={patch}, ratio={ratio}: sides must be positive, and the ratio lie between "
                f"0 and 1"
            )
        self.patch, self.ratio = patch, ratio

    def hidden(self, x: Tensor, params: Params) -> Tensor:
        rows, columns = x.shape[1] // self.patch[0], x.shape[2] // self.patch[1]
        if (patches := rows * columns) < 2:
            raise ValueError(
                f"PatchMask: a log-mel of {x.shape[1]} bins × {x.shape[2]} frames has fewer than two patches "
                f"of {self.patch[0]} × {self.patch[1]}"
            )
        masked = min(max(round(self.ratio * patches), 1), patches - 1)
        keys = params["pattern"].view(torch.int32).long()  # its bits
        mask = draw_masks(keys, patches, masked).unflatten(1, (rows, columns))
        row, column = (
            (torch.arange(size, device=x.device) // side).clamp_max(count - 1)
            for size, side, count in zip(x.shape[1:], self.patch, (rows, columns), strict=True)
        )
        return mask[:, :, column][:, row]  # rows last: they are copied in one piece
