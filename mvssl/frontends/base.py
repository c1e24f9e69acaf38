"""What all front ends share: the power of bands, compressed, shifted and scaled."""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

Compression = Literal["decibels", "log1p"]

CACHED_SAMPLES = 2**19
LOUDNESS = 10_000.0  # what musicnn multiplies power by before it adds one and takes the logarithm
_NEPER = math.log(10) / 10  # natural logarithm of a power ratio of one decibel


class Frontend(nn.Module, ABC):
    """Base of the front ends that make log spectrograms.

    A subclass writes :meth:`bands`. Everything is computed in fp32 with autocast off: in fp16 the power of a
    full-scale sine overflows. A clip's value never depends on the other clips of its batch.

    Args:
        config: Arguments of the subclass, which make it again, ``sample_rate`` and ``hop_length`` among them;
            those below are taken from it: ``floor_db``, ``top_db``, ``compression``, ``mean``, ``std``.
        centre_frequencies: Of the bands, in Hz, (bands,).
        window_length: Samples, at most, that a frame is made of.

    Attributes:
        n_mels: Number of bands, mel bands or others.
        config: What makes it again.

    Raises:
        ValueError: If the compression is unknown, or does not go with ``top_db``.
    """

    centre_frequencies: Tensor

    def __init__(self, config: dict[str, Any], centre_frequencies: Tensor, window_length: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate: int = config["sample_rate"]
        self.hop_length: int = config["hop_length"]
        self.n_mels, self.window_length = len(centre_frequencies), window_length
        self.floor_db: float = config["floor_db"]
        self.top_db: float | None = config["top_db"]
        self.compression: Compression = config["compression"]
        self.mean: float = config["mean"]
        self.std: float = config["std"]
        if self.compression not in ("decibels", "log1p"):
            raise ValueError(f"compression={self.compression!r}: use 'decibels' or 'log1p'")
        if self.compression == "log1p" and self.top_db is not None:
            raise ValueError(f"top_db={self.top_db:g} goes with compression='decibels' only: leave it out")
        self.register_buffer("centre_frequencies", centre_frequencies, persistent=False)

    @abstractmethod
    def bands(self, audio: Tensor) -> Tensor:
        """Power of fp32 audio (batch, samples) as (batch, frames, bands)."""

    def forward(self, audio: Tensor) -> Tensor:
        """Computes the log spectrogram of audio (batch, samples) as (batch, bands, frames).

        Raises:
            ValueError: If the clips are no longer than what is mirrored at their ends.
        """
        if audio.shape[-1] <= self.margin:
            raise ValueError(
                f"clips of {audio.shape[-1]} samples: more than half a window, {self.margin} samples, are "
                "needed"
            )
        with torch.autocast(audio.device.type, enabled=False):
            powers = [self.bands(clips) for clips in audio.float().split(self._clips_at_once(audio))]
            return self.scale(torch.cat(powers).transpose(1, 2))

    @property
    def margin(self) -> int:
        """Samples by which a clip is continued, mirrored, at either end."""
        return self.window_length // 2

    def _clips_at_once(self, audio: Tensor) -> int:
        # On a CPU, frames and spectra of a few clips stay in its cache; that is several times faster.
        clip = audio.shape[1] * self.window_length // self.hop_length
        return max(1, CACHED_SAMPLES // clip) if audio.device.type == "cpu" else len(audio)

    def scale(self, power: Tensor) -> Tensor:
        """Power (batch, bands, frames) → the log spectrogram that this front end puts out."""
        if self.compression == "log1p":
            return ((1 + LOUDNESS * power).log10() - self.mean) / self.std
        decibels = 10 * power.clamp_min(10 ** (self.floor_db / 10)).log10()
        if self.top_db is not None:
            decibels = decibels.maximum(decibels.amax((1, 2), keepdim=True) - self.top_db)
        return (decibels - self.mean) / self.std

    def power(self, mel: Tensor) -> Tensor:
        """The inverse of :meth:`scale`, up to its floor."""
        if self.compression == "log1p":
            return (10 ** (mel * self.std + self.mean) - 1).clamp_min(0) / LOUDNESS
        return (mel * (self.std * _NEPER) + self.mean * _NEPER).exp()

    def amplified(self, mel: Tensor, decibels: Tensor) -> Tensor:
        """A log spectrogram (batch, bands, frames) made louder by decibels of that or a broadcast shape."""
        if self.compression == "log1p":
            return self.scale(self.power(mel) * 10 ** (decibels / 10))
        return (mel + decibels / self.std).clamp_min_(self.silence)

    @property
    def overlap(self) -> int:
        """How many frames after a frame share samples with it."""
        return -(-self.window_length // self.hop_length) - 1

    @property
    def silence(self) -> float:
        """What digital silence comes out as: no value is lower."""
        return ((self.floor_db if self.compression == "decibels" else 0.0) - self.mean) / self.std


class Waveform(nn.Module):
    """Front end of the encoders of raw audio: gives the audio as it is.

    View chains are bound to it for its sample rate; those with spectrogram members say that they cannot be.

    Args:
        sample_rate: Sample rate of the audio in Hz.
    """

    overlap = 0

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate

    def forward(self, audio: Tensor) -> Tensor:
        return audio


def forget(module: nn.Module) -> nn.Module:
    """Keeps a module's buffers out of the state dict, since they are made anew from its arguments."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        module.register_buffer(name, buffer, persistent=False)
    return module
