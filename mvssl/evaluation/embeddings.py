"""Embeddings of the crops of every track, each track read once, and kept on disk if wanted."""

import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from mvssl import __version__
from mvssl.atomic import replacing
from mvssl.data import Corpus, Problem
from mvssl.data.threads import ahead
from mvssl.device import default_workers
from mvssl.seeding import hash_keys

PART = 512  # tracks that are embedded, and kept, at a time

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Variant = Callable[[Tensor, NDArray[np.uint64]], Tensor]
"""Makes others of the crops of a track (crops, samples), which follow each other without a gap.

What it draws, it draws from the keys (crops,), one for each crop. It may be called in another thread."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of the crops of a corpus, track by track.

    Attributes:
        crops: (crops, dim): float16 if extracted here.
        tracks: (crops,) the row of the corpus that each crop is of, ascending.
        problems: Tracks that turned out to be shorter than one crop; silence was added to them.
    """

    crops: NDArray[np.floating]
    tracks: NDArray[np.int64]
    problems: tuple[Problem, ...] = ()

    def pooled(self, how: Literal["mean", "max"] = "mean") -> NDArray[np.float32]:
        """One embedding per track, (tracks, dim): the mean or the maximum over its crops."""
        return pool(self.crops.astype(np.float32), self.tracks, how)

    def take(self, rows: NDArray[np.int64]) -> "Embeddings":
        """Those of some tracks, ascending."""
        kept = np.isin(self.tracks, rows)
        return Embeddings(self.crops[kept], np.searchsorted(rows, self.tracks[kept]), self.problems)


