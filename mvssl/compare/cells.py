"""Cells of the grid: a method with a seed each, in a folder of its own."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mvssl.atomic import replacing, write_json
from mvssl.compare.comparison import FINE_TUNED, UPSTREAM, frozen
from mvssl.evaluation.upstreams import HUB, LOCAL

SCORES, EMBEDDINGS, ROBUSTNESS, CELL = "scores.npy", "embeddings.npy", "robustness.json", "cell.json"
JOB = "job.json"
_LOCK = "lock"
_PATIENCE = 10.0  # seconds: whoever only looks whether a cell is running holds its lock for a moment


@dataclass(frozen=True)
class Cell:
    """One method with one seed: where it lives and what it cost."""

    method: str
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.method} with seed {self.seed}"

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do; ``cell.json`` is written last."""
        return (self.folder / CELL).is_file()

    @property
    def source(self) -> "Cell | None":
        """The cell that has to be done first: the pretext that a fine-tuned encoder starts from."""
        if not self.method.endswith(FINE_TUNED):
            return None
        return cell_in(self.folder.parent, frozen(self.method), self.seed)

    def facts(self) -> dict[str, Any]:
        """What ``cell.json`` says."""
        facts: dict[str, Any] = json.loads((self.folder / CELL).read_text(encoding="utf-8"))
        return facts

    def keep(self, name: str, values: NDArray[np.floating]) -> None:
        """Writes an array in one piece."""
        with replacing(self.folder / name) as draft, draft.open("wb") as file:
            np.save(file, values)

    def finish(self, scores: NDArray[np.floating] | None, **facts: Any) -> None:
        """Writes the scores (none if the run diverged), then ``cell.json``."""
        if scores is not None:
            self.keep(SCORES, scores.astype(np.float32))
        write_json(self.folder / CELL, facts | {"threads": torch.get_num_threads()})

    @property
    def running(self) -> bool:
        """Whether a process is running the cell now."""
        if not (self.folder / _LOCK).is_file():
            return False
        try:
            with FileLock(self.folder / _LOCK, timeout=0):
                return False
        except Timeout:
            return True

    def job(self) -> dict[str, Any]:
        """What is known of the job that last ran the cell; nothing if none did."""
        path = self.folder / JOB
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def note_job(self, **facts: Any) -> None:
        """Keeps which ``launcher`` gave the cell to which ``job``, in which ``folder``, or the ``error``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / JOB, facts)

    def state(self) -> str:
        """In words: done, running, failed and why, handed to Slurm, begun or not begun."""
        if self.done:
            return "done"
        if self.running:
            return "running"
        job = self.job()
        if "error" in job:
            return f"failed: {job['error']}"
        if job.get("launcher") == "slurm":
            return f"handed to Slurm job {job['job']}"
        return "begun" if self.folder.is_dir() else "not begun"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps other processes from claiming it at the same time.

    The system frees the lock when this process ends, in whatever way.

    Raises:
        BlockingIOError: If another process has claimed it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{folder} is being run by another process: wait for it, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def cell_in(folder: Path, method: str, seed: int) -> Cell:
    """The cell of a method and a seed below the folder of all cells."""
    return Cell(method, seed, folder / f"{method}-seed{seed}")


def upstream_methods(sources: Sequence[str]) -> dict[str, str]:
    """Sources of encoders trained elsewhere, by the names of their methods: the last part of the path.

    Raises:
        ValueError: If two have the same name.
    """
    found: dict[str, str] = {}
    for source in sources:
        place = source.partition(":")[2].partition(":")[0] if source.startswith((LOCAL, HUB)) else source
        method = UPSTREAM + re.sub(r"[^\w.-]+", "-", PurePath(place).name)
        if method in found:
            raise ValueError(f"frozen={source}: {found[method]} ends in the same name; rename a folder")
        found[method] = source
    return found


def cells_of(config: Mapping[str, Any], out: Path) -> list[Cell]:
    """All cells of a comparison: pretexts first, before what is fine-tuned from them.

    Mel statistics have no weights, and those of upstreams are given: hence no seed but the first.

    Args:
        config: With ``pretexts``, ``seeds`` and ``finetune``; with ``frozen`` where there are upstreams.
        out: Folder of the comparison.
    """
    seeds, names = config["seeds"], config["pretexts"]
    tuned = [name + FINE_TUNED for name in names] if config["finetune"] else []
    pairs = [(method, seed) for method in (*names, *tuned, "random") for seed in seeds]
    pairs += [("mel_statistics", seeds[0]), *(("supervised", seed) for seed in seeds)]
    pairs += [(method, seeds[0]) for method in upstream_methods(config.get("frozen", ()))]
    return [cell_in(out / "cells", method, seed) for method, seed in pairs]
