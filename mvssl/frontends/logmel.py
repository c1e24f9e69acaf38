"""Log-mel spectrograms."""

import warnings
from typing import Literal

import torch
import torchaudio.functional as AF
from torch import Tensor, nn

from mvssl.frontends.base import Compression, Frontend, forget


class LogMel(Frontend):
    """Log-mel spectrogram in decibels, shifted and scaled to the range that networks like.

    Always computed in fp32 with autocast off: in fp16 the power of a full-scale sine overflows. A clip's
    value never depends on the other clips of its batch.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        n_fft: Window and FFT length in samples (Hann window).
        hop_length: Step between frames in samples; a clip has ``1 + samples // hop_length`` frames.
        n_mels: Number of mel bins (Slaney scale).
        f_min: Lowest frequency in Hz.
        f_max: Highest frequency in Hz; ``None`` means half the sample rate.
        floor_db: Power below this is raised to it, so that silence is finite and has zero gradient.
        top_db: If given, a clip's values lie at most this far below the clip's own maximum.
        window_normalised: Divide the spectrum by the root of the window's energy.
        area_normalised: Divide each mel filter by its area (Slaney), else its peak is 1.
        compression: ``"decibels"``, or ``"log1p"``: log10(1 + 10,000 · power), which has no floor.
        mean: Subtracted from the decibels, or what the compression gives.
        std: Divides what is left.
        allow_dead_bins: Accept mel bins that no FFT bin falls into, and ``f_max`` above the Nyquist
            frequency. Only for reproducing published front ends that have them.
        backend: Where spectra come from: ``"torchaudio"`` is torch's FFT before torchaudio's mel filters;
            ``"nnaudio"`` computes the transform as a convolution, on CPUs several times more slowly.

    Shape:
        (batch, samples) in [−1, 1] → (batch, n_mels, frames).

    Raises:
        ValueError: If a mel bin would be empty, ``f_max`` lies above the Nyquist frequency, or a name is
            unknown.
    """

    window: Tensor

    def __init__(
        self,
        sample_rate: int = 16_000,
        n_fft: int = 1024,
        hop_length: int = 512,
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        *,
        floor_db: float = -70.0,
        top_db: float | None = None,
        window_normalised: bool = False,
        area_normalised: bool = True,
        compression: Compression = "decibels",
        mean: float = -20.0,
        std: float = 20.0,
        allow_dead_bins: bool = False,
        backend: Literal["torchaudio", "nnaudio"] = "torchaudio",
    ) -> None:
        f_max = sample_rate / 2 if f_max is None else f_max
        if f_max > sample_rate / 2 and not allow_dead_bins:
            raise ValueError(
                f"f_max={f_max:g} Hz is above the Nyquist frequency {sample_rate / 2:g} Hz; lower f_max"
            )
        if backend not in ("torchaudio", "nnaudio"):
            raise ValueError(f"backend={backend!r}: use 'torchaudio' or 'nnaudio'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty bins; the error below says it better
            filters = AF.melscale_fbanks(
                n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate,
                norm="slaney" if area_normalised else None, mel_scale="slaney",
            )  # fmt: skip
        dead = int((filters.sum(0) == 0).sum())
        if dead and not allow_dead_bins:
            raise ValueError(
                f"{dead} of {n_mels} mel bins would always be empty; lower n_mels or raise n_fft={n_fft}"
            )
        config = {
            "sample_rate": sample_rate, "n_fft": n_fft, "hop_length": hop_length, "n_mels": n_mels,
            "f_min": f_min, "f_max": f_max, "floor_db": floor_db, "top_db": top_db,
            "window_normalised": window_normalised, "area_normalised": area_normalised,
            "compression": compression, "mean": mean, "std": std, "allow_dead_bins": allow_dead_bins,
            "backend": backend,
        }  # fmt: skip
        window = torch.hann_window(n_fft)
        if window_normalised:
            filters = filters / window.square().sum()
        frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)
        super().__init__(config, (filters.T @ frequencies) / filters.sum(0).clamp_min(1e-12), n_fft)
        self.n_fft = n_fft
        self.register_buffer("window", window, persistent=False)
        self.filters = _Filters(filters)
        self.stft = _nnaudio_stft(n_fft, hop_length) if backend == "nnaudio" else None

    def bands(self, audio: Tensor) -> Tensor:
        spectra = self._spectra(audio).flatten(2)
        squares = spectra.square() if spectra.requires_grad else spectra.square_()
        power: Tensor = self.filters(squares.flatten(0, 1))
        return power.unflatten(0, squares.shape[:2])

    def _spectra(self, audio: Tensor) -> Tensor:
        """(batch, samples) → (batch, frames, frequencies, 2)."""
        if self.stft is not None:
            spectra: Tensor = self.stft(audio)
            return spectra.transpose(1, 2)
        # Mirrored by hand: torch's own padding takes as long as a third of the FFT.
        before, behind = audio[:, 1 : self.margin + 1], audio[:, -self.margin - 1 : -1]
        padded = torch.cat([before.flip(1), audio, behind.flip(1)], 1)
        frames = padded.unfold(1, self.n_fft, self.hop_length) * self.window
        return torch.view_as_real(torch.fft.rfft(frames))


def _nnaudio_stft(n_fft: int, hop_length: int) -> nn.Module:
    from nnAudio.features.stft import STFT

    # Complex, because the magnitude's root has no finite gradient in silence.
    return forget(STFT(n_fft, hop_length=hop_length, output_format="Complex", verbose=False))


class _Filters(nn.Module):
    """Squared real and imaginary parts of spectra (frames, 2 × frequencies) → power in bands (frames, bands).

    In one product for the lower and one for the upper half of the bands, because each needs only some of the
    frequencies: the lower half of 64 mel bands a fifth of them.
    """

    low: Tensor
    high: Tensor

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        filters = filters.repeat_interleave(2, 0)  # the parts of a frequency, side by side, are added
        low, high = filters.tensor_split(2, 1)
        self.end = len(low) - int(low.any(1).flip(0).int().argmax())
        self.start = int(high.any(1).int().argmax())
        self.register_buffer("low", low[: self.end].contiguous(), persistent=False)
        self.register_buffer("high", high[self.start :].contiguous(), persistent=False)

    def forward(self, squares: Tensor) -> Tensor:
        return torch.cat([squares[:, : self.end] @ self.low, squares[:, self.start :] @ self.high], 1)
