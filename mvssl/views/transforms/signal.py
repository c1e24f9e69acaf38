"""What several transforms of audio share."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

_EVEN = 16  # what lengths of FFTs are multiples of
NEPER = math.log(10) / 10  # natural logarithm of a power ratio of one decibel


def fast_size(samples: int) -> int:
    """A length, at least ``samples``, that FFTs of real numbers are fast at; odd ones take thrice as long."""
    return _EVEN * int(next_fast_len(-(-samples // _EVEN)))


def delayed(x: Tensor, by: Tensor, circular: bool = False) -> Tensor:
    """Audio (batch, samples), each row later by its own number of samples.

    Args:
        x: Audio.
        by: Whole samples (batch,), int64; below zero it is earlier.
        circular: What leaves at one end comes in at the other; otherwise silence does.
    """
    samples = x.shape[1]
    source = torch.arange(samples, device=x.device) - by.unsqueeze(1)
    if circular:
        return x.gather(1, source.remainder_(samples))
    return x.gather(1, source.clamp(0, samples - 1)) * ((source >= 0) & (source < samples))


def tilted(frequencies: Tensor, db_per_octave: Tensor) -> Tensor:
    """Power (batch, frequencies) that rises by decibels (batch,) per octave, 1 at 1 kHz, flat below 30 Hz."""
    octaves = (frequencies.clamp_min(30) / 1000).log2()
    return (db_per_octave.unsqueeze(1) * (NEPER * octaves)).exp()


def rms(x: Tensor) -> Tensor:
    """Root mean square of each row, (batch, 1); of silence it is 1e-10, so that one can divide by it."""
    return x.square().mean(1, keepdim=True).clamp_min(1e-20).sqrt()
