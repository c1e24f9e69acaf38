"""Batched transforms whose parameters are drawn per example, from continuous ranges, on any device.

Every transform takes audio (batch, samples). Most also take a log-mel (batch, bins, frames): there a
linear filter is a mere shift of each mel bin, which costs next to nothing.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.frontends import LogMel
from mvssl.seeding import generator, uniform

Params = dict[str, Tensor]
Range = tuple[float, float]


class Transform(nn.Module, ABC):
    """Base of all transforms: draws parameters per example, then applies them.

    Parameters are drawn uniformly from their range, those named in ``logarithmic`` uniformly in octaves.

    Args:
        p: Probability with which an example is transformed at all.
        **ranges: Lowest and highest value of each parameter.

    Raises:
        ValueError: If ``p`` is not a probability or a range is reversed.
    """

    logarithmic: ClassVar[frozenset[str]] = frozenset()
    takes_mel: ClassVar[bool] = True

    def __init__(self, p: float = 1.0, **ranges: Range) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p} is not a probability")
        for name, (low, high) in ranges.items():
            if low > high or (name in self.logarithmic and low <= 0):
                raise ValueError(
                    f"{type(self).__name__}: {name}=({low}, {high}) is not a range it can draw from"
                )
        self.p, self.ranges = p, ranges
        self.frontend: LogMel | None = None

    def bind(self, frontend: LogMel) -> None:
        """Tells the transform which front end made the log-mels that it will get."""
        # Hidden from nn.Module: the front end belongs to the encoder.
        object.__setattr__(self, "frontend", frontend)

    def draw(self, keys: NDArray[np.uint64]) -> Params:
        """Draws the parameters of each example from its key.

        Returns:
            float32 tensors of shape (batch,) by name, and the bool tensor ``applied``.
        """
        params = {"applied": torch.from_numpy(uniform(keys, 0) < self.p)}
        for stream, (name, (low, high)) in enumerate(self.ranges.items(), 1):
            if name in self.logarithmic:
                drawn = np.exp(math.log(low) + uniform(keys, stream) * math.log(high / low))
            else:
                drawn = low + uniform(keys, stream) * (high - low)
            params[name] = torch.from_numpy(drawn.astype(np.float32))
        return params

    @abstractmethod
    def transform(self, x: Tensor, params: Params) -> Tensor:
        """Transforms every example by its parameters, whether ``applied`` or not."""

    def forward(
        self, x: Tensor, keys: NDArray[np.uint64] | None = None, return_params: bool = False
    ) -> Tensor | tuple[Tensor, Params]:
        """Transforms a batch.

        Args:
            x: Audio (batch, samples), or a log-mel (batch, bins, frames) of the bound front end.
            keys: One key per example, which decides its parameters; without them, keys are drawn from
                torch's global generator.
            return_params: Also return what was drawn.

        Raises:
            ValueError: If ``x`` is a log-mel that this transform cannot take, or no front end is bound.
        """
        if x.ndim == 3 and not self.takes_mel:
            raise ValueError(f"{type(self).__name__} takes audio (batch, samples), not a log-mel")
        if x.ndim == 3 and self.frontend is None:
            raise ValueError(f"{type(self).__name__}: call bind(encoder.frontend) before passing log-mels")
        if keys is None:
            keys = torch.randint(2**62, (len(x),)).numpy().astype(np.uint64)
        params = {name: value.to(x.device) for name, value in self.draw(keys).items()}
        applied = _column(params["applied"], x.ndim)
        out = torch.where(applied, self.transform(x, params), x)
        return (out, params) if return_params else out

    def extra_repr(self) -> str:
        return ", ".join([f"{name}={limits}" for name, limits in self.ranges.items()] + [f"p={self.p}"])


def _column(values: Tensor, ndim: int) -> Tensor:
    return values.reshape(-1, *(1,) * (ndim - 1))


class Polarity(Transform):
    """Flips the sign of the waveform. Front ends that discard phase do not hear it.

    Args:
        p: Probability of a flip; CLMR uses 0.8 (https://arxiv.org/abs/2103.09410).
    """

    takes_mel = False

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        return -x


class Filter(Transform):
    """A linear, time-invariant filter, given by its magnitude response in decibels.

    On audio it is exact, by FFT with zero phase; on a log-mel, a bin shifts by the response at the bin's
    centre frequency, which is close wherever the response is smooth across the bin and the bin is above
    the floor of the front end.

    Args:
        p: Probability.
        sample_rate: Of the audio, in Hz; that of a bound front end takes its place.
        **ranges: Lowest and highest value of each parameter.
    """

    def __init__(self, p: float = 1.0, sample_rate: int = 16_000, **ranges: Range) -> None:
        super().__init__(p, **ranges)
        self.sample_rate = sample_rate

    @abstractmethod
    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        """Gain in dB, (batch, frequencies) or (batch, 1), at frequencies in Hz."""

    def bind(self, frontend: LogMel) -> None:
        super().bind(frontend)
        self.sample_rate = frontend.sample_rate

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if x.ndim == 3:
            assert self.frontend is not None
            centres = self.frontend.centre_frequencies
            # Zero in the dead bins that some published front ends have.
            shift = self.response_db(centres, params) * (centres > 0) / self.frontend.std
            return (x + shift.unsqueeze(2)).clamp_min_(self.frontend.silence)
        samples = x.shape[1]
        # Padded against wrap-around: the end of a crop must not leak into its beginning.
        size = samples + self.sample_rate // 20
        frequencies = torch.fft.rfftfreq(size, 1 / self.sample_rate, device=x.device)
        response = 10 ** (self.response_db(frequencies, params) / 20)
        return torch.fft.irfft(torch.fft.rfft(x.float(), size) * response, size)[:, :samples]


class Gain(Filter):
    """Changes the level.

    Args:
        db: Range of the gain in dB.
        p: Probability.
    """

    def __init__(self, db: Range = (-6.0, 6.0), p: float = 1.0) -> None:
        super().__init__(p, db=db)

    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        return params["db"].unsqueeze(1)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if x.ndim == 3:
            return super().transform(x, params)
        return x * 10 ** (params["db"].unsqueeze(1) / 20)


class Tilt(Filter):
    """Tilts the spectrum around 1 kHz, as a tone control or another microphone does.

    Args:
        db_per_octave: Range of the slope in dB per octave.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(self, db_per_octave: Range = (-4.0, 4.0), p: float = 1.0, sample_rate: int = 16_000) -> None:
        super().__init__(p, sample_rate, db_per_octave=db_per_octave)

    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        octaves = (frequencies.clamp_min(30) / 1000).log2()
        return params["db_per_octave"].unsqueeze(1) * octaves


class LowPass(Filter):
    """Second-order Butterworth magnitude, −3 dB at the cut-off.

    Args:
        hertz: Range of the cut-off, drawn uniformly in octaves. CLMR uses 2200–4000 Hz.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    logarithmic = frozenset({"hertz"})

    def __init__(self, hertz: Range = (1500.0, 8000.0), p: float = 0.5, sample_rate: int = 16_000) -> None:
        super().__init__(p, sample_rate, hertz=hertz)

    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        return -10 * torch.log10(1 + (frequencies / params["hertz"].unsqueeze(1)) ** 4)


class HighPass(Filter):
    """Second-order Butterworth magnitude, −3 dB at the cut-off.

    Args:
        hertz: Range of the cut-off, drawn uniformly in octaves. CLMR uses 200–1200 Hz.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    logarithmic = frozenset({"hertz"})

    def __init__(self, hertz: Range = (40.0, 600.0), p: float = 0.5, sample_rate: int = 16_000) -> None:
        super().__init__(p, sample_rate, hertz=hertz)

    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        # Bounded at DC, where the response is zero and its logarithm is not.
        return -10 * torch.log10(1 + (params["hertz"].unsqueeze(1) / frequencies.clamp_min(1.0)) ** 4)


class Noise(Transform):
    """Adds Gaussian noise whose spectrum falls or rises with a slope.

    The noise is a stretch, at a drawn place, of a long recording made once: the same key hears the same
    noise in every batch and on every device. On a log-mel, powers are added, which leaves out the
    interference between noise and music, and the ratio is taken between mean mel powers.

    Args:
        snr_db: Range of the signal-to-noise ratio in dB.
        db_per_octave: Range of the slope; 0 is white, −3 is pink.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    SECONDS = 32

    def __init__(
        self,
        snr_db: Range = (15.0, 40.0),
        db_per_octave: Range = (-6.0, 3.0),
        p: float = 0.8,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(p, snr_db=snr_db, db_per_octave=db_per_octave, place=(0.0, 1.0))
        self.sample_rate = sample_rate
        self.register_buffer("recording", torch.empty(0), persistent=False)

    def bind(self, frontend: LogMel) -> None:
        super().bind(frontend)
        self.sample_rate = frontend.sample_rate
        self.recording = torch.empty(0)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if not self.recording.numel() or self.recording.ndim != x.ndim - 1:
            self.recording = self._record(mel=x.ndim == 3)
        recording = self.recording = self.recording.to(x.device)
        length = x.shape[-1]
        if length > recording.shape[-1]:
            recording = recording.tile(-(-length // recording.shape[-1]))
        first = (params["place"] * (recording.shape[-1] - length)).long()
        noise = recording.unfold(-1, length, 1)[..., first, :]
        if x.ndim == 2:
            return self._add_to_audio(x.float(), noise, params)
        assert self.frontend is not None
        power = self.frontend.power(x)
        centres = self.frontend.centre_frequencies
        colour = 10 ** (_slope_db(centres, params) / 10) * (centres > 0)  # no noise in dead bins either
        colour = colour / colour.mean(1, keepdim=True)
        level = power.mean((1, 2)) * 10 ** (-params["snr_db"] / 10)
        noise = noise.transpose(0, 1) * (colour * level.unsqueeze(1)).unsqueeze(2)
        return self.frontend.scale(power + noise)

    def _add_to_audio(self, x: Tensor, noise: Tensor, params: Params) -> Tensor:
        frequencies = torch.fft.rfftfreq(x.shape[1], 1 / self.sample_rate, device=x.device)
        colour = 10 ** (_slope_db(frequencies, params) / 20)
        noise = torch.fft.irfft(torch.fft.rfft(noise) * colour, x.shape[1])
        ratio = x.square().mean(1) / noise.square().mean(1)
        return x + noise * (ratio * 10 ** (-params["snr_db"] / 10)).sqrt().unsqueeze(1)

    def _record(self, mel: bool) -> Tensor:
        """White noise (samples,), or its mel power (bins, frames) with mean 1 in every bin."""
        samples = torch.from_numpy(generator(0).standard_normal(self.SECONDS * self.sample_rate, np.float32))
        if not mel:
            return samples
        assert self.frontend is not None
        with torch.no_grad():
            device = self.frontend.window.device
            power = self.frontend.power(self.frontend(0.1 * samples[None].to(device)))[0]
        return power / power.mean(1, keepdim=True).clamp_min(1e-12)


def _slope_db(frequencies: Tensor, params: Params) -> Tensor:
    return params["db_per_octave"].unsqueeze(1) * (frequencies.clamp_min(30) / 1000).log2()