def crops_of(
    embeddings: Embeddings, corpus: Corpus, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The crops of some tracks, (crops, dim), and the place in ``rows`` of the track that each is of.

    Args:
        embeddings: Of all tracks of a corpus.
        corpus: The corpus.
        rows: Rows of the corpus, ascending.

    Raises:
        ValueError: If the embeddings are not those of the corpus.
    """
    if len(np.unique(embeddings.tracks)) != len(corpus):
        raise ValueError(
            f"embeddings of {len(np.unique(embeddings.tracks))} tracks are not those of the corpus's "
            f"{len(corpus)}"
        )
    chosen = np.isin(embeddings.tracks, rows)
    return embeddings.crops[chosen].astype(np.float32), np.searchsorted(rows, embeddings.tracks[chosen])


def pool(
    values: NDArray[np.floating],
    tracks: NDArray[np.int64],
    how: Literal["mean", "max"] = "mean",
    dtype: type[np.floating] = np.float32,
) -> NDArray[Any]:
    """Mean or maximum over the crops of each track, of embeddings or of what a probe says of each crop.

    Args:
        values: (crops, ...).
        tracks: (crops,) from 0 on, ascending, none left out.
        how: ``"mean"`` or ``"max"``.
        dtype: Of the result.

    Returns:
        (tracks, ...).

    Raises:
        ValueError: If ``how`` is something else, or a track is left out.
    """
    first = np.flatnonzero(np.diff(tracks, prepend=-1))
    if not np.array_equal(tracks[first], np.arange(len(first))):
        raise ValueError("the crops of every track must follow each other, in the order of the tracks")
    if how == "max":
        return np.maximum.reduceat(values, first).astype(dtype)
    if how != "mean":
        raise ValueError(f"how={how!r}: use 'mean' or 'max'")
    counts = np.diff(first, append=len(tracks)).reshape(-1, *(1,) * (values.ndim - 1))
    return (np.add.reduceat(values, first, dtype=np.float64) / counts).astype(dtype)


def extract_embeddings(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    *,
    seconds: float,
    sample_rate: int,
    max_crops: int | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Embeddings:
    """Embeds every track of a corpus.

    A track is cut into crops from its start on; a remainder shorter than a crop is dropped. Batches are
    filled across tracks. Neither batch size nor workers change the result beyond rounding.

    Args:
        encode: Turns (batch, samples) into (batch, dim). A module is run on its own device and in
            evaluation mode, and is given back in the mode that it was in; any other callable has to take
            care of that itself, and gets audio on the CPU.
        corpus: The tracks.
        seconds: Length of a crop.
        sample_rate: Sample rate of the crops in Hz.
        max_crops: How many crops of a track there are at most, evenly spread over it.
        batch_size: Crops that are encoded at once.
        workers: Threads that read ahead. Reading leaves the interpreter free for most of its time, so that
            threads do as well as processes here and audio need not be copied between them. By default none
            without a GPU: each of torch's kernels would wait for the core that reads.
        cache: Folder that keeps the embeddings of a module, under a name made of its weights, the corpus
            and the crops. What is there is not computed again: after a kill it goes on where it stopped.
        progress: Show a progress bar.

    Raises:
        AudioFileError: If a track cannot be read.
        FloatingPointError: If ``encode`` returns what 16 bits do not hold.
        ValueError: If ``corpus`` is empty, ``encode`` does not return (batch, dim), or it is no module and
            there is a cache.
    """
    if not len(corpus):
        raise ValueError("the corpus has no track to embed")
    folder = None
    if cache is not None:
        folder = Path(cache) / fingerprint(encode, corpus, seconds, sample_rate, max_crops)
    parts: list[Embeddings] = []
    bar = tqdm(total=len(corpus), desc="embedding", unit="track", disable=not progress)
    with bar, evaluation_mode(encode) as device, torch.inference_mode():
        threads = default_workers(device) if workers is None else workers
        for start in range(0, len(corpus), PART):
            rows = np.arange(start, min(start + PART, len(corpus)))
            file = None if folder is None else folder / f"{start:08}.npz"
            part = None if file is None else _load(file)
            if part is None:
                size = round(seconds * sample_rate)
                tracks = track_crops(corpus.take(rows), size, sample_rate, max_crops, threads)
                part = _embed(encode, numbered(_counted(tracks, bar)), batch_size, device)
                if file is not None:
                    _save(file, part)
            else:
                bar.update(len(rows))
            parts.append(part)
    return Embeddings(
        np.concatenate([part.crops for part in parts]),
        np.concatenate([number * PART + part.tracks for number, part in enumerate(parts)]),
        tuple(problem for part in parts for problem in part.problems),
    )


def extract_variants(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    variants: Sequence[Variant],
    *,
    seconds: float,
    sample_rate: int,
    batch_size: int = 64,
    workers: int = 1,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Embeds every track of a corpus in several variants, such as damaged ones; a track is read once for all.

    Args:
        encode: As in :func:`extract_embeddings`, and so are all others.
        corpus: The tracks.
        variants: What is made of a track before it is embedded.
        seconds: Length of a crop.
        sample_rate: Sample rate of the crops in Hz.
        batch_size: Crops that are encoded at once.
        workers: Threads that make variants ahead.
        progress: Show a progress bar.

    Returns:
        (tracks, variants, dim), the mean over the crops of a track.

    Raises:
        AudioFileError: If a track cannot be read.
        ValueError: If there is no track or variant, or as in :func:`extract_embeddings`.
    """
    if not len(corpus) or not variants:
        raise ValueError(f"there is nothing to embed: {len(corpus)} tracks in {len(variants)} variants")
    bar = tqdm(total=len(corpus), desc="embedding variants", unit="track", disable=not progress)
    with bar, evaluation_mode(encode) as device, torch.inference_mode():
        tracks = track_crops(corpus, round(seconds * sample_rate), sample_rate, workers=workers)
        found = _embed(encode, _varied(_counted(tracks, bar), variants, workers), batch_size, device)
    return found.pooled().reshape(len(corpus), len(variants), -1)


Crop = tuple[int, NDArray[np.float32], Problem | None]


def _varied(tracks: "Iterator[TrackCrops]", variants: Sequence[Variant], workers: int) -> Iterator[Crop]:
    """The crops of all variants of all tracks; every variant of every track has a number of its own."""
    for track, (crops, problem) in enumerate(tracks):
        audio, keys = torch.from_numpy(crops), hash_keys(track, np.arange(len(crops)))
        calls = [partial(variant, audio, keys) for variant in variants]
        for number, varied in enumerate(ahead(calls, workers)):
            for crop in varied.numpy():
                yield track * len(variants) + number, crop, problem


def _embed(
    encode: Callable[[Tensor], Tensor], crops: Iterator[Crop], batch_size: int, device: torch.device
) -> Embeddings:
    outputs: list[NDArray[np.float16]] = []
    tracks: list[int] = []
    problems: list[Problem] = []
    while batch := list(islice(crops, batch_size)):
        numbers, audio, wrong = zip(*batch, strict=True)
        output = encode(torch.from_numpy(np.stack(audio)).to(device))
        if output.ndim != 2 or len(output) != len(batch):
            raise ValueError(
                f"encode returned {tuple(output.shape)} for {len(batch)} crops; it must be (batch, dim)"
            )
        outputs.append(_halved(output.float().cpu().numpy()))
        tracks += numbers
        problems += [problem for problem in wrong if problem]
    return Embeddings(np.concatenate(outputs), np.array(tracks, np.int64), tuple(problems))


def _halved(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """In 16 bits; what is not finite stays so, for the probe to name."""
    highest = np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max(initial=0)
    if highest > np.finfo(np.float16).max:
        raise FloatingPointError(
            f"encode returned {highest:g}, more than 16 bits hold: scale embeddings below 65,504"
        )
    return values.astype(np.float16)


TrackCrops = tuple[NDArray[np.float32], Problem | None]


def track_crops(
    corpus: Corpus, size: int, sample_rate: int, most: int | None = None, workers: int = 0
) -> Iterator[TrackCrops]:
    """Crops (crops, samples) of each track from its start on, and what had to be padded.

    Args:
        corpus: The tracks.
        size: Samples of a crop; a remainder at the end is dropped.
        sample_rate: In Hz.
        most: Crops of a track at most, evenly spread over it.
        workers: Threads that read ahead; at most one more track than that is in memory or on the way.

    Raises:
        AudioFileError: If a track cannot be read.
    """
    reads = (partial(corpus.read, track, sample_rate) for track in range(len(corpus)))
    for track, audio in enumerate(ahead(reads, workers)):
        missing, problem = size - len(audio), None
        if missing > 0:
            audio = np.pad(audio, (0, missing))
        # A track of "exactly" one crop may lack a few samples; that is not worth a word.
        if missing > sample_rate // 100:
            seconds = (size - missing) / sample_rate
            reason = f"gave {seconds:.2f} s of audio, less than one crop; silence was added"
            problem = Problem(str(corpus.paths[track]), reason)
        count = len(audio) // size
        chosen = np.unique(np.linspace(0, count - 1, min(count, most or count)).round().astype(int))
        yield audio[: count * size].reshape(count, size)[chosen], problem


def _counted(tracks: Iterator[TrackCrops], bar: "tqdm[object]") -> Iterator[TrackCrops]:
    for track in tracks:
        yield track
        bar.update()


def numbered(tracks: Iterator[TrackCrops]) -> Iterator[Crop]:
    """Every crop with the number of its track, and what had to be padded."""
    for track, (crops, problem) in enumerate(tracks):
        for crop in crops:
            yield track, crop, problem


@contextmanager
def evaluation_mode(encode: object) -> Iterator[torch.device]:
    """Runs a module in evaluation mode, restores each part's own mode, and gives the device it is on."""
    if not isinstance(encode, nn.Module):
        yield torch.device("cpu")
        return
    modes = {part: part.training for part in encode.modules()}
    tensor = next(chain(encode.parameters(), encode.buffers()), torch.empty(0))
    encode.eval()
    try:
        yield tensor.device
    finally:
        for part, training in modes.items():
            part.training = training


def fingerprint(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    seconds: float,
    sample_rate: int,
    max_crops: int | None = None,
) -> str:
    """Names what embeddings depend on: the module and its weights, the audio, and the crops.

    Labels and splits are no part of it: embeddings of one corpus serve all of its tasks.

    Raises:
        ValueError: If ``encode`` is no module.
    """
    if not isinstance(encode, nn.Module):
        raise ValueError(
            f"cache: only modules can be told apart by their weights, and this is a {type(encode).__name__}"
        )
    digest = hashlib.blake2b(digest_size=16)
    facts = [(name, type(part), getattr(part, "config", None)) for name, part in encode.named_modules()]
    settings = (__version__, repr(encode), facts, seconds, sample_rate, max_crops, corpus.paths.tolist())
    digest.update(repr(settings).encode())
    for row in range(len(corpus)):
        digest.update(corpus.sample(row))
    for name, tensor in sorted(encode.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _save(file: Path, part: Embeddings) -> None:
    problems = np.array([(problem.path, problem.reason) for problem in part.problems]).reshape(-1, 2)
    with replacing(file, shared=True) as draft, draft.open("wb") as stream:
        np.savez(stream, crops=part.crops, tracks=part.tracks, problems=problems.astype(str))


def _load(file: Path) -> Embeddings | None:
    """What was kept, or None where nothing was, or nothing that can be read."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            problems = tuple(Problem(str(path), str(reason)) for path, reason in kept["problems"])
            return Embeddings(kept["crops"], kept["tracks"], problems)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _logger.warning("%s is damaged (%s): its tracks are embedded again", file, error)
        return None
