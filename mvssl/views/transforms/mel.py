"""Log-mels as images: mixed, resized, cropped, faded."""

from abc import abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mvssl.frontends import Frontend, Waveform
from mvssl.views.transforms.base import Params, Range, Transform, column

Fill = Literal["mean", "silence", "zero"]
"""What stands where nothing is: the mean of what can be seen of the clip, digital silence, or zero, the level
that the front end subtracts as its mean."""


def check_fill(fill: Fill) -> None:
    """Raises a ValueError for a filling that does not exist."""
    if fill not in get_args(Fill):
        raise ValueError(f"fill={fill!r}: use one of {', '.join(map(repr, get_args(Fill)))}")


def filling(
    fill: Fill, mel: Tensor, frontend: Frontend, visible: Tensor | None = None, axes: tuple[int, ...] = (1, 2)
) -> Tensor:
    """The values of a filling, to be combined with log-mels.

    Args:
        fill: Which.
        mel: Log-mels (batch, bins, frames).
        frontend: What made them.
        visible: True where the mean is taken, of the shape of ``mel``, or 1 along an axis where all is alike;
            everywhere unless told.
        axes: Over which it is taken.
    """
    if fill != "mean":
        return mel.new_tensor(frontend.silence if fill == "silence" else 0.0)
    if visible is None:
        return mel.mean(axes, keepdim=True)
    shown = visible.to(mel.dtype)
    share = shown.mean(axes, keepdim=True)
    mean = (mel * shown).mean(axes, keepdim=True) / share.where(share > 0, 1)
    return mean.clamp_min(frontend.silence)  # which a rounded mean of silence may miss


class MelTransform(Transform):
    """A transform of log-mels.

    Args:
        p: Probability.
        **ranges: Lowest and highest value of each parameter.

    Attributes:
        live: Indices of the bins that are not dead, as some are in published front ends; None if all live.
    """

    takes_audio = False
    takes_mel = True
    needs_frontend = True

    def __init__(self, p: float = 1.0, **ranges: Range) -> None:
        super().__init__(p, **ranges)
        self.live: Tensor | None = None

    def bind(self, frontend: Frontend | Waveform) -> None:
        super().bind(frontend)
        live = torch.tensor(True) if self.frontend is None else self.frontend.centre_frequencies > 0
        self.live = None if live.all() else live.nonzero().squeeze(1)


