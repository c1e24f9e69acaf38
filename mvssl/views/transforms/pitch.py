"""Pitch and tempo: audio is read faster or slower, and spliced so as to keep its length or its pitch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mvssl.views.transforms.base import Params, Range, Transform

# Splicing, in seconds: how often, how long the cross-fade, how much of the sound is compared, and how far
# apart the places are that it is compared at (one period of the lowest pitch that is spliced without a seam).
HOP, FADE, MATCH, SEARCH = 0.04, 0.012, 0.02, 0.02
# Resampling: zero crossings of the kernel on each side, samples made at a time, and the number of fractions
# of a sample at which the kernel is computed, to be interpolated between by a polynomial.
ZEROS, BLOCK, FRACTIONS = 8, 16, 4


class Speed(Transform):
    """Plays faster or slower, as a tape does: pitch and tempo change together.

    Resampled by a windowed sinc whose band ends below what would alias. What lies beyond the input is
    silence.

    Args:
        rate: Range of the speed; 2 is twice as fast and an octave higher. The default is that of Choi et
            al. (https://arxiv.org/abs/2207.04471).
        p: Probability.
    """

    def __init__(self, rate: Range = (0.8, 1.2), p: float = 1.0) -> None:
        super().__init__(p, rate=_positive("Speed", rate))

    @property
    def reach(self) -> float:
        return max(1.0, self.ranges["rate"][1])

    def transform(self, x: Tensor, params: Params) -> Tensor:
        starts = torch.zeros(len(x), 1, dtype=torch.float64, device=x.device)
        return _read(x.float(), starts, params["rate"], x.shape[1]).flatten(1)


class TimeStretch(Transform):
    """Changes the tempo and keeps the pitch.

    The sound is cut every 40 ms and spliced where, within 10 ms, it best goes on as it was (WSOLA: Verhelst
    and Roelands, 1993, https://doi.org/10.1109/ICASSP.1993.319366). What lies beyond the input is silence.

    Args:
        rate: Range of the tempo; 2 is twice as fast.
        p: Probability.
        sample_rate: Of the audio, in Hz; that of a bound front end takes its place.
    """

    spares = True  # for as long as what has to be left out or repeated is less than 10 ms

    def __init__(self, rate: Range = (0.8, 1.25), p: float = 1.0, sample_rate: int = 16_000) -> None:
        super().__init__(p, rate=_positive("TimeStretch", rate))
        self.sample_rate = sample_rate

    @property
    def reach(self) -> float:
        return max(1.0, self.ranges["rate"][1])

    def transform(self, x: Tensor, params: Params) -> Tensor:
        x, rate = x.float(), params["rate"].double()
        starts = _splices(x, rate, torch.ones_like(rate), self.sample_rate)
        hop, fade = _hop_and_fade(self.sample_rate)
        return _joined(_runs(x, starts.long(), hop + fade), hop)[:, : x.shape[1]]


class PitchShift(Transform):
    """Changes the pitch and keeps the tempo: read faster or slower, and spliced as in :class:`TimeStretch`.

    The clip is filled to its end. Formants shift with the pitch; transients closer to a splice than the
    sound moves between two of them, up to 20 ms at seven semitones, can be heard twice.

    Args:
        semitones: Range of the shift. CLMR uses a fifth up or down (https://arxiv.org/abs/2103.09410).
        p: Probability; CLMR uses 0.6.
        sample_rate: Of the audio, in Hz; that of a bound front end takes its place.
    """

    def __init__(self, semitones: Range = (-7.0, 7.0), p: float = 0.6, sample_rate: int = 16_000) -> None:
        super().__init__(p, semitones=semitones)
        self.sample_rate = sample_rate

    def transform(self, x: Tensor, params: Params) -> Tensor:
        x, speed = x.float(), 2 ** (params["semitones"].double() / 12)
        starts = _splices(x, torch.ones_like(speed), speed, self.sample_rate)
        hop, fade = _hop_and_fade(self.sample_rate)
        return _joined(_read(x, starts, speed, hop + fade), hop)[:, : x.shape[1]]


def _positive(name: str, rate: Range) -> Range:
    if min(rate) <= 0:
        raise ValueError(f"{name}: rate={rate} is not a range it can draw from: rates are above 0")
    return rate


def _hop_and_fade(sample_rate: int) -> tuple[int, int]:
    return max(2, round(HOP * sample_rate)), max(1, round(FADE * sample_rate))


def _runs(x: Tensor, first: Tensor, length: int) -> Tensor:
    """Runs of audio from the places (batch, runs): (batch, runs, length); silence beyond the ends."""
    padded = F.pad(x, (length, length))
    first = (first + length).clamp(0, padded.shape[1] - length)
    rows = padded.shape[1] * torch.arange(len(x), device=x.device).unsqueeze(1)
    # Copies whole runs; an index per sample would take several times as long.
    runs = padded.flatten().unfold(0, length, 1).index_select(0, (rows + first).flatten())
    return runs.unflatten(0, first.shape)


def _read(x: Tensor, starts: Tensor, speed: Tensor, length: int) -> Tensor:
    """Reads audio at fractional places, at a speed of its own in each example.

    Samples are made in blocks. Within one, places differ by multiples of the speed, so that a matrix per
    example makes the block out of the samples around it; how the matrix depends on the fraction of a
    sample at which the block begins is a polynomial.

    Args:
        x: Audio (batch, samples).
        starts: Where to begin, in samples, float64 (batch, stretches).
        speed: Samples of input per sample of output, (batch,).
        length: Samples of output per stretch.

    Returns:
        (batch, stretches, length).
    """
    inside = BLOCK * torch.arange(-(-length // BLOCK), device=x.device)
    places = (starts.unsqueeze(2) + inside * speed.double().reshape(-1, 1, 1)).flatten(1)
    first = places.floor()
    fraction = (places - first).float().unsqueeze(2)
    matrix, before = _matrix(speed.float())
    runs = _runs(x, first.long() - before, matrix.shape[1])
    terms = torch.bmm(runs, matrix).unflatten(2, (FRACTIONS, BLOCK)).unbind(2)
    out = terms[-1]
    for term in reversed(terms[:-1]):
        out = torch.addcmul(term, out, fraction)
    return out.unflatten(1, (starts.shape[1], -1)).flatten(2)[:, :, :length]


def _matrix(speed: Tensor) -> tuple[Tensor, int]:
    """What makes a block of samples out of a run of input, by powers of the fraction where it begins.

    Returns:
        (batch, run, FRACTIONS · BLOCK), and how many samples before the block's first place the run begins.
    """
    fastest = float(speed.max())
    before = math.ceil(ZEROS * max(1.0, fastest))
    run = torch.arange(2 * before + math.ceil((BLOCK - 1) * fastest) + 1, device=speed.device) - before
    # The first is 0, where the polynomial is then exact: at speed 1 nothing changes.
    fractions = torch.linspace(0, 1, FRACTIONS, dtype=torch.float64, device=speed.device)
    places = fractions.float().unsqueeze(1) + speed.reshape(-1, 1, 1, 1) * torch.arange(
        BLOCK, device=speed.device
    )
    kernel = _kernel(run.reshape(-1, 1, 1) - places, speed.reshape(-1, 1, 1, 1))
    powers = torch.linalg.inv(torch.linalg.vander(fractions)).float()
    return (powers @ kernel).flatten(2), before


def _kernel(distance: Tensor, speed: Tensor) -> Tensor:
    """Windowed sinc; its band ends the lower, and it is the wider, the faster the audio is read."""
    width = speed.clamp_min(1)
    band = width**-1.25
    window = (math.pi * (distance / (ZEROS * width)).clamp(-1, 1)).cos() + 1
    return 0.5 * band * torch.sinc(band * distance) * window


@torch.no_grad()
def _splices(x: Tensor, rate: Tensor, speed: Tensor, sample_rate: int) -> Tensor:
    """Where in the input each stretch of the output begins.

    Stretches follow each other by ``hop`` samples of output. Each begins near its time, at the place where
    the input is most like what would have followed in the stretch before.

    Args:
        x: Audio (batch, samples); the output is as long.
        rate: Seconds of input that pass in a second of output, float64 (batch,).
        speed: At which stretches are read, float64 (batch,).
        sample_rate: In Hz.

    Returns:
        Places in samples, float64 (batch, stretches); they have no fraction if the speed has none.
    """
    samples, device = x.shape[1], x.device
    hop, fade = _hop_and_fade(sample_rate)
    # Compared at about 4 kHz: what lies above 2 kHz is hardly ever aligned, and it takes a tenth of the time.
    coarse = max(1, round(sample_rate / 4_000))
    match, search = (max(2, round(seconds * sample_rate / coarse)) for seconds in (MATCH, SEARCH))
    means = torch.full((coarse,), 1 / coarse, device=device)
    slow = F.pad(x, (0, -samples % coarse)).unflatten(1, (-1, coarse)) @ means

    begins = hop * torch.arange(-(-samples // hop), dtype=torch.float64, device=device)
    times = rate.unsqueeze(1) * begins
    # The end of the clip is read to, not beyond.
    left = (samples - begins).clamp_max(hop + fade) * speed.unsqueeze(1)
    last = (rate * samples).clamp_min(samples).unsqueeze(1) - left
    first = (times / coarse - search / 2).minimum(last / coarse - search).clamp_min(0).long()
    candidates = _runs(slow, first, match + search).unfold(2, match, 1)
    # Of places that are equal, as in silence or a lasting tone, the one closest to its time.
    early = (first - times / coarse).float().unsqueeze(2) + torch.arange(search + 1, device=device)
    bias = early.abs() * (0.01 / search * (match * slow.square().mean(1)).sqrt()).reshape(-1, 1, 1)

    templates, rows = F.pad(slow, (0, match)).unfold(1, match, 1), torch.arange(len(x), device=device)
    place, places = times[:, 0], [times[:, 0]]
    origin = first * coarse
    for stretch in range(1, len(begins)):
        place = place + hop * speed
        index = (place / coarse).long()
        template = templates[rows, index.clamp_max(slow.shape[1])].unsqueeze(1)
        cost = torch.linalg.vector_norm(candidates[:, stretch] - template, dim=2) + bias[:, stretch]
        place = place + (origin[:, stretch] + (cost.argmin(1) - index) * coarse)
        places.append(place)
    return torch.stack(places, 1)


def _joined(stretches: Tensor, hop: int) -> Tensor:
    """Cross-fades stretches (batch, stretches, hop + fade) that begin every ``hop`` samples."""
    fade = stretches.shape[2] - hop
    ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(fade, device=stretches.device) + 0.5) / fade)
    faded = torch.lerp(stretches[:, :-1, hop:], stretches[:, 1:, :fade], ramp)
    heads = torch.cat([stretches[:, :1, :fade], faded], 1)
    return torch.cat([heads, stretches[:, :, fade:hop]], 2).flatten(1)
