"""What a job is given, and what it does with it."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import torch

from mvssl.compare.cells import Cell
from mvssl.compare.running import Runner
from mvssl.encoders import encoders
from mvssl.pretext import pretexts
from mvssl.registry import Registry

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

_REGISTRIES: dict[str, Registry[Any]] = {"pretexts": pretexts, "encoders": encoders}


def write_runner(runner: Runner, path: Path) -> None:
    """Writes what all jobs of a call read: the runner, and the entries of the names that it looks up.

    A job is a new process. What an installed package registers it finds itself; what a script or a module of
    the user's has registered comes with the entry.
    """
    s = runner.settings
    names = [*(("pretexts", name) for name in s.pretexts), ("encoders", s.encoder)]
    entries = [(kind, _REGISTRIES[kind].entry(name)) for kind, name in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cloudpickle.dumps((entries, runner)))


def read_runner(path: Path) -> Runner:
    """Reads what :func:`write_runner` wrote."""
    entries, runner = pickle.loads(path.read_bytes())
    for kind, entry in entries:
        _REGISTRIES[kind].adopt(entry)
    found: Runner = runner
    return found


@dataclass(frozen=True)
class CellJob:
    """One cell, as a job runs it.

    Attributes:
        runner: File with the runner.
        cell: Which cell.
        threads: Of this job; None takes what Slurm gives.
    """

    runner: Path
    cell: Cell
    threads: int | None

    def __call__(self) -> None:
        """Runs the cell.

        Raises:
            BlockingIOError: If another process is running it.
        """
        threads = self.threads or int(os.environ.get("SLURM_CPUS_PER_TASK", 0))
        if threads:
            torch.set_num_threads(threads)
        read_runner(self.runner).run(self.cell)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit puts into the queue when Slurm ends the job early: the cell goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
