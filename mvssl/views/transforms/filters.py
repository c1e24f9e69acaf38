"""Linear filters: on audio by FFT, on a log-mel a mere shift of each bin, which costs next to nothing."""

from abc import abstractmethod

import torch
from torch import Tensor

from mvssl.views.transforms.base import Params, Range, Transform


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

    takes_mel = True
    needs_frontend = True

    def __init__(self, p: float = 1.0, sample_rate: int = 16_000, **ranges: Range) -> None:
        super().__init__(p, **ranges)
        self.sample_rate = sample_rate

    @abstractmethod
    def response_db(self, frequencies: Tensor, params: Params) -> Tensor:
        """Gain in dB, (batch, frequencies) or (batch, 1), at frequencies in Hz."""

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if x.ndim == 3:
            assert self.frontend is not None
            centres = self.frontend.centre_frequencies
            # Zero in the dead bins that some published front ends have.
            return self.frontend.amplified(x, self.response_db(centres, params) * (centres > 0))
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
