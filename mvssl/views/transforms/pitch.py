"""Pitch and tempo: audio is read faster or slower, and spliced so as to keep its length or its pitch."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mvssl.views.transforms.base import AT_ONCE, Params, Range, Transform

# Splicing, in seconds: how often, how long the cross-fade, how much of the sound is compared, and how far
# apart the places may be that it is compared at. The last lets a splice be put off once at seven semitones:
# with 20 ms, every third click is missed there. It is also the longest period that is spliced without a seam.
HOP, FADE, MATCH, SEARCH = 0.032, 0.012, 0.02, 0.028
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


class Spliced(Transform):
    """Base of what is spliced: of all examples at once, because one splice comes after the other."""

    def _at_once(self, x: Tensor) -> int:
        return len(x)


class TimeStretch(Spliced):
    """Changes the tempo and keeps the pitch.

    The sound is cut every 32 ms and spliced where, within 14 ms, it best goes on as it was (WSOLA: Verhelst
    and Roelands, 1993, https://doi.org/10.1109/ICASSP.1993.319366). What lies beyond the input is silence.

    Args:
        rate: Range of the tempo; 2 is twice as fast.
        p: Probability.
        sample_rate: Of the audio, in Hz; that of a bound front end takes its place.
    """

    spares = True  # for as long as what has to be left out or repeated is less than 14 ms

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
        (stretches,) = _runs(x, starts.round().long(), hop + fade)
        return _joined(stretches, hop)[:, : x.shape[1]]


class PitchShift(Spliced):
    """Changes the pitch and keeps the tempo: read faster or slower, and spliced as in :class:`TimeStretch`.

    The clip is filled to its end, and formants shift with the pitch. Splices repeat sound (up) or leave it
    out (down), and shift it in time by at most 20 ms.

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


def _runs(x: Tensor, first: Tensor, length: int, at_once: int | None = None) -> Iterator[Tensor]:
    """Runs of audio from the places (batch, runs): (batch, runs, length); silence beyond the ends.

    Args:
        x: Audio (batch, samples).
        first: Where runs begin, in whole samples.
        length: Of a run, in samples.
        at_once: How many runs of an example are given at once; all unless told.
    """
    padded = F.pad(x, (length, length))
    first = (first + length).clamp(0, padded.shape[1] - length)
    first = first + padded.shape[1] * torch.arange(len(x), device=x.device).unsqueeze(1)
    windows = padded.flatten().unfold(0, length, 1)
    for some in first.split(at_once or first.shape[1], 1):
        # Copies whole runs; an index per sample would take several times as long.
        yield windows.index_select(0, some.flatten()).unflatten(0, some.shape)


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
    fraction = (places - first).float().unsqueeze(1)
    matrix, before = _matrix(speed.float())
    at_once = max(1, AT_ONCE // (len(x) * FRACTIONS * BLOCK)) if x.device.type == "cpu" else first.shape[1]
    runs = _runs(x, first.long() - before, matrix.shape[2], at_once)
    blocks = [_blocks(matrix, *some) for some in zip(runs, fraction.split(at_once, 2), strict=True)]
    return torch.cat(blocks, 1).reshape(len(x), starts.shape[1], -1)[:, :, :length]


def _blocks(matrix: Tensor, runs: Tensor, fraction: Tensor) -> Tensor:
    """Blocks (batch, blocks, BLOCK) out of runs (batch, blocks, run) and the fractions where they begin."""
    # Side by side, which the polynomial runs along fastest.
    terms = torch.bmm(matrix, runs.mT).unflatten(1, (FRACTIONS, BLOCK)).unbind(1)
    out = terms[-1]
    for term in reversed(terms[:-1]):
        out = torch.addcmul(term, out, fraction)
    return out.mT


def _matrix(speed: Tensor) -> tuple[Tensor, int]:
    """What makes a block of samples out of a run of input, by powers of the fraction where it begins.

    Returns:
        (batch, FRACTIONS · BLOCK, run), and how many samples before the block's first place the run begins.
    """
    fastest, device = float(speed.max()), speed.device
    before = math.ceil(ZEROS * max(1.0, fastest))
    length = 2 * before + math.ceil((BLOCK - 1) * fastest) + 1
    run = torch.arange(-(-length // 8) * 8, device=device) - before  # whole vectors are copied faster
    # The first is 0, where the polynomial is then exact: at speed 1 nothing changes.
    fractions = torch.linspace(0, 1, FRACTIONS, dtype=torch.float64, device=device)
    speed = speed.reshape(-1, 1, 1, 1)
    places = fractions.float().reshape(-1, 1, 1) + speed * torch.arange(BLOCK, device=device).unsqueeze(1)
    kernel = _kernel(run - places, speed).flatten(2)
    powers = torch.linalg.inv(torch.linalg.vander(fractions)).float()
    return (powers @ kernel).unflatten(2, (BLOCK, -1)).flatten(1, 2), before


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
        Places in samples, float64 (batch, stretches); whole ones, but for rounding, if speeds are.
    """
    samples, device = x.shape[1], x.device
    hop, fade = _hop_and_fade(sample_rate)
    # Compared at about 4 kHz: what lies above 2 kHz is hardly ever aligned, and it takes a tenth of the time.
    coarse = max(1, round(sample_rate / 4_000))
    match, search = (max(2, round(seconds * sample_rate / coarse)) for seconds in (MATCH, SEARCH))
    means = torch.full((coarse,), 1 / coarse, device=device)
    slow = F.pad(x, (0, -samples % coarse)).unflatten(1, (-1, coarse)) @ means

    # From here on, places are in samples of that.
    begins = hop / coarse * torch.arange(-(-samples // hop), dtype=torch.float64, device=device)
    end, advance, rate = samples / coarse, speed * (hop / coarse), rate.unsqueeze(1)
    times = rate * begins
    # The end of the clip is read to, and beyond it only by what begins beyond it.
    left = (end / rate - begins).clamp_max((hop + fade) / coarse) * speed.unsqueeze(1)
    last = torch.where(times < end, end - left, times)
    first = (times - search / 2).minimum(last - search).clamp_min(0).long()
    (regions,) = _runs(slow, first, match + search)
    candidates = regions.unfold(2, match, 1)
    # Of places that are equal, as in silence or a lasting tone, the one closest to its time.
    early = (first - times).float().unsqueeze(2) + torch.arange(search + 1, device=device)
    bias = early.abs() * (0.01 / search * (match * slow.square().mean(1)).sqrt()).reshape(-1, 1, 1)

    templates, rows = F.pad(slow, (0, match)).unfold(1, match, 1), torch.arange(len(x), device=device)
    difference = candidates.new_empty(len(x), search + 1, match)
    place, places = times[:, 0], [times[:, 0]]
    stretches = zip(*(each[:, 1:].unbind(1) for each in (first, candidates, bias)), strict=True)
    for origin, there, penalty in stretches:
        place = place + advance
        index = place.long()
        template = templates[rows, index.clamp_max(slow.shape[1])].unsqueeze(1)
        cost = torch.linalg.vector_norm(torch.sub(there, template, out=difference), dim=2) + penalty
        place = place + (origin + cost.argmin(1) - index)
        places.append(place)
    return coarse * torch.stack(places, 1)


def _joined(stretches: Tensor, hop: int) -> Tensor:
    """Cross-fades stretches (batch, stretches, hop + fade) that begin every ``hop`` samples."""
    fade = stretches.shape[2] - hop
    ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(fade, device=stretches.device) + 0.5) / fade)
    faded = torch.lerp(stretches[:, :-1, hop:], stretches[:, 1:, :fade], ramp)
    heads = torch.cat([stretches[:, :1, :fade], faded], 1)
    return torch.cat([heads, stretches[:, :, fade:hop]], 2).flatten(1)
