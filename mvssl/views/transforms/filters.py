"""Linear filters: on audio by FFT, on a log-mel a mere shift of each bin, which costs next to nothing."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.signal import NEPER, fast_size, tilted


class Filter(Transform):
    """A linear, time-invariant filter, given by its power response.

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
    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        """Gain of the power, (batch, frequencies) or (batch, 1), at frequencies in Hz."""

    def transform(self, x: Tensor, params: Params) -> Tensor:
        if x.ndim == 3:
            assert self.frontend is not None
            centres = self.frontend.centre_frequencies
            decibels = 10 * self.response(centres, params).clamp_min(1e-12).log10()
            # Zero in the dead bins that some published front ends have.
            return self.frontend.amplified(x, (decibels * (centres > 0)).unsqueeze(2))
        # Padded against wrap-around: the end of a crop must not leak into its beginning.
        size = fast_size(x.shape[1] + self.sample_rate // 20)
        frequencies = torch.fft.rfftfreq(size, 1 / self.sample_rate, device=x.device)
        spectra = torch.fft.rfft(x.float(), size) * self.response(frequencies, params).sqrt()
        return torch.fft.irfft(spectra, size)[:, : x.shape[1]]


class Gain(Filter):
    """Changes the level.

    Args:
        db: Range of the gain in dB.
        p: Probability.
    """

    def __init__(self, db: Range = (-6.0, 6.0), p: float = 1.0) -> None:
        super().__init__(p, db=db)

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        return (params["db"].unsqueeze(1) * NEPER).exp()

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

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        return tilted(frequencies, params["db_per_octave"])


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

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        return 1 / (1 + (frequencies / params["hertz"].unsqueeze(1)).square().square())


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

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        return 1 / (1 + (params["hertz"].unsqueeze(1) / frequencies).square().square())  # at 0 Hz, 1 / inf


class BandPass(Filter):
    """Lets a band pass: 0 dB at its centre, −3 dB at its edges, 6 dB per octave far beyond them.

    The magnitude of the analogue band-pass of the Audio EQ Cookbook (R. Bristow-Johnson,
    https://www.w3.org/TR/audio-eq-cookbook/), whose digital form is torchaudio's ``bandpass_biquad``.

    Args:
        hertz: Range of the centre, drawn uniformly in octaves. The default is that of audiomentations'
            ``BandPassFilter``.
        octaves: Range of the distance between the −3 dB points. The default is audiomentations' 0.5–1.99
            times the centre, in octaves.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    logarithmic = frozenset({"hertz"})

    def __init__(
        self,
        hertz: Range = (200.0, 4000.0),
        octaves: Range = (0.7, 2.5),
        p: float = 0.5,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__(p, sample_rate, hertz=hertz, octaves=octaves)
        if octaves[0] <= 0:
            raise ValueError(f"BandPass: octaves={octaves} must be above 0; such a band lets nothing pass")

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        width = 2 * (params["octaves"].unsqueeze(1) * (math.log(2) / 2)).sinh()  # 1 / Q
        ratio = (frequencies / params["hertz"].unsqueeze(1)).square()
        through = width.square() * ratio
        return through / (through + (1 - ratio).square())


class Equalizer(Filter):
    """A parametric equaliser: peaks and dips in several bands.

    Each band has the magnitude of the analogue peaking filter of the Audio EQ Cookbook (R. Bristow-Johnson,
    https://www.w3.org/TR/audio-eq-cookbook/), whose digital form is torchaudio's ``equalizer_biquad``. Its
    parameters are ``hertz_1``, ``db_1``, ``q_1`` and so on.

    Args:
        hertz: Range of the centre of a band, drawn uniformly in octaves.
        db: Range of the gain at the centre in dB.
        q: Range of the quality, drawn uniformly in octaves: the centre divided by the bandwidth between the
            points of half the gain in dB. The defaults of ``hertz`` and ``q`` are those of audiomentations'
            ``PeakingFilter``, that of ``db`` is its ``SevenBandParametricEQ``'s.
        bands: Number of bands.
        p: Probability.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(
        self,
        hertz: Range = (50.0, 7500.0),
        db: Range = (-12.0, 12.0),
        q: Range = (0.5, 5.0),
        bands: int = 3,
        p: float = 0.5,
        sample_rate: int = 16_000,
    ) -> None:
        if bands < 1:
            raise ValueError(f"Equalizer: bands={bands} changes nothing; ask for at least one")
        each = {"hertz": hertz, "db": db, "q": q}
        ranges = {f"{name}_{band}": each[name] for band in range(1, bands + 1) for name in each}
        self.logarithmic = frozenset(name for name in ranges if not name.startswith("db"))
        super().__init__(p, sample_rate, **ranges)
        self.hertz, self.db, self.q, self.bands = hertz, db, q, bands

    def response(self, frequencies: Tensor, params: Params) -> Tensor:
        response = torch.ones(1, 1, device=frequencies.device)
        for band in range(1, self.bands + 1):
            hertz, db, q = (params[f"{name}_{band}"].unsqueeze(1) for name in ("hertz", "db", "q"))
            ratio = (frequencies / hertz).square()
            distance, width, gain = (1 - ratio).square(), ratio / q.square(), (db * NEPER / 2).exp()
            response = response * (distance + width * gain) / (distance + width / gain)
        return response
