"""Echo and reverberation."""

import math

import numpy as np
import torch
from torch import Tensor

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import generator
from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.signal import delayed, fast_size


class Delay(Transform):
    """Adds an echo: (sound + mix × the sound a while ago) / (1 + mix), which never exceeds full scale.

    CLMR (https://arxiv.org/abs/2103.09410) delays by 200, 250 … 450 ms with a mix of 0.5:
    ``Delay(step_ms=50.0)``. Its code divides by 2 instead of 1 + mix, and so is 2.5 dB quieter.

    Args:
        ms: Range of the delay in milliseconds, rounded to a whole sample.
        step_ms: If given, delays are drawn from a grid of these steps, beginning at the shortest.
        mix: Range of the level of the echo as a factor of the sound's.
        p: Probability; the default is CLMR's.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(
        self,
        ms: Range = (200.0, 450.0),
        step_ms: float | None = None,
        mix: Range = (0.5, 0.5),
        p: float = 0.3,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(p, ms=ms, mix=mix)
        if ms[0] < 0 or mix[0] < 0 or (step_ms is not None and step_ms <= 0):
            raise ValueError(f"Delay: ms={ms} and mix={mix} must not be below 0, nor step_ms={step_ms} at 0")
        if step_ms is not None:
            self.steps = {"ms": step_ms}
        self.step_ms, self.sample_rate = step_ms, sample_rate

    def transform(self, x: Tensor, params: Params) -> Tensor:
        mix = params["mix"].unsqueeze(1)
        echo = delayed(x, (params["ms"] * (self.sample_rate / 1000)).round().long())
        return (x + mix * echo) / (1 + mix)


class Reverb(Transform):
    """Puts the sound into a room: √(1 − wet) × sound + √wet × reverberation.

    The reverberation is the sound convolved with white noise that decays exponentially, as a natural-sounding
    hall does (J. A. Moorer, "About This Reverberation Business", Computer Music Journal 3(2), 1979). It falls
    by 60 dB in T60 = 0.2 s × 10^room_size, where it ends: a furnished room at 0, a concert hall at 1. The
    octave around f falls faster, in T60 / (1 + damping × f / 1 kHz), and has as much less power. Undamped
    reverberation has the power of the sound, so that ``wet`` is the share of the energy that reverberates.

    The noise is a stretch, at a drawn place, of a long recording made once: the same key hears the same room
    in every batch and on every device. What sounded before the clip does not reverberate in it.

    CLMR (https://arxiv.org/abs/2103.09410) draws the room size, damping and reverberance of SoX, which is a
    Schroeder reverberator of comb filters, from 0 to 100 %.

    Args:
        room_size: Range of the size, 0 to 1.
        damping: Range of the damping, 0 to 1.
        wet: Range of the share of reverberation, 0 to 1.
        p: Probability; the default is CLMR's.
        sample_rate: Of the audio, in Hz.
    """

    SECONDS = 8
    BLOCK = 256
    alike = "room_size"
    noise: Tensor

    def __init__(
        self,
        room_size: Range = (0.0, 1.0),
        damping: Range = (0.0, 1.0),
        wet: Range = (0.0, 1.0),
        p: float = 0.6,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(p, room_size=room_size, damping=damping, wet=wet, place=(0.0, 1.0))
        for name, (low, high) in self.ranges.items():
            if low < 0 or high > 1:
                raise ValueError(f"Reverb: {name}=({low}, {high}) must lie in 0 to 1")
        self.sample_rate = sample_rate
        self.register_buffer("noise", torch.empty(0), persistent=False)

    def bind(self, frontend: Frontend | Waveform) -> None:
        super().bind(frontend)
        self.noise = torch.empty(0)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if not self.noise.numel():
            self.noise = self._record()
        self.noise = self.noise.to(x.device)
        samples, wet = x.shape[1], params["wet"].unsqueeze(1)
        rooms = self._rooms(params)[:, :samples]
        size = fast_size(samples + rooms.shape[1] - 1)  # the end of a clip must not leak into its beginning
        spectra = torch.fft.rfft(x, size) * torch.fft.rfft(rooms, size)
        return (1 - wet).sqrt() * x + wet.sqrt() * torch.fft.irfft(spectra, size)[:, :samples]

    def _rooms(self, params: Params) -> Tensor:
        """Impulse responses (batch, samples): on a CPU as long as the longest, else as the range allows."""
        t60, most = _t60(params["room_size"]), self._length(self.ranges["room_size"][1])
        length = self._length(params["room_size"].max().item()) if t60.device.type == "cpu" else most
        first = (params["place"] * (self.noise.shape[1] - most)).long()
        bands = self.noise.unfold(1, length, 1)[:, first].transpose(0, 1).unflatten(2, (-1, self.BLOCK))
        # Per sample and octave, (batch, bands): what the logarithm of the amplitude falls by.
        fall = (1 + params["damping"].unsqueeze(1) * self._octaves().to(t60) / 1000) / t60.unsqueeze(1)
        fall = fall * (3 * math.log(10) / self.sample_rate)
        # exp(−fall · sample), made of two short ones; bounded, because numbers too small for fp32 are slow.
        within = torch.arange(self.BLOCK, device=fall.device)
        before = torch.arange(0, length, self.BLOCK, device=fall.device)
        decay = (before * -fall.unsqueeze(2)).clamp_min(-40).exp()
        # Each ends at its own T60, so that it does not matter which others are made with it.
        decay = (decay * (before < self.sample_rate * t60[:, None, None])).unsqueeze(3)
        rooms = (bands * decay * (within * -fall.unsqueeze(2)).exp().unsqueeze(2)).sum(1).flatten(1)
        return rooms * (t60 * (self.sample_rate / (6 * math.log(10)))).rsqrt().unsqueeze(1)

    def _length(self, room_size: float) -> int:
        """Whole blocks that a room of some size takes, in samples."""
        seconds = _t60(torch.tensor(room_size)).item()
        return -(-math.ceil(seconds * self.sample_rate) // self.BLOCK) * self.BLOCK

    def _octaves(self) -> Tensor:
        """Centres of the octaves in Hz, 250 Hz and up; the lowest reaches down to 0 Hz."""
        count = math.ceil(math.log2(self.sample_rate / 2 / 250) + 0.5)
        return 250 * 2.0 ** torch.arange(max(count, 1))

    def _record(self) -> Tensor:
        """White noise (octaves, samples): the sum over octaves has variance 1."""
        samples = fast_size(self._length(self.ranges["room_size"][1]) + self.SECONDS * self.sample_rate)
        spectrum = torch.fft.rfft(torch.from_numpy(generator(1).standard_normal(samples, np.float32)))
        frequencies = torch.fft.rfftfreq(samples, 1 / self.sample_rate)
        octaves = self._octaves()
        octave = torch.bucketize(frequencies, octaves[1:] / math.sqrt(2))
        return torch.fft.irfft(spectrum * (octave == torch.arange(len(octaves)).unsqueeze(1)), samples)


def _t60(room_size: Tensor) -> Tensor:
    return 0.2 * 10**room_size
