"""Coloured noise."""

import numpy as np
import torch
from torch import Tensor

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import generator
from mvssl.views.transforms.base import Params, Range, Transform


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
    takes_mel = True
    needs_frontend = True

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

    def bind(self, frontend: Frontend | Waveform) -> None:
        super().bind(frontend)
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
            device = self.frontend.centre_frequencies.device
            power = self.frontend.power(self.frontend(0.1 * samples[None].to(device)))[0]
        return power / power.mean(1, keepdim=True).clamp_min(1e-12)


def _slope_db(frequencies: Tensor, params: Params) -> Tensor:
    return params["db_per_octave"].unsqueeze(1) * (frequencies.clamp_min(30) / 1000).log2()
