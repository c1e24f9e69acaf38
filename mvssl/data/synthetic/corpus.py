"""Rendering the embedded corpus to disk, once."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from mvssl.atomic import replacing
from mvssl.data.corpus import Corpus, corpora
from mvssl.data.synthetic.causes import TAG_GROUPS, draw_causes
from mvssl.data.synthetic.sound import render

SAMPLE_RATE = 16_000
HEADER_BYTES = 44  # of a WAV file
VERSION = 1  # part of the folder's name: raise it whenever the same seed sounds different
SHARES = {"train": 0.67, "valid": 0.11}  # the rest is for testing


def cache_folder() -> Path:
    """Where mvssl keeps what it can make again: ``$MVSSL_CACHE``, or ``mvssl`` in the user's cache folder."""
    if "MVSSL_CACHE" in os.environ:
        return Path(os.environ["MVSSL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mvssl"


@corpora.register(
    "synthetic", summary="1,200 pieces of 16 s with known causes and 25 tags, made on first use."
)
def synthetic(tracks: int = 1200, seconds: float = 16.0, seed: int = 0, progress: bool = False) -> Corpus:
    """The embedded corpus; rendered into :func:`cache_folder` on first use (0.5 MB a track).

    Args:
        tracks: Number of tracks.
        seconds: Length of a track.
        seed: A different corpus for each.
        progress: Whether to show a progress bar while rendering.
    """
    folder = cache_folder() / f"synthetic-v{VERSION}-{tracks}x{seconds:g}s-seed{seed}"
    render_corpus(folder, tracks, seconds, seed, progress)
    causes = [draw_causes(seed, index) for index in range(tracks)]
    vocabulary = tuple(tag for group in TAG_GROUPS.values() for tag in group)
    columns = [cause.asdict() for cause in causes]
    return Corpus(
        name="synthetic",
        root=folder,
        paths=np.array([_file_name(index) for index in range(tracks)]),
        seconds=np.full(tracks, seconds),
        splits=_splits(tracks),
        vocabulary=vocabulary,
        targets=np.array([[tag in cause.tags for tag in vocabulary] for cause in causes]),
        tag_groups=TAG_GROUPS,
        factors={name: np.array([column[name] for column in columns]) for name in columns[0]},
    )


def render_corpus(folder: Path, tracks: int, seconds: float, seed: int, progress: bool = False) -> None:
    """Renders what is missing of a corpus: WAV files, ``manifest.jsonl``, ``tag_groups.json``.

    The folder is a corpus like any other: ``open_corpus(folder)`` reads it. Rendering can be killed and
    goes on where it stopped, several processes may render into one folder at a time, and a file that was
    deleted or has a wrong size is rendered again. The manifest is written last.

    Raises:
        ValueError: If there are fewer than ten tracks, or they are shorter than a second.
        OSError: If the folder cannot be written.
    """
    if tracks < 10 or seconds < 1:
        raise ValueError(f"tracks={tracks}, seconds={seconds:g}: at least 10 tracks of 1 s are needed")
    size = HEADER_BYTES + 2 * round(seconds * SAMPLE_RATE)
    missing = [index for index in range(tracks) if _size(folder / _file_name(index)) != size]
    if not missing and (folder / "manifest.jsonl").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_render_file, folder, seed, seconds)
    # At least two processes, so that one can write while the other computes.
    with ProcessPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        bar = tqdm(
            pool.map(work, missing, chunksize=4), "Rendering the synthetic corpus", len(missing),
            unit="track", disable=not progress,
        )  # fmt: skip
        for _ in bar:
            pass
    lines = []
    for index, split in enumerate(_splits(tracks).tolist()):
        causes = draw_causes(seed, index)
        lines.append(
            {
                "audio_path": _file_name(index), "tags": causes.tags, "split": split, "duration": seconds,
                "sample_rate": SAMPLE_RATE, "causes": causes.asdict(),
            }
        )  # fmt: skip
    with replacing(folder / "tag_groups.json", shared=True) as draft:
        draft.write_text(json.dumps(TAG_GROUPS))
    with replacing(folder / "manifest.jsonl", shared=True) as draft:
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _size(path: Path) -> int:
    """Size of a file in bytes; -1 if there is none."""
    return path.stat().st_size if path.is_file() else -1


def _file_name(index: int) -> str:
    return f"{index:05d}.wav"


def _splits(tracks: int) -> np.ndarray:
    """Tracks are independent of each other, so the first ones can be the training split."""
    train = round(SHARES["train"] * tracks)
    valid = round((SHARES["train"] + SHARES["valid"]) * tracks)
    return np.repeat(["train", "valid", "test"], [train, valid - train, tracks - valid])


def _render_file(folder: Path, seed: int, seconds: float, index: int) -> None:
    audio = render(draw_causes(seed, index), seed, index, seconds, SAMPLE_RATE)
    with replacing(folder / _file_name(index), shared=True) as draft:
        soundfile.write(draft, audio, SAMPLE_RATE, subtype="PCM_16", format="WAV")
