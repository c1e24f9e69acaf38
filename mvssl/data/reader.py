"""What all open audio can do, wherever its samples are: spans at any sample rate."""

import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import soxr
from numpy.typing import NDArray

# Samples of context, at the lower of the two rates, that the resampler gets on either side of a crop.
# 64 leave an error of 7e-5 at the edges, 128 of 1e-7.
_RESAMPLER_CONTEXT = 128

INT16_SCALE = np.float32(2**-15)
_ROUNDING = 1e-6  # seconds by which sums of times may miss


class AudioFileError(ValueError):
    """A file that cannot be used, with the reason.

    Attributes:
        path: The file.
        reason: What is wrong with it, in words for the user.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; replace the file or leave it out"


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        seconds: Duration.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Number of samples per channel.
    """

    seconds: float
    sample_rate: int
    channels: int
    frames: int


class Reader(ABC):
    """Open audio: one opening, several spans.

    Args:
        path: What it is called.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Number of samples per channel.

    Attributes:
        path: What it is called.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Number of samples per channel.
        seconds: Duration.
    """

    def __init__(self, path: str, sample_rate: int, channels: int, frames: int) -> None:
        self.path = path
        self.sample_rate, self.channels, self.frames = sample_rate, channels, frames
        self.seconds = frames / sample_rate

    @property
    def info(self) -> AudioInfo:
        """What is known of it without reading it."""
        return AudioInfo(self.seconds, self.sample_rate, self.channels, self.frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (not all have something to close)
        """Lets go of the file."""

    def read(
        self,
        start: float = 0.0,
        seconds: float | None = None,
        sample_rate: int | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reads a span; arguments, result and errors are those of :func:`read_audio`.

        With ``out`` the samples are written there, which must have room for just as many.
        """
        if (
            start < 0
            or (seconds is not None and seconds <= 0)
            or (sample_rate is not None and sample_rate <= 0)
        ):
            raise ValueError(
                f"start={start}, seconds={seconds}, sample_rate={sample_rate}: start must be at least 0, "
                "the others more than 0"
            )
        end = start + (seconds or 0.0)
        if end > self.seconds + _ROUNDING or (seconds is None and end >= self.seconds):
            span = f"from {start:g} s on" if seconds is None else f"from {start:g} to {end:g} s"
            raise AudioFileError(self.path, f"is {self.seconds:g} s long, but audio {span} was asked for")
        own = self.sample_rate
        if sample_rate is None or sample_rate == own:
            rate, total = own, self.frames
        else:
            rate = sample_rate
            total = (2 * self.frames * rate + own) // (2 * own)  # as soxr rounds: halves up
        first = round(start * rate)
        if seconds is None:
            self.require_end()
            count = total - first
        else:
            count = round(seconds * rate)
        first = min(first, total - count)  # rounding both ends may have gone one sample too far
        if rate == own:
            return self._native(first, count, out)
        return into(out, self._resampled(first, count, rate))

    def read_channels(self) -> NDArray[np.float32]:
        """All of it at its own rate, (channels, samples); one channel where only the mix is kept.

        Raises:
            AudioFileError: If it cannot be decoded, or holds NaN or infinite samples.
        """
        return self.read()[np.newaxis]

    @abstractmethod
    def verify(self) -> None:
        """Reads all of it and drops the result.

        Raises:
            AudioFileError: If any of it cannot be decoded, or holds NaN or infinite samples.
        """

    def require_end(self) -> None:  # noqa: B027 (not all can lack it)
        """Raises AudioFileError if the headers promise more than there is."""

    @abstractmethod
    def _native(self, first: int, count: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """``count`` samples from ``first`` on, at the own rate, mixed down."""

    def _resampled(self, first: int, count: int, rate: int) -> NDArray[np.float32]:
        """``count`` samples from ``first`` on, both counted at ``rate``.

        The input begins where an input and an output sample coincide, so that the resampler is in the
        same phase as it would be in the whole file.
        """
        own = self.sample_rate
        common = math.gcd(own, rate)
        step_in, step_out = own // common, rate // common
        context = math.ceil(_RESAMPLER_CONTEXT * max(1.0, rate / own))
        steps = max(0, (first - context) // step_out)
        begin = steps * step_in
        end = min(self.frames, math.ceil((first + count + context) * own / rate))
        audio = soxr.resample(self._native(begin, end - begin), own, rate)
        skip = first - steps * step_out
        return audio[skip : skip + count]


def scaled(samples: NDArray[np.int16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Samples of 16 bits from −1 to 1; a product that converts piece by piece takes a quarter longer."""
    found = np.empty(samples.shape, np.float32) if out is None else out
    found[:] = samples
    found *= INT16_SCALE
    return found


def into(out: NDArray[np.float32] | None, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The samples, copied to where they were asked for."""
    if out is None:
        return audio
    out[:] = audio
    return out
