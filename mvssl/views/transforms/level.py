"""Level and shape of the waveform."""

import torch
from torch import Tensor

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.signal import delayed, rms


class Polarity(Transform):
    """Flips the sign of the waveform. Front ends that discard phase do not hear it.

    Args:
        p: Probability of a flip; CLMR uses 0.8 (https://arxiv.org/abs/2103.09410).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        return -x


class Clip(Transform):
    """Cuts off what exceeds a ceiling, as an overdriven converter does.

    The ceiling follows the level of the clip, so that quiet ones are clipped as hard as loud ones.

    Args:
        headroom_db: Range of the ceiling in dB above the root mean square of the clip. Of Gaussian noise,
            9 dB clip 0.5 % of the samples and 0 dB 32 %, about what audiomentations' ``ClippingDistortion``
            does by default.
        p: Probability.
    """

    def __init__(self, headroom_db: Range = (0.0, 9.0), p: float = 0.5) -> None:
        super().__init__(p, headroom_db=headroom_db)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        ceiling = rms(x) * 10 ** (params["headroom_db"].unsqueeze(1) / 20)
        return x.minimum(ceiling).maximum(-ceiling)


class Saturate(Transform):
    """Rounds off peaks by a hyperbolic tangent, as tape and valves do; the root mean square stays.

    Args:
        drive_db: Range of the level in dB at which the clip enters the tangent: at 0 dB its root mean
            square is 1 there, where the curve lies 2.4 dB below a straight line. The default is ours, from
            hardly audible to a fuzz.
        p: Probability.
    """

    def __init__(self, drive_db: Range = (-12.0, 12.0), p: float = 0.5) -> None:
        super().__init__(p, drive_db=drive_db)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        level = rms(x)
        driven = (x * (10 ** (params["drive_db"].unsqueeze(1) / 20) / level)).tanh()
        return driven * (level / rms(driven))


class Shift(Transform):
    """Moves the sound in time.

    Args:
        fraction: Range of the shift as a fraction of the clip, later if positive; rounded to a whole
            sample. The default is that of audiomentations' ``Shift``.
        circular: What leaves at one end comes in at the other; otherwise silence does.
        p: Probability.
    """

    def __init__(self, fraction: Range = (-0.5, 0.5), circular: bool = True, p: float = 0.5) -> None:
        super().__init__(p, fraction=fraction)
        self.circular = circular

    def transform(self, x: Tensor, params: Params) -> Tensor:
        return delayed(x, (params["fraction"] * x.shape[1]).round().long(), self.circular)


class SpanDropout(Transform):
    """Silences spans of the waveform, which may overlap, as SpeechBrain's ``DropChunk`` does.

    Its parameters are the number of ``spans``, and for each span a length ``ms_1`` … and a place ``place_1``
    …, from 0 at the beginning of the clip to 1 at its end; those beyond the number are not used.

    Args:
        spans: Lowest and highest number of spans; each number is as likely.
        ms: Range of the length of a span in milliseconds.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(
        self,
        spans: tuple[int, int] = (1, 5),
        ms: Range = (20.0, 120.0),
        p: float = 0.5,
        sample_rate: int = 16_000,
    ) -> None:
        numbers = range(1, int(spans[1]) + 1)
        lengths, places = {f"ms_{n}": ms for n in numbers}, {f"place_{n}": (0.0, 1.0) for n in numbers}
        super().__init__(p, spans=spans, **lengths, **places)
        if spans[0] < 1 or ms[0] <= 0:
            raise ValueError(f"SpanDropout: at least one span above 0 ms is needed, got {spans} of {ms} ms")
        self.steps = {"spans": 1.0}
        self.ms, self.sample_rate = ms, sample_rate

    def transform(self, x: Tensor, params: Params) -> Tensor:
        samples, numbers = x.shape[1], range(1, int(self.ranges["spans"][1]) + 1)
        lengths = torch.stack([params[f"ms_{n}"] for n in numbers], 1) * (self.sample_rate / 1000)
        used = torch.arange(len(numbers), device=x.device) < params["spans"].unsqueeze(1)
        lengths = lengths.round().clamp_max(samples) * used
        starts = (torch.stack([params[f"place_{n}"] for n in numbers], 1) * (samples - lengths)).long()
        # One more span is open from each start on, one less from each end on.
        change = torch.zeros(len(x), samples + 1, dtype=torch.int32, device=x.device)
        one = torch.ones_like(starts, dtype=torch.int32)
        change.scatter_add_(1, starts, one).scatter_add_(1, starts + lengths.long(), -one)
        return x * (change[:, :samples].cumsum(1, dtype=torch.int32) == 0)
