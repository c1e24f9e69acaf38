"""Decoding a corpus once, so that nothing after that decodes it again."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from mvssl.data.corpus import Corpus
from mvssl.data.reading import read_audio

_SUFFIX = ".wav"
_MARGIN = 1.05  # of disk space that must be free, for headers and the file system


def prepare(
    corpus: Corpus, folder: str | os.PathLike[str], sample_rate: int, progress: bool = False
) -> Corpus:
    """Decodes, mixes down and resamples every track, and its stems, into 16-bit WAV files.

    Crops of such files are read many times faster than crops of MP3s. Killed and started again, it goes on
    where it stopped. Samples beyond full scale, which MP3s may have, are clipped.

    Args:
        corpus: The corpus.
        folder: Where the files go, under the names of the originals with ``.wav`` behind them: 1.9 MB per
            minute at 16 kHz.
        sample_rate: In Hz.
        progress: Whether to show a progress bar.

    Returns:
        The same corpus, of the new files; ``paths`` differ from the original ones by the ending.

    Raises:
        OSError: If there is not enough room on the disk; nothing has been written then.
        AudioFileError: If a file cannot be decoded: open the corpus with ``check="full"`` to find out first.
        ValueError: If a path leads out of ``folder``.
    """
    folder = Path(folder).resolve()
    seconds = dict(zip(map(str, corpus.paths), corpus.seconds.tolist(), strict=True))
    for row in range(len(corpus)):
        seconds |= dict.fromkeys(corpus.stems_of(row), float(corpus.seconds[row]))
    outside = [name for name in seconds if not _inside(folder / name, folder)]
    if outside:
        raise ValueError(f"{outside[0]}: only files below {corpus.root} can be prepared")
    missing = [name for name in seconds if not _target(folder, name).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    needed = int(sum(seconds[name] for name in missing) * sample_rate * 2 * _MARGIN)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
    for _ in tqdm(
        _written(corpus.root, folder, missing, sample_rate),
        "Decoding",
        len(missing),
        unit="file",
        disable=not progress,
    ):
        pass
    stems = corpus.stems
    return replace(
        corpus,
        root=folder,
        paths=np.strings.add(corpus.paths, _SUFFIX),
        stems=None if stems is None else np.where(stems == "", "", np.strings.add(stems, _SUFFIX)),
    )


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(folder)


def _target(folder: Path, name: str) -> Path:
    return folder / (name + _SUFFIX)


def _written(root: Path, folder: Path, names: list[str], sample_rate: int) -> Iterator[None]:
    with ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2))) as pool:
        yield from pool.map(partial(_write, root, folder, sample_rate), names)


def _write(root: Path, folder: Path, sample_rate: int, name: str) -> None:
    audio = read_audio(root / name, sample_rate=sample_rate)
    target = _target(folder, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    soundfile.write(draft, audio, sample_rate, subtype="PCM_16", format="WAV")
    os.replace(draft, target)
