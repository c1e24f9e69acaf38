"""What a linear probe trained on clean tracks can still do when the test tracks are damaged."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvssl.data import Corpus
from mvssl.evaluation.embeddings import Variant, extract_embeddings, extract_variants
from mvssl.evaluation.estimates import Estimate, Judge, everything, probe_rows, row
from mvssl.evaluation.inputs import open_task
from mvssl.evaluation.tasks import task_of
from mvssl.views import LowPass, Noise, PitchShift

NOISE_DB = (30.0, 20.0, 10.0, 0.0)
SEMITONES = (-6.0, -3.0, -1.0, 1.0, 3.0, 6.0)
CUT_OFFS = (8000.0, 4000.0, 2000.0, 1000.0, 500.0)
_DELAY = 1105  # samples by which an MP3 without LAME's tag is late: 576 of the encoder, 529 of any decoder


@dataclass(frozen=True)
class Damage:
    """Something that is done to test tracks, at several levels.

    Attributes:
        name: As it stands in tables: ``"noise"``.
        unit: Of the levels: ``"dB SNR"``.
        levels: At which it is done.
        make: ``(level, sample rate in Hz)`` → what damages the crops (crops, samples) of a track, with a key
            for each crop that random numbers are to be drawn from.

    Raises:
        ValueError: If there is no level.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    make: Callable[[float, int], Variant]

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError(f"damage {self.name!r} has no level")


