"""Coloured noise."""

import numpy as np
import torch
from torch import Tensor

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import generator
from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.signal import fast_size, rms, tilted


class Noise(Transform):
    """Adds Gaussian noise whose spectrum falls or rises with a slope, at an exact signal-to-noise ratio.

    The noise is a stretch, at a drawn place, of a long recording made once: the same key hears the same
    noise in every batch and on every device. On a log-mel, powers are added, which leaves out the
    interference between noise and music, and the ratio is taken between mean mel powers.

    CLMR (https://arxiv.org/abs/2103.09410) adds white noise that is hardly heard:
    ``Noise(snr_db=(40.0, 80.0), db_per_octave=(0.0, 0.0), p=0.01)``.

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
        self.recording = self.recording.to(x.device)
        if x.ndim == 2:
            return self._add_to_audio(x.float(), params)
        assert self.frontend is not None
        noise = self._stretch(x.shape[2], params).transpose(0, 1)
        power = self.frontend.power(x)
        centres = self.frontend.centre_frequencies
        colour = tilted(centres, params["db_per_octave"]) * (centres > 0)  # no noise in dead bins either
        ratio = power.mean((1, 2)) / (noise.mean(2) * colour).mean(1)
        level = colour * (ratio * 10 ** (-params["snr_db"] / 10)).unsqueeze(1)
        return self.frontend.scale(power + noise * level.unsqueeze(2))

    def _add_to_audio(self, x: Tensor, params: Params) -> Tensor:
        size = fast_size(x.shape[1])
        frequencies = torch.fft.rfftfreq(size, 1 / self.sample_rate, device=x.device)
        colour = tilted(frequencies, params["db_per_octave"]).sqrt()
        spectra = torch.fft.rfft(self._stretch(size, params)) * colour
        noise = torch.fft.irfft(spectra, size)[:, : x.shape[1]]
        return x + noise * (rms(x) / rms(noise) * 10 ** (-params["snr_db"].unsqueeze(1) / 20))

    def _stretch(self, length: int, params: Params) -> Tensor:
        """What of the recording each example hears: (batch, samples) or (bins, batch, frames)."""
        recording = self.recording
        if length > recording.shape[-1]:
            recording = recording.tile(-(-length // recording.shape[-1]))
        first = (params["place"] * (recording.shape[-1] - length)).long()
        return recording.unfold(-1, length, 1)[..., first, :]

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
