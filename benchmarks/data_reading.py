"""Crops per second from files, prepared shards and archives, against a raw memory-mapped read, in one run.

All forms hold the same tracks of noise-like music, and are asked for the same crops, in turns. Everything is
in the page cache and read by one process, whose CPU time is measured: the work counts, not the disk.
"reading" opens a track and reads two crops of it, as training does; decoding everything gives two crops, too.
"loading" is the loader itself; there the raw read draws the places of its crops in the same way. The stream
reads whole archives to take two crops of each track.

    python benchmarks/data_reading.py --rounds 7 > benchmarks/results/data_reading_cpu2.json
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import webdataset
from numpy.typing import NDArray
from timing import alternate

from mvssl import seeding
from mvssl.data import Corpus, loader, open_corpus, prepare, read_audio, stream
from mvssl.views import Crops, ViewChain

RATE = 16_000
SCALE = np.float32(2**-15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--track_seconds", type=float, default=180.0)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a crop")
    parser.add_argument("--crops", type=int, default=200, help="per turn")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options), indent=2))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    corpora = forms(folder, options)
    raw = corpora["int16"].audio
    assert raw is not None
    samples = np.asarray(np.memmap(folder / "int16" / raw.files[0], "<i2", "r"))
    offsets, length = raw.offset[raw.tracks] // 2, round(options.track_seconds * RATE)
    rng = np.random.default_rng(0)
    size = round(options.seconds * RATE)
    rows = rng.integers(options.tracks, size=options.crops // 2)
    starts = rng.integers(length - size, size=(options.crops // 2, 2)) / RATE
    out = np.empty(size, np.float32)

    def reading(corpus: Corpus) -> Callable[[], None]:
        def way() -> None:
            for row, pair in zip(rows.tolist(), starts.tolist(), strict=True):
                with corpus.open(row) as reader:
                    for start in pair:
                        reader.read(start, options.seconds, RATE, out)

        return way

    def raw_reading() -> None:
        for row, pair in zip(rows.tolist(), starts.tolist(), strict=True):
            for start in pair:
                first = int(offsets[row]) + round(start * RATE)
                np.multiply(samples[first : first + size], SCALE, out=out, dtype=np.float32)

    def whole_mp3s() -> None:
        for row in rows[:WHOLE].tolist():
            read_audio(corpora["mp3"].path(row), sample_rate=RATE)

    views = ViewChain(Crops(options.seconds))
    batch = min(16, options.tracks)

    steps = max(1, options.crops // (2 * batch))

    def loading(corpus: Corpus) -> Callable[[], None]:
        endless = iter(loader(corpus, views, batch, split=None, steps=10**9, sample_rate=RATE, workers=0))

        def way() -> None:
            for _ in range(steps):
                next(endless)

        return way

    def raw_loading() -> None:
        for step in range(steps):
            crops = [np.empty((batch, size), np.float32) for _ in range(2)]
            for place in range(batch):
                draws = seeding.generator(2, 0, 0, place, 0)
                for view, start in zip(crops, views.sampler.starts(length / RATE, draws), strict=True):
                    first = int(offsets[(step * batch + place) % options.tracks]) + round(start * RATE)
                    np.multiply(samples[first : first + size], SCALE, out=view[place], dtype=np.float32)

    def streaming() -> None:
        urls = sorted(map(str, (folder / "packed").glob("*.tar")))
        for _ in stream("::".join(urls), views, batch, split=None, sample_rate=RATE, workers=0):
            pass

    ways: dict[str, tuple[Callable[[], object], int]] = {"raw, reading": (raw_reading, options.crops)}
    ways |= {f"{form}, reading": (reading(corpus), options.crops) for form, corpus in corpora.items()}
    ways["mp3, decoding everything"] = (whole_mp3s, 2 * WHOLE)
    in_steps = 2 * batch * steps
    ways["raw, loading"] = (raw_loading, in_steps)
    ways |= {f"{form}, loading": (loading(corpus), in_steps) for form, corpus in corpora.items()}
    ways["webdataset stream"] = (streaming, 2 * batch * (options.tracks // batch))
    seconds = alternate([way for way, _ in ways.values()], options.rounds, clock=time.process_time)
    rates = {
        name: count / np.array(spent) for (name, (_, count)), spent in zip(ways.items(), seconds, strict=True)
    }
    return report(rates, options)


WHOLE = 4  # MP3s that are decoded as a whole in each turn


def report(rates: dict[str, NDArray[np.float64]], options: argparse.Namespace) -> dict[str, Any]:
    def ratio(one: str, other: str) -> float:
        return float(f"{statistics.median(rates[one] / rates[other]):.3g}")

    forms_of = {
        name: "raw, loading" if "loading" in name or "stream" in name else "raw, reading" for name in rates
    }
    medians = {name: round(statistics.median(rate)) for name, rate in rates.items()}
    return {
        "crops per second of CPU time (median)": medians,
        "ratio to the raw read (median over rounds)": {
            name: ratio(name, raw) for name, raw in forms_of.items() if name != raw
        },
        "MP3 crops by seeking / by decoding everything": ratio("mp3, reading", "mp3, decoding everything"),
        "settings": vars(options),
        "machine": {
            "cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0],
            "python": platform.python_version(), "numpy": np.__version__,
            "soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__,
            "webdataset": webdataset.__version__,
        },
    }  # fmt: skip


def forms(folder: Path, options: argparse.Namespace) -> dict[str, Corpus]:
    """The same tracks in each form."""
    rng = np.random.default_rng(0)
    size = round(options.track_seconds * RATE)
    for number in range(options.tracks):
        audio = piece(rng, size)
        for form in ("wav", "flac", "mp3"):
            path = folder / form / f"{number:03d}.{form}"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, audio, RATE)
    files = {f"{form} files": open_corpus(folder / form) for form in ("wav", "flac")}
    samples = prepare(files["wav files"], folder / "int16", RATE, shard_megabytes=10**6)
    packed = prepare(files["wav files"], folder / "packed", RATE, packing="flac", shard_megabytes=20)
    return {"int16": samples, "flac in tar": packed, **files, "mp3": open_corpus(folder / "mp3")}


def piece(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Notes with noise, about as hard to compress as music."""
    time = np.arange(RATE // 2) / RATE
    audio = np.empty(size, np.float32)
    for first in range(0, size, len(time)):
        pitch = 110 * 2 ** (rng.integers(36) / 12)
        note = sum(np.sin(2 * np.pi * pitch * part * time) / part for part in range(1, 6))
        sound = (0.1 * note + 0.02 * rng.standard_normal(len(time))) * np.exp(-3 * time)
        audio[first : first + len(time)] = sound[: size - first]
    return audio


if __name__ == "__main__":
    main()