class Mp3:
    """Codes the crops of a track in one piece as MP3 of a constant bit rate, and decodes them.

    LAME and mpg123, both inside libsndfile. The delay of coding is taken away, so that nothing moves in time.

    Args:
        kilobits: Bit rate in kbit/s; the nearest one that the format has is taken.
        sample_rate: In Hz.

    Raises:
        ValueError: If MP3 has no such sample rate, or not such a bit rate at it.
    """

    def __init__(self, kilobits: float, sample_rate: int) -> None:
        low, high = self.bit_rates(sample_rate)
        if not low <= kilobits <= high:
            raise ValueError(f"an MP3 at {sample_rate} Hz has {low} to {high} kbit/s, not {kilobits:g}")
        self.sample_rate = sample_rate
        # libsndfile maps 0 to the highest and 1 to the lowest rate, and takes anything but 1 itself.
        self.compression = min((high - kilobits) / (high - low), 0.999)

    @staticmethod
    def bit_rates(sample_rate: int) -> tuple[int, int]:
        """Lowest and highest bit rate at a sample rate, in kbit/s, of MPEG 1, 2 and 2.5.

        Raises:
            ValueError: If MP3 has no such sample rate.
        """
        ranges = {
            (32, 320): (32_000, 44_100, 48_000),
            (8, 160): (16_000, 22_050, 24_000),
            (8, 64): (8_000, 11_025, 12_000),
        }
        for found, rates in ranges.items():
            if sample_rate in rates:
                return found
        raise ValueError(f"MP3 has no sample rate of {sample_rate} Hz: leave that damage out")

    def code(self, audio: NDArray[np.float32]) -> bytes:
        """The MP3 of audio (samples,)."""
        file = io.BytesIO()
        soundfile.write(
            file, audio, self.sample_rate, format="MP3", subtype="MPEG_LAYER_III",
            compression_level=self.compression, bitrate_mode="CONSTANT",
        )  # fmt: skip
        return file.getvalue()

    def __call__(self, crops: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        audio = crops.cpu().numpy().ravel()
        decoded, _ = soundfile.read(io.BytesIO(self.code(audio)), dtype="float32")
        # At low rates LAME's tag, by which decoders know the delay, does not fit into a frame.
        first = _DELAY if len(decoded) > len(audio) else 0
        return torch.from_numpy(decoded[first : first + len(audio)].reshape(crops.shape))


def standard_damages(sample_rate: int) -> tuple[Damage, ...]:
    """White noise, pitch shift, low-pass and MP3, at the levels that exist at a sample rate.

    Args:
        sample_rate: Of the audio, in Hz.
    """
    damages = [
        Damage("noise", "dB SNR", NOISE_DB, _noise),
        Damage("pitch", "semitones", SEMITONES, _pitch),
        Damage("low_pass", "Hz", tuple(each for each in CUT_OFFS if each < sample_rate / 2), _low_pass),
    ]
    try:
        lowest = Mp3.bit_rates(sample_rate)[0]
    except ValueError:
        return tuple(damages)
    return (*damages, Damage("mp3", "kbit/s", (4.0 * lowest, 2.0 * lowest, float(lowest)), Mp3))


@dataclass(frozen=True, eq=False)
class Robustness:
    """What a linear probe, trained on clean tracks with all labels, says of damaged test tracks.

    Printed, it is a table.

    Attributes:
        corpus: What was judged on.
        damages: What was done, at which levels.
        clean: The leading metric of the task on the clean test tracks.
        values: The same by name and level of each damage.
        changes: By name and level, how much higher it is than the clean one, under the same resamples of the
            test tracks.
        metric: The metric's name.
        chance: What predictions that know nothing get.
    """

    corpus: Corpus
    damages: tuple[Damage, ...]
    clean: Estimate
    values: dict[str, dict[float, Estimate]]
    changes: dict[str, dict[float, Estimate]]
    metric: str
    chance: float

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every value: the clean one, then of each level the metric and its change."""
        yield row("clean", self.metric, self.clean, chance=self.chance)
        for damage in self.damages:
            for level in damage.levels:
                of_level: dict[str, Any] = {"level": level, "unit": damage.unit}
                value, change = (found[damage.name][level] for found in (self.values, self.changes))
                yield row(damage.name, self.metric, value, chance=self.chance, **of_level)
                yield row(damage.name, f"{self.metric}_change", change, **of_level)

    def curves(self) -> Iterator[dict[str, Any]]:
        """The metric by damage and level, as a report draws it: clean first, or at 0 between two signs."""
        for damage in self.damages:
            found: dict[Any, Estimate] = dict(self.values[damage.name])
            both = min(damage.levels) < 0 < max(damage.levels)
            clean = {0.0 if both else "clean": self.clean}
            found = dict(sorted({**found, **clean}.items())) if both else {**clean, **found}
            for level, value in found.items():
                yield {
                    "damage": f"{damage.name} ({damage.unit})", "level": level,
                    "value": value.value, "low": value.low, "high": value.high,
                }  # fmt: skip

    def __str__(self) -> str:
        title = task_of(self.corpus).lead.title
        lines = [
            f"{self.corpus.name}: {title} of a linear probe trained on clean tracks [95 % over test tracks], "
            f"and the change; chance {self.chance:.3f}",
            f"{'clean':28}{self.clean}",
        ]
        for damage in self.damages:
            for level in damage.levels:
                what = f"{damage.name:9} {level:6g} {damage.unit}"
                value, change = (found[damage.name][level] for found in (self.values, self.changes))
                lines.append(f"{what:28}{value}   {change}")
        return "\n".join(lines)


def robustness(
    encoder: Callable[[Tensor], Tensor],
    task: str | os.PathLike[str] | Corpus,
    *,
    damages: Sequence[Damage] | None = None,
    seconds: float | None = None,
    sample_rate: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: bool = False,
) -> Robustness:
    """Trains a linear probe on clean tracks and tests it on damaged ones.

    The probe has all labels, and its regularisation is chosen on clean validation tracks. Noise is set
    against each crop; MP3s are of the whole track.

    Args:
        encoder: An encoder of ours, or any module or function from audio (batch, samples) to (batch, dim),
            then with ``seconds`` and ``sample_rate``.
        task: A corpus with labels: its name, folder or manifest.
        damages: What to do to test tracks; :func:`standard_damages` by default. Coding MP3s takes most of
            the time then: about a second for 100 s of music and bit rate.
        seconds: Length of the crops that are embedded; by default what the encoder was made for.
        sample_rate: In Hz; by default the encoder's.
        cache: Folder that keeps the clean embeddings, see :func:`extract_embeddings`.
        workers: Threads that read and damage ahead.
        progress: Show progress bars.

    Raises:
        CorpusError: If the corpus has no labels or lacks a split, or tracks are shorter than a crop.
        ValueError: If an argument is missing, two damages have one name, or a damage does not exist at the
            sample rate.
    """
    corpus, seconds, sample_rate = open_task(encoder, task, seconds, sample_rate)
    damages = standard_damages(sample_rate) if damages is None else tuple(damages)
    names = [damage.name for damage in damages]
    if not damages or len(set(names)) < len(names):
        raise ValueError(f"damages={names}: give at least one, each with a name of its own")
    variants = [damage.make(level, sample_rate) for damage in damages for level in damage.levels]
    crops: dict[str, Any] = {
        "seconds": seconds, "sample_rate": sample_rate, "workers": workers, "progress": progress
    }  # fmt: skip
    clean = extract_embeddings(encoder, corpus, cache=cache, **crops).pooled()
    damaged = extract_variants(encoder, corpus.take(corpus.indices("test")), variants, **crops)
    scores = probe_rows(clean, corpus, everything(corpus), damaged.swapaxes(0, 1)).scores[0]
    return _judged(corpus, damages, scores.reshape(1 + len(variants), -1, scores.shape[1]))


def _judged(corpus: Corpus, damages: tuple[Damage, ...], scores: NDArray[np.floating]) -> Robustness:
    """From scores (1 + levels of all damages, test tracks, columns), the clean ones first."""
    judge = Judge(corpus)
    found, resampled = judge.values(scores), judge.resampled(scores)
    values: dict[str, dict[float, Estimate]] = {damage.name: {} for damage in damages}
    changes: dict[str, dict[float, Estimate]] = {damage.name: {} for damage in damages}
    levels = ((damage.name, level) for damage in damages for level in damage.levels)
    for cell, (name, level) in enumerate(levels, 1):
        values[name][level] = Estimate.of(found[cell], resampled[cell])
        changes[name][level] = Estimate.of(found[cell] - found[0], resampled[cell] - resampled[0])
    clean = Estimate.of(found[0], resampled[0])
    return Robustness(corpus, damages, clean, values, changes, judge.metric.name, judge.chance)


def _noise(decibels: float, sample_rate: int) -> Variant:
    return Noise((decibels, decibels), (0.0, 0.0), p=1.0, sample_rate=sample_rate)


def _pitch(semitones: float, sample_rate: int) -> Variant:
    return PitchShift((semitones, semitones), p=1.0, sample_rate=sample_rate)


def _low_pass(hertz: float, sample_rate: int) -> Variant:
    return LowPass((hertz, hertz), p=1.0, sample_rate=sample_rate)
