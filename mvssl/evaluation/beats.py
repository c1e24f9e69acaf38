"""Beat tracking as a downstream task: a probe on every frame, peak picking, F-measure of each test track."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from mvssl.data import Corpus, CorpusError, open_corpus
from mvssl.data.beats import Beats, annotated_beats
from mvssl.evaluation.downstream import BEATS, named_task
from mvssl.evaluation.estimates import Estimate, resamples_of
from mvssl.evaluation.frames import FrameProbe, Frames, extract_frames
from mvssl.evaluation.inputs import needed
from mvssl.evaluation.layers import Layered, PooledLayers
from mvssl.evaluation.metrics import beat_f1

RATES = (1e-4, 5e-4, 1e-3, 5e-3)
WINDOWS = {"f1_20ms": 0.02, "f1_70ms": 0.07}
"""Metrics and their windows in seconds; the first leads."""

_LEAD = next(iter(WINDOWS))
_THRESHOLDS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
_GAP = 0.07  # seconds on both sides in which a peak is the highest


@dataclass(frozen=True, eq=False)
class BeatEvaluation:
    """How well the beats of the test tracks are found; printed, it is a table.

    Attributes:
        corpus: The tracks with beats.
        values: (test tracks,) F-measures by metric: within 20 ms, and within 70 ms.
        chance: What evenly spaced beats at the median tempo of the training split get, by metric.
        layer: Hidden state that was best on validation.
        valid: F-measure within 20 ms on validation, of each hidden state that was tried.
        rate: Learning rate that was best on validation.
        threshold: What peaks have to exceed, as was best on validation.
        frame_rate: Frames per second of that layer.
        notes: What a reader of the numbers has to know.
    """

    corpus: Corpus
    values: dict[str, NDArray[np.float64]]
    chance: dict[str, float]
    layer: int
    valid: dict[int, float]
    rate: float
    threshold: float
    frame_rate: float
    notes: tuple[str, ...] = ()

    def mean(self, metric: str = _LEAD) -> float:
        """Over the test tracks."""
        return float(self.values[metric].mean())

    def estimate(self, metric: str = _LEAD) -> Estimate:
        """The mean with its 95 % interval over resamples of the test tracks."""
        weights = resamples_of(self.corpus, "test").astype(np.float64)
        resampled = weights @ self.values[metric] / weights.sum(1)
        return Estimate.of(self.mean(metric), resampled)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``beats.csv``, a row per test track, and this table as ``evaluation.txt``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tracks = self.corpus.paths[self.corpus.indices("test")].tolist()
        with (folder / "beats.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["track", *self.values])
            writer.writerows(zip(tracks, *(values.tolist() for values in self.values.values()), strict=True))
        (folder / "evaluation.txt").write_text(f"{self}\n", encoding="utf-8")
        return folder

    def __str__(self) -> str:
        lines = [f"{self.corpus.name}: F-measure of beats [95 % over test tracks]"]
        lines += [
            f"within {1000 * WINDOWS[name]:.0f} ms  {self.estimate(name)}, evenly spaced {chance:.3f}"
            for name, chance in self.chance.items()
        ]
        lines.append(
            f"hidden state {self.layer} with {self.frame_rate:.1f} frames/s, learning rate {self.rate:g} and "
            f"threshold {self.threshold:g} chosen on validation"
        )
        return "\n".join([*lines, *self.notes])


def evaluate_beats(
    encoder: Layered,
    task: str | os.PathLike[str] | Corpus,
    beats: Sequence[Beats | None] | None = None,
    *,
    layer: int | Literal["best"] = -1,
    rates: Sequence[float] = RATES,
    hidden: int = 512,
    max_steps: int = 3_000,
    seconds: float | None = None,
    sample_rate: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> BeatEvaluation:
    """Judges how well a probe finds beats in the frames of a frozen encoder.

    The probe sees one frame at a time: nothing but the encoder knows of the time around it. A frame's target
    is 1 where a beat falls into it, and a half beside that. Beats are the peaks of what it says, each the
    highest within 70 ms to both sides, as in Beat This (arXiv:2407.21658); no tempo is followed. Threshold,
    learning rate and layer are chosen on validation. The remainder of a track that fills no crop is left out,
    and its beats with it.

    Args:
        encoder: An encoder of ours, or anything with ``hidden_states``; fewer than 25 frames per second are
            too few to find beats within 20 ms.
        task: ``"gtzan_beat"``, ``"gtzan_beat@FOLDER"``, ``"synthetic_beat"``; or a corpus.
        beats: Times in seconds for each track of a corpus that is given, None where unknown. By default
            what stands beside the audio, see :func:`mvssl.data.beats.annotated_beats`.
        layer: Number of a hidden state; by default the last. ``"best"`` tries each, one extraction after
            the other, for which audio is read again, as the frames of all would fill the memory.
        rates: Learning rates to choose from.
        hidden: Width of the hidden layer; 0 for a linear probe.
        max_steps: Steps after which training ends at the latest.
        seconds: Length of the crops; by default what the encoder was made for.
        sample_rate: In Hz; by default the encoder's.
        seed: Of the probe.
        progress: Show progress bars.

    Raises:
        CorpusError: If no track of a split has beats, or a test track is a training track, too.
        ValueError: If the encoder has no hidden states or no such layer, or an argument is missing.
    """
    seconds = needed("seconds", seconds, encoder)
    sample_rate = int(needed("sample_rate", sample_rate, encoder))
    corpus, known = _opened(task, beats, seconds)
    pooled = PooledLayers(encoder, round(seconds * sample_rate))
    states = len(pooled.dims)
    if layer != "best" and layer not in range(-states, states):
        raise ValueError(f"layer={layer}: use 'best' or a number from 0 to {states - 1}")
    best: _Found | None = None
    valid: dict[int, float] = {}
    for number in range(states) if layer == "best" else [layer % states]:
        frames = extract_frames(
            encoder, corpus, number, seconds=seconds, sample_rate=sample_rate, progress=progress
        )
        heard = _heard(known, frames)
        train, checked, _ = (corpus.indices(split) for split in ("train", "valid", "test"))
        probe = FrameProbe(
            frames, _targets(heard, frames), train, checked,
            rates=rates, hidden=hidden, max_steps=max_steps, seed=seed,
        )  # fmt: skip
        found = _chosen(probe, frames, corpus, heard)
        valid[number] = found.valid
        if best is None or found.valid > best.valid:
            best, chosen, ends = found, number, heard
    assert best is not None
    return BeatEvaluation(
        corpus, best.values, _evenly_spaced(corpus, ends), chosen, valid, best.rate, best.threshold,
        best.frame_rate, _notes(best.frame_rate, frames),
    )  # fmt: skip


def peaks(activation: NDArray[np.float64], rate: float, threshold: float) -> Beats:
    """Times of the peaks of an activation (frames,), the highest within 70 ms and at least at a threshold.

    Peaks are placed between frames by a parabola through three of them.

    Args:
        activation: One value per frame.
        rate: Frames per second.
        threshold: What a peak has to reach.
    """
    width = 2 * max(1, round(_GAP * rate)) + 1
    highest = activation == maximum_filter1d(activation, width, mode="constant")
    places = np.flatnonzero(highest & (activation >= threshold))
    places = places[np.diff(places, prepend=-width) > width // 2]  # of a plateau the first
    padded = np.pad(activation, 1, mode="edge")
    before, at, after = padded[places], padded[places + 1], padded[places + 2]
    bend = before - 2 * at + after
    shift = np.divide(0.5 * (before - after), bend, out=np.zeros_like(at), where=bend < 0)
    return np.asarray((places + 0.5 + shift) / rate, np.float64)


@dataclass(frozen=True, eq=False)
class _Found:
    """What the best network on a layer makes of the test tracks."""

    valid: float
    values: dict[str, NDArray[np.float64]]
    rate: float
    threshold: float
    frame_rate: float


def _chosen(probe: FrameProbe, frames: Frames, corpus: Corpus, beats: Sequence[Beats]) -> _Found:
    checked, test = corpus.indices("valid"), corpus.indices("test")
    tried = []
    for net in probe.usable:
        activations = probe.activations(net, checked)
        for threshold in _THRESHOLDS:
            scores = [
                beat_f1(peaks(activation, frames.rate, threshold), beats[track])
                for track, activation in zip(checked, activations, strict=True)
            ]
            tried.append((float(np.mean(scores)), -net, threshold))
    valid, net, threshold = max(tried)
    found = [peaks(each, frames.rate, threshold) for each in probe.activations(-net, test)]
    values = {
        name: np.array([beat_f1(ours, beats[track], window) for track, ours in zip(test, found, strict=True)])
        for name, window in WINDOWS.items()
    }
    return _Found(valid, values, probe.rates[-net], threshold, frames.rate)


def _opened(
    task: str | os.PathLike[str] | Corpus, beats: Sequence[Beats | None] | None, seconds: float
) -> tuple[Corpus, list[Beats]]:
    """The tracks with beats, and these."""
    named = named_task(task)
    if named is not None and named[0].kind != BEATS:
        raise ValueError(f"{task} is no task of beats: use mvssl.evaluate")
    if beats is not None and not isinstance(task, Corpus):
        raise ValueError("beats are those of the tracks of a corpus: give mvssl.data.open_corpus(...)")
    corpus = open_corpus(task if named is None else named[0].source(named[1]), min_seconds=seconds)
    if beats is not None and len(beats) != len(corpus):
        raise ValueError(f"beats of {len(beats)} tracks for the corpus's {len(corpus)}")
    read = annotated_beats if named is None else named[0].beats
    known = read(corpus) if beats is None else beats
    rows = np.array([row for row, times in enumerate(known) if times is not None and len(times)], np.int64)
    corpus = corpus.take(rows)
    for split in ("train", "valid", "test"):
        if not (corpus.splits == split).any():
            raise CorpusError(
                f"{corpus.name}: no track of the {split} split has beats; for GTZAN put the folder beats of "
                f"https://github.com/TempoBeatDownbeat/gtzan_tempo_beat into {corpus.root}, for others "
                "song.beats beside song.wav"
            )
    corpus.require_apart()
    return corpus, [np.asarray(known[row], np.float64) for row in rows]


def _heard(beats: Sequence[Beats], frames: Frames) -> list[Beats]:
    """Without those behind the last frame."""
    ends = np.diff(frames.starts) / frames.rate
    return [times[times < end] for times, end in zip(beats, ends, strict=True)]


def _targets(beats: Sequence[Beats], frames: Frames) -> Tensor:
    """(frames,): 1 at beats, a half beside them."""
    targets = np.zeros(len(frames.values), np.float32)
    for track, times in enumerate(beats):
        first, end = frames.starts[track], frames.starts[track + 1]
        own = targets[first:end]
        at = np.minimum((times * frames.rate).astype(int), end - first - 1)
        own[np.maximum(at - 1, 0)] = own[np.minimum(at + 1, end - first - 1)] = 0.5
        own[at] = 1
    return torch.from_numpy(targets)


def _evenly_spaced(corpus: Corpus, beats: Sequence[Beats]) -> dict[str, float]:
    """What beats at the median distance of the training split get, from the beginning of a track on."""
    distance = np.median(np.concatenate([np.diff(beats[track]) for track in corpus.indices("train")]))
    test = [beats[track] for track in corpus.indices("test")]
    even = [np.arange(0, times.max(initial=0) + distance, distance) for times in test]
    return {
        name: float(np.mean([beat_f1(ours, times, window) for ours, times in zip(even, test, strict=True)]))
        for name, window in WINDOWS.items()
    }


def _notes(rate: float, frames: Frames) -> tuple[str, ...]:
    coarse = f"its frames are {1000 / rate:.0f} ms apart: beats cannot be found within 20 ms by them alone"
    return (*((coarse,) if rate < 25 else ()), *(f"{p.path} {p.reason}" for p in frames.problems))
