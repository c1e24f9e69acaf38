"""Building and opening the index of a long manifest, and sampling from it, against one of 10,000 tracks.

Each corpus is opened by a process of its own, which says how long that took and how much memory of its own
(not mapped from the disk) it has more than before. Sampling is what a batch of 256 costs before any audio is
read: its rows in the order of the epoch, and the names, durations and groups of its tracks.

With ``--direct`` the columns of the index are written as they are, without a manifest: building takes about a
minute per million tracks, and opening does not know the difference.

    python benchmarks/data_index.py --tracks 1_000_000 > benchmarks/results/data_index_1m_cpu2.json
    python benchmarks/data_index.py --tracks 10_000_000 > benchmarks/results/data_index_10m_cpu2.json
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mvssl.data import SPLITS, Corpus, index_manifest, open_corpus
from mvssl.data.batches import Order
from mvssl.data.columns import Coded, Strings
from mvssl.data.manifest_index import index_of
from mvssl.data.saving import save_corpus

LINE = 160  # bytes
BATCH, BATCHES = 256, 200
SMALL = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracks", type=int, default=10_000_000)
    parser.add_argument("--folder", default=None, help="for some 5 GB (default: that of temporary files)")
    parser.add_argument("--direct", action="store_true", help="measure opening and sampling only")
    parser.add_argument("--open", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        needed = options.tracks * LINE * 4
        if shutil.disk_usage(folder).free < needed:
            sys.exit(f"{folder}: {needed / 1e9:.1f} GB are needed; pass --folder or fewer --tracks")
        print(json.dumps(measure(Path(folder), options.tracks, options.direct), indent=2))


def measure(folder: Path, tracks: int, direct: bool) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for count in (SMALL, tracks):
        manifest = folder / f"{count}.jsonl"
        told = write_columns(manifest, count) if direct else build(manifest, count)
        results[f"{count:,} tracks"] = {**told, **in_a_process(manifest)}
    small, large = (results[f"{count:,} tracks"]["CPU microseconds per batch"] for count in (SMALL, tracks))
    results["sampling, ratio to 10,000 tracks"] = round(large / small, 2)
    results["machine"] = {
        "cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0],
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip
    return results


def build(manifest: Path, count: int) -> dict[str, Any]:
    write(manifest, count)
    start, cpu = time.perf_counter(), time.process_time()
    index_manifest(manifest, check="none")
    return {
        "manifest in MB": round(manifest.stat().st_size / 1e6),
        "seconds to build": round(time.perf_counter() - start, 1),
        "CPU seconds to build": round(time.process_time() - cpu, 1),
        "peak memory of building in MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "index in MB": size_of(index_of(manifest)),
    }


def size_of(index: Path) -> int:
    return round(sum(file.stat().st_size for file in index.rglob("*") if file.is_file()) / 1e6)


def write_columns(manifest: Path, count: int) -> dict[str, Any]:
    """The index that :func:`build` makes of what :func:`write` writes."""
    numbers = np.arange(count)
    corpus = Corpus(
        name=manifest.stem,
        root=manifest.parent,
        paths=Strings.of(
            f"library/{number % 1000:03d}/{number:09d} - a title.flac" for number in range(count)
        ),
        seconds=60.25 + numbers % 240,
        splits=Coded(np.array([0, 0, 0, 1, 2], np.int8)[numbers % 5], SPLITS),
        vocabulary=tuple(f"genre {number:02d}" for number in range(20)),
        targets=numbers[:, None] % 20 == np.arange(20),
        groups=Coded(
            (numbers // 12).astype(np.int32), Strings.of(f"artist {n:07d}" for n in range(count // 12 + 1))
        ),
    )
    manifest.touch()
    stat = manifest.stat()
    facts = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "field": None}
    save_corpus(index_of(manifest), corpus, manifest=facts, seed=None)
    return {"index in MB": size_of(index_of(manifest))}


def write(manifest: Path, count: int) -> None:
    """Tracks in a random order, with all that a manifest may say."""
    rng = np.random.default_rng(0)
    with manifest.open("w") as file:
        for number in rng.permutation(count).tolist():
            file.write(
                f'{{"audio_path": "library/{number % 1000:03d}/{number:09d} - a title.flac", "duration": '
                f'{60 + number % 240}.25, "group": "artist {number // 12}", "tags": ["genre {number % 20}"], '
                f'"split": "{("train", "train", "train", "valid", "test")[number % 5]}"}}\n'
            )


def in_a_process(manifest: Path) -> dict[str, Any]:
    call = [sys.executable, __file__, "--open", str(manifest)]
    found: dict[str, Any] = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE).stdout)
    return found


def opened(manifest: str) -> dict[str, Any]:
    before, start, cpu = own_memory(), time.perf_counter(), time.process_time()
    corpus = open_corpus(manifest)
    items = corpus.indices("train")
    numbers = corpus.group_numbers()
    assert numbers is not None
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    after = own_memory()
    order, spent = Order(items, 0, 0), []
    for batch in np.random.default_rng(0).integers(len(items) // BATCH, size=BATCHES).tolist():
        start = time.process_time()
        rows = order.rows(batch * BATCH, (batch + 1) * BATCH)
        for row in rows.tolist():
            assert corpus.paths[row]
        assert (corpus.seconds[rows] > 0).all()
        assert (numbers[rows] >= 0).all()
        spent.append(time.process_time() - start)
    return {
        "seconds to open": round(seconds, 2),
        "CPU seconds to open": round(cpu, 2),
        "own memory of an open corpus in MiB": round((after - before) / 1024),
        "CPU microseconds per batch": round(statistics.median(spent) * 1e6),
    }


def own_memory() -> int:
    """Memory of this process that is not mapped from a file, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


if __name__ == "__main__":
    main()
