"""Front ends: waveform → log-mel, on the device of the encoder that owns them."""

import math
import warnings

import torch
import torchaudio.functional as AF
from torch import Tensor, nn
from torch.nn import functional as F

CACHED_SAMPLES = 2**19
_NEPER = math.log(10) / 10  # natural logarithm of a power ratio of one decibel


class LogMel(nn.Module):
    """Log-mel spectrogram in decibels, shifted and scaled to the range that networks like.

    Always computed in fp32 with autocast off: in fp16 the power of a full-scale sine overflows. A clip's
    value never depends on the other clips of its batch.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        n_fft: Window and FFT length in samples (Hann window).
        hop_length: Step between frames in samples; a clip has ``1 + samples // hop_length`` frames.
        n_mels: Number of mel bins (Slaney scale, Slaney area normalisation).
        f_min: Lowest frequency in Hz.
        f_max: Highest frequency in Hz; ``None`` means half the sample rate.
        floor_db: Power below this is raised to it, so that silence is finite and has zero gradient.
        top_db: If given, a clip's values lie at most this far below the clip's own maximum.
        window_normalised: Divide the spectrum by the root of the window's energy.
        mean: Subtracted from the decibels.
        std: Divides what is left.
        allow_dead_bins: Accept mel bins that no FFT bin falls into, and ``f_max`` above the Nyquist
            frequency. Only for reproducing published front ends that have them.

    Shape:
        (batch, samples) in [−1, 1] → (batch, n_mels, frames).

    Raises:
        ValueError: If a mel bin would be empty, or ``f_max`` lies above the Nyquist frequency.
    """

    window: Tensor
    centre_frequencies: Tensor

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
        mean: float = -20.0,
        std: float = 20.0,
        allow_dead_bins: bool = False,
    ) -> None:
        super().__init__()
        f_max = sample_rate / 2 if f_max is None else f_max
        if f_max > sample_rate / 2 and not allow_dead_bins:
            raise ValueError(
                f"f_max={f_max:g} Hz is above the Nyquist frequency {sample_rate / 2:g} Hz; lower f_max"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty bins; the error below says it better
            filters = AF.melscale_fbanks(
                n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm="slaney", mel_scale="slaney"
            )
        dead = int((filters.sum(0) == 0).sum())
        if dead and not allow_dead_bins:
            raise ValueError(
                f"{dead} of {n_mels} mel bins would always be empty; lower n_mels or raise n_fft={n_fft}"
            )
        self.config = {
            "sample_rate": sample_rate, "n_fft": n_fft, "hop_length": hop_length, "n_mels": n_mels,
            "f_min": f_min, "f_max": f_max, "floor_db": floor_db, "top_db": top_db,
            "window_normalised": window_normalised, "mean": mean, "std": std,
            "allow_dead_bins": allow_dead_bins,
        }  # fmt: skip
        self.sample_rate, self.n_fft, self.hop_length, self.n_mels = sample_rate, n_fft, hop_length, n_mels
        self.floor_db, self.top_db, self.mean, self.std = floor_db, top_db, mean, std
        window = torch.hann_window(n_fft)
        if window_normalised:
            filters = filters / window.square().sum()
        frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)
        centres = (filters.T @ frequencies) / filters.sum(0).clamp_min(1e-12)
        self.register_buffer("window", window, persistent=False)
        self.bands = _Bands(filters)
        self.register_buffer("centre_frequencies", centres, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Computes the log-mel of audio (batch, samples) as (batch, bins, frames).

        Raises:
            ValueError: If the clips are no longer than half a window.
        """
        half = self.n_fft // 2
        if audio.shape[-1] <= half:
            raise ValueError(
                f"clips of {audio.shape[-1]} samples: more than half of n_fft={self.n_fft} are needed"
            )
        with torch.autocast(audio.device.type, enabled=False):
            mels = [self._mel(clips, half) for clips in audio.float().split(self._clips_at_once(audio))]
            return self.scale(torch.cat(mels).transpose(1, 2))

    def _clips_at_once(self, audio: Tensor) -> int:
        # On a CPU, frames and spectra of a few clips stay in its cache; that is several times faster.
        clip = audio.shape[1] * self.n_fft // self.hop_length
        return max(1, CACHED_SAMPLES // clip) if audio.device.type == "cpu" else len(audio)

    def _mel(self, audio: Tensor, half: int) -> Tensor:
        padded = F.pad(audio.unsqueeze(1), (half, half), mode="reflect").squeeze(1)
        frames = padded.unfold(1, self.n_fft, self.hop_length) * self.window
        squares = torch.view_as_real(torch.fft.rfft(frames)).flatten(2).square()
        return self.bands(squares.flatten(0, 1)).unflatten(0, squares.shape[:2])

    def scale(self, power: Tensor) -> Tensor:
        """Mel power (batch, bins, frames) → the log-mel that this front end puts out."""
        decibels = 10 * power.clamp_min(10 ** (self.floor_db / 10)).log10()
        if self.top_db is not None:
            decibels = decibels.maximum(decibels.amax((1, 2), keepdim=True) - self.top_db)
        return (decibels - self.mean) / self.std

    def power(self, mel: Tensor) -> Tensor:
        """The inverse of :meth:`scale`, up to its floor."""
        return (mel * (self.std * _NEPER) + self.mean * _NEPER).exp()

    @property
    def overlap(self) -> int:
        """How many frames after a frame share samples with it."""
        return -(-self.n_fft // self.hop_length) - 1

    @property
    def silence(self) -> float:
        """What digital silence comes out as: no value is lower."""
        return (self.floor_db - self.mean) / self.std


class _Bands(nn.Module):
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
