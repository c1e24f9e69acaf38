"""One embedding per track: the mean over its non-overlapping crops, each track read once."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from mvssl.data import Corpus, Problem, read_audio


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of the tracks of a corpus.

    Attributes:
        values: (tracks, dim), in the order of the corpus.
        problems: Tracks that turned out to be shorter than one crop; silence was added to them.
    """

    values: NDArray[np.float32]
    problems: tuple[Problem, ...]


def extract_embeddings(
    encode: Callable[[Tensor], Tensor],
    corpus: Corpus,
    *,
    seconds: float,
    sample_rate: int,
    batch_size: int = 64,
    workers: int = 1,
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
        batch_size: Crops that are encoded at once.
        workers: Threads that read ahead. Reading leaves the interpreter free for most of its time, so that
            threads do as well as processes here and audio need not be copied between them.
        progress: Show a progress bar.

    Raises:
        AudioFileError: If a track cannot be read.
        ValueError: If ``corpus`` is empty or ``encode`` does not return (batch, dim).
    """
    problems: list[Problem] = []
    crops = _crops(corpus, round(seconds * sample_rate), sample_rate, workers, progress, problems)
    sums, counts = None, np.zeros(len(corpus), np.int64)
    with _evaluation_mode(encode) as device, torch.inference_mode():
        while batch := list(islice(crops, batch_size)):
            tracks, audio = zip(*batch, strict=True)
            output = encode(torch.from_numpy(np.stack(audio)).to(device))
            if output.ndim != 2 or len(output) != len(batch):
                raise ValueError(
                    f"encode returned {tuple(output.shape)} for {len(batch)} crops; it must be (batch, dim)"
                )
            if sums is None:
                sums = np.zeros((len(corpus), output.shape[1]))
            np.add.at(sums, list(tracks), output.float().cpu().numpy())
            counts += np.bincount(tracks, minlength=len(corpus))
    if sums is None:
        raise ValueError("the corpus has no track to embed")
    return Embeddings((sums / counts[:, None]).astype(np.float32), tuple(problems))


def _crops(
    corpus: Corpus, size: int, sample_rate: int, workers: int, progress: bool, problems: list[Problem]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(track, crop) of all tracks in order; notes in ``problems`` what had to be padded."""
    tracks = tqdm(
        _read_ahead(corpus, sample_rate, workers),
        total=len(corpus),
        desc="embedding",
        unit="track",
        disable=not progress,
    )
    for track, audio in enumerate(tracks):
        missing = size - len(audio)
        if missing > 0:
            audio = np.pad(audio, (0, missing))
        # A track of "exactly" one crop may lack a few samples; that is not worth a word.
        if missing > sample_rate // 100:
            seconds = (size - missing) / sample_rate
            reason = f"gave {seconds:.2f} s of audio, less than one crop; silence was added"
            problems.append(Problem(str(corpus.paths[track]), reason))
        for start in range(0, len(audio) - size + 1, size):
            yield track, audio[start : start + size]


def _read_ahead(corpus: Corpus, sample_rate: int, workers: int) -> Iterator[NDArray[np.float32]]:
    """The tracks' audio in order, of which at most ``workers`` + 1 are in memory or on the way."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[NDArray[np.float32]]] = deque()
        for track in range(len(corpus)):
            waiting.append(pool.submit(read_audio, corpus.path(track), sample_rate=sample_rate))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _evaluation_mode(encode: Callable[[Tensor], Tensor]) -> Iterator[torch.device]:
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
