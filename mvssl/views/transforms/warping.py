"""Log-mels whose bins read from other frequencies."""

from abc import abstractmethod

import torch
from torch import Tensor

from mvssl.views.transforms.base import Params, Range
from mvssl.views.transforms.mel import LiveMelTransform


class _Reading(LiveMelTransform):
    """Fills each bin with what lies at another frequency, by linear interpolation between log-mel bins.

    More than half a bin beyond the bins of the front end there is silence. Levels are moved, not corrected:
    filters of the same area make a sine that moves up by an octave above 1 kHz, where their bandwidth
    doubles, 3 dB quieter on audio and leave it as loud here.
    """

    @abstractmethod
    def source(self, centres: Tensor, params: Params) -> Tensor:
        """Where bins with centres (bins,) read, (batch, bins), both in Hz."""

    def change(self, mel: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        centres = self.frontend.centre_frequencies
        centres = centres if self.live is None else centres[self.live.to(centres.device)]
        bins = torch.arange(len(centres), device=mel.device)
        # As a distance from its own place, so that a bin which reads its own frequency is itself exactly.
        moved = _place(self.source(centres, params), centres) - _place(centres.unsqueeze(0), centres)
        places = bins + moved
        lower = places.floor().clamp(0, len(centres) - 2)
        share = (places - lower).clamp(0, 1).unsqueeze(2)
        below = lower.long()
        read = torch.lerp(_rows(mel, below), _rows(mel, below + 1), share)
        beyond = (places < -0.5) | (places > len(centres) - 0.5)
        return read.masked_fill(beyond.unsqueeze(2), self.frontend.silence)


def _rows(mel: Tensor, places: Tensor) -> Tensor:
    """The bins of log-mels at places (batch, bins), as rows of one matrix, which are copied in one piece."""
    first = torch.arange(len(mel), device=mel.device).unsqueeze(1) * mel.shape[1]
    return mel.flatten(0, 1)[(first + places).flatten()].view_as(mel)


def _place(hertz: Tensor, centres: Tensor) -> Tensor:
    """Fractional bin at frequencies (batch, bins), in a straight line between and beyond centres."""
    upper = torch.searchsorted(centres, hertz.contiguous()).clamp(1, len(centres) - 1)
    lower = upper - 1
    return lower + (hertz - centres[lower]) / (centres[upper] - centres[lower]).clamp_min(1e-3)


class FrequencyShift(_Reading):
    """Moves the whole spectrum up or down, which shifts pitch and formants without touching time.

    Args:
        semitones: Range of the shift.
        p: Probability.
    """

    def __init__(self, semitones: Range = (-2.0, 2.0), p: float = 1.0) -> None:
        super().__init__(p, semitones=semitones)

    def source(self, centres: Tensor, params: Params) -> Tensor:
        return centres * 2 ** (-params["semitones"].unsqueeze(1) / 12)


class FrequencyWarp(_Reading):
    """Stretches the spectrum below a knee and squeezes it above, so that the highest frequency stays.

    That is vocal tract length perturbation (Jaitly and Hinton, 2013,
    https://www.cs.toronto.edu/~ndjaitly/jaitly-icml13.pdf): a frequency f becomes f times the factor as long
    as neither of the two is above the knee, 4.8 kHz at a sample rate of 16 kHz and in proportion at others,
    and from there it runs straight to half the sample rate.

    Args:
        factor: Range of the factor; the paper draws from 0.9–1.1.
        p: Probability.

    Raises:
        ValueError: If a factor is not positive.
    """

    KNEE = 0.6  # of half the sample rate

    def __init__(self, factor: Range = (0.9, 1.1), p: float = 1.0) -> None:
        super().__init__(p, factor=factor)
        if factor[0] <= 0:
            raise ValueError(f"FrequencyWarp: factor={factor} must be positive")

    def source(self, centres: Tensor, params: Params) -> Tensor:
        assert self.frontend is not None
        factor = params["factor"].unsqueeze(1)
        highest = self.frontend.sample_rate / 2
        knee = self.KNEE * highest * factor.clamp_max(1)  # of the output; what it reads is knee / factor
        above = highest - (highest - knee / factor) * (highest - centres) / (highest - knee)
        return torch.where(centres <= knee, centres / factor, above)