class LiveMelTransform(MelTransform):
    """A transform of log-mels that leaves dead bins out and as they are, and never goes below silence."""

    @abstractmethod
    def change(self, mel: Tensor, params: Params) -> Tensor:
        """Transforms the live bins of log-mels (batch, bins, frames), row by row."""

    def transform(self, x: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        if self.live is None:
            return self.change(x, params).clamp_min(self.frontend.silence)
        live = self.live.to(x.device)
        return x.index_copy(1, live, self.change(x[:, live], params).clamp_min(self.frontend.silence))


class LinearFader(LiveMelTransform):
    """Fades in or out: a gain in decibels that runs straight from one value to another.

    The second version of BYOL-A (https://arxiv.org/abs/2204.07402) draws both ends from U(−1, 1) in units of
    the standard deviation of its log-mels: 20.5 dB in an example beside its code
    (https://github.com/nttcslab/byol-a/tree/master/v2), 20 dB in those of our default front end.

    Args:
        start_db: Range of the gain of the first frame.
        end_db: Range of the gain of the last frame.
        p: Probability.
    """

    def __init__(
        self, start_db: Range = (-20.0, 20.0), end_db: Range = (-20.0, 20.0), p: float = 1.0
    ) -> None:
        super().__init__(p, start_db=start_db, end_db=end_db)

    def change(self, mel: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        share = torch.linspace(0, 1, mel.shape[2], device=mel.device)
        gain = torch.lerp(column(params["start_db"], 3), column(params["end_db"], 3), share)
        return self.frontend.amplified(mel, gain)


class RandomResizeCrop(LiveMelTransform):
    """Cuts a box out of the clip on a longer canvas and stretches it to the size of the clip (BYOL-A).

    The box is as high and as long as its scales say, but no larger than the canvas, and lies anywhere on it.
    As the canvas has the height of the clip, each frequency scale of 1 or more means all bins. It thus shifts
    and stretches in pitch and time by bicubic interpolation; box edges lie between bins and frames.

    Ranges and canvas are those of https://arxiv.org/abs/2103.06695, where the canvas is zero beside the
    normalised clip. The published code rounds boxes to whole bins and frames.

    Args:
        frequency: Range of the height of the box, in heights of the clip.
        time: Range of the length of the box, in lengths of the clip.
        canvas: Length of the canvas in lengths of the clip, which lies in its middle.
        fill: What the canvas holds beside the clip, see :data:`Fill`.
        p: Probability.

    Raises:
        ValueError: If a scale is not positive, the canvas shorter than the clip, or the filling unknown.
    """

    def __init__(
        self,
        frequency: Range = (0.6, 1.5),
        time: Range = (0.6, 1.5),
        canvas: float = 1.5,
        fill: Fill = "zero",
        p: float = 1.0,
    ) -> None:
        super().__init__(p, frequency=frequency, time=time, low=(0.0, 1.0), early=(0.0, 1.0))
        if min(frequency[0], time[0]) <= 0 or canvas < 1:
            raise ValueError(
                f"RandomResizeCrop: frequency={frequency}, time={time}, canvas={canvas}: scales must be "
                f"positive and the canvas at least 1"
            )
        check_fill(fill)
        self.canvas, self.fill = canvas, fill

    def change(self, mel: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        bins, frames = mel.shape[1:]
        fill = filling(self.fill, mel, self.frontend)
        rows = _box(params["frequency"], params["low"], bins, 1.0)
        columns = _box(params["time"], params["early"], frames, self.canvas)
        # One frame of nothing on each side, repeated beyond: so much of the canvas is enough.
        grid = torch.stack(
            torch.broadcast_tensors(
                _normalised(columns + 1, frames + 2).unsqueeze(1), _normalised(rows, bins).unsqueeze(2)
            ),
            3,
        )
        image = F.pad(mel - fill, (1, 1)).unsqueeze(1)
        found = F.grid_sample(image, grid, "bicubic", padding_mode="border", align_corners=True)
        return found.squeeze(1) + fill


def _box(scale: Tensor, place: Tensor, size: int, canvas: float) -> Tensor:
    """Where the samples of a box lie, (batch, size), counted in samples of the clip."""
    length = (scale * size).clamp(1, canvas * size)
    start = place * (canvas * size - length) - (canvas - 1) * size / 2
    return torch.lerp(
        start.unsqueeze(1), (start + length - 1).unsqueeze(1), torch.linspace(0, 1, size, device=scale.device)
    )


def _normalised(places: Tensor, size: int) -> Tensor:
    """Places in samples as grid_sample counts them, from −1 for the first to 1 for the last."""
    return places * (2 / max(size - 1, 1)) - 1


class Mixup(MelTransform):
    """Mixes a little of an earlier input into each clip (BYOL-A, https://arxiv.org/abs/2103.06695).

    What comes out is log((1 − r)·x + r·z) of powers x and z, with a ratio r and an input z of an earlier
    call, any of those remembered with the same probability. A clip never meets one of its own batch. In the
    first call there is nothing to mix with, and clips stay as they are; from then on partners are drawn from
    as many as there are.

    Every input of a call in training mode is remembered, transformed or not; in evaluation mode the memory
    stands still. It is part of the state dict, so that a resumed run goes on as it would have, and is emptied
    by :meth:`bind`. Of several processes each remembers its own inputs: what a clip meets depends on how
    batches are split, and a run goes on exactly only if each process takes up its own state. Parameters can
    be replayed as long as the memory is the same.

    The published code exponentiates normalised log-mels, which are not powers but about their fifth roots,
    and remembers clip by clip, so that a clip may meet its own batch.

    Args:
        ratio: Range of the ratio; the second version (https://arxiv.org/abs/2204.07402) ends at 0.2.
        memory: How many inputs are remembered, the newest.
        p: Probability.

    Raises:
        ValueError: If the ratio leaves [0, 1], the memory is not positive, or an input has another number of
            bins or frames than those remembered.
    """

    bank: Tensor
    remembers = True

    def __init__(self, ratio: Range = (0.0, 0.4), memory: int = 2048, p: float = 1.0) -> None:
        super().__init__(p, ratio=ratio, partner=(0.0, 1.0))
        if ratio[0] < 0 or ratio[1] > 1 or memory < 1:
            raise ValueError(
                f"Mixup: ratio={ratio}, memory={memory}: a ratio lies in [0, 1], and a memory holds something"
            )
        self.memory = memory
        self.count = 0  # of all inputs so far; no tensor, because asking one would wait for the device
        self.register_buffer("bank", torch.empty(0), persistent=False)

    def bind(self, frontend: Frontend | Waveform) -> None:
        super().bind(frontend)
        self.bank, self.count = torch.empty(0), 0

    def _transformed(self, x: Tensor, params: Params) -> Tensor:
        if self.count and x.shape[1:] != self.bank.shape[1:]:
            raise ValueError(
                f"Mixup: remembers log-mels of {self.bank.shape[1]} × {self.bank.shape[2]} bins and frames, "
                f"got {x.shape[1]} × {x.shape[2]}; give it views of one length"
            )
        given = x.detach().clone()
        out = super()._transformed(x, params)
        if self.training:
            self._remember(given)
        return out

    def transform(self, x: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        if not self.count:
            return x
        self.bank = self.bank.to(x.device)
        filled = min(self.count, self.memory)
        age = (params["partner"] * filled).long().clamp_max(filled - 1)
        partner = self.bank[(self.count - 1 - age) % self.memory]
        mixed = torch.lerp(self.frontend.power(x), self.frontend.power(partner), column(params["ratio"], 3))
        return self.frontend.scale(mixed)

    def _remember(self, newest: Tensor) -> None:
        """Puts inputs in the place of the oldest."""
        newest = newest[-self.memory :]
        if not self.count:
            self.bank = newest.new_empty(self.memory, *newest.shape[1:])
        places = (self.count + torch.arange(len(newest), device=newest.device)) % self.memory
        self.bank = self.bank.to(newest.device).index_copy_(0, places, newest)
        self.count += len(newest)

    def get_extra_state(self) -> Tensor:
        """What is remembered, the oldest first, for the state dict."""
        filled = min(self.count, self.memory)
        return self.bank[:filled].roll(-self.count if filled == self.memory else 0, 0)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes that up again."""
        self.count = 0
        if len(state):
            self._remember(state)
