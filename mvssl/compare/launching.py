"""Running cells as jobs, on this machine or under Slurm, with submitit."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm import tqdm

from mvssl.compare.cells import Cell
from mvssl.compare.jobs import CellJob, write_runner
from mvssl.compare.running import Runner

if TYPE_CHECKING:
    import submitit

Where = Literal["none", "local", "slurm"]

POLL = 1.0  # seconds between two looks at the jobs
_GRACE = 3.0  # seconds for jobs to end of a Ctrl-C that the terminal gave them, too
_YEAR = 365 * 24 * 60  # minutes: local jobs have no limit
_LIMIT = 240  # minutes of a Slurm job by default; submitit's own are 5
_REQUEUES = 1000  # a cell goes on where it was, so that a time limit is no reason to give up
_ONE_PROCESS = ("nodes", "tasks_per_node", "ntasks_per_node")
_GENERIC = {"name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Launch:
    """Where cells are run, see :func:`mvssl.compare.compare`.

    Raises:
        ValueError: If an option is wrong, or is of another launcher.
    """

    launcher: Literal["local", "slurm"]
    jobs: int | None
    slurm: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs={self.jobs}: at least 1 is needed")
        if self.slurm and self.launcher != "slurm":
            raise ValueError(f"slurm={dict(self.slurm)}: is only for --launcher slurm")
        for name in _ONE_PROCESS:
            if self.slurm.get(name, 1) != 1:
                raise ValueError(f"slurm: {name}={self.slurm[name]}, but a cell is one process: leave it out")


def launch_of(launcher: Where, jobs: int | None, slurm: Mapping[str, Any] | None) -> Launch | None:
    """What :func:`mvssl.compare.compare` was asked for; None runs cells in this process.

    Raises:
        ValueError: If an option is wrong, or is of another launcher.
    """
    if launcher == "none":
        if jobs is not None or slurm:
            raise ValueError("jobs and slurm are only for --launcher local or slurm")
        return None
    if launcher not in ("local", "slurm"):
        raise ValueError(f"launcher={launcher!r}: choose none, local or slurm")
    return Launch(launcher, jobs, slurm or {})


class Launcher:
    """Gives cells to jobs, a few at a time, and waits for them.

    A cell that fails stops no other, except what is fine-tuned from it. A cell that another process, or a
    Slurm job of an earlier call, has already is waited for and not started again.

    Args:
        runner: What every cell needs.
        cells: All cells.
        out: Folder of the comparison; logs go to ``jobs`` in it.
        launch: Where cells are run.

    Raises:
        ChildProcessError: If Slurm takes no job.
        ValueError: If Slurm's options are wrong.
    """

    def __init__(self, runner: Runner, cells: Sequence[Cell], out: Path, launch: Launch) -> None:
        self.cells, self.launch = cells, launch
        self.folder = out.absolute() / "jobs" / time.strftime("%Y%m%d-%H%M%S")
        self.gpus = visible_gpus()
        local = launch.launcher == "local"
        self.room = launch.jobs or ((len(self.gpus) or 2) if local else len(cells))
        self.threads = max(1, torch.get_num_threads() // self.room) if local else None
        self.executor = _executor(launch, self.folder)
        self.pickle = self.folder / "runner.pkl"
        write_runner(runner, self.pickle)
        self.waiting: list[Cell] = []
        self.running: dict[Cell, submitit.Job[None] | None] = {}  # None: of another process
        self.places: dict[Cell, int] = {}
        self.failed: dict[Cell, str] = {}

    def run(self) -> dict[Cell, str]:
        """Runs what is not done yet; gives what failed, and why."""
        self._find()
        try:
            while self.waiting or self.running:
                self._submit()
                time.sleep(POLL)
                self._look()
        except KeyboardInterrupt:
            self._interrupt()
            raise
        return self.failed

    def _find(self) -> None:
        """Sorts cells into done, running and waiting."""
        for cell in self.cells:
            if cell.done:
                self._tell(cell, "done before")
            elif cell.running:
                self._await(cell, None, "is being run by another process, waiting for it")
            elif job := self._earlier(cell):
                self._await(cell, job, f"waiting for Slurm job {job.job_id} of an earlier call")
            else:
                self.waiting.append(cell)

    def _earlier(self, cell: Cell) -> "submitit.Job[None] | None":
        """The Slurm job that has the cell already, if Slurm says that it is waiting or running."""
        import submitit

        known = cell.job()
        if self.launch.launcher != "slurm" or known.get("launcher") != "slurm" or "error" in known:
            return None
        job: submitit.SlurmJob[None] = submitit.SlurmJob(known["folder"], known["job"])
        pending = bool(job.get_info().get("State")) and not job.done(force_check=True)
        return job if pending else None

    def _submit(self) -> None:
        for cell in [*self.waiting]:
            source = cell.source
            if source in self.failed:
                self.waiting.remove(cell)
                self._fail(cell, f"{source} failed")
            elif len(self.running) < self.room and (source is None or source.done):
                self.waiting.remove(cell)
                self._start(cell)

    def _start(self, cell: Cell) -> None:
        self.places[cell] = min({*range(self.room)} - {self.places.get(other) for other in self.running})
        if self.launch.launcher == "local" and self.gpus:
            gpu = self.gpus[self.places[cell] % len(self.gpus)]
            self.executor.update_parameters(gpus_per_node=1, visible_gpus=[gpu])
        with _environment(dict.fromkeys(_THREADS, self.threads)):
            try:
                job = self.executor.submit(CellJob(self.pickle, cell, self.threads))
            except RuntimeError as error:  # what sbatch says
                raise ChildProcessError(f"no job can be started for {cell}: {error}") from None
        cell.note_job(launcher=self.launch.launcher, job=job.job_id, folder=str(self.executor.folder))
        self._await(cell, job, f"{self.launch.launcher} job {job.job_id}, log in {job.paths.stderr}")

    def _await(self, cell: Cell, job: "submitit.Job[None] | None", told: str) -> None:
        self.running[cell] = job
        self._tell(cell, told)

    def _look(self) -> None:
        """Takes note of the jobs that are over."""
        for cell, job in [*self.running.items()]:
            ours = self.launch.launcher == "local" and job is not None  # its process has to end, too
            if not (_over(cell, job) or (cell.done and not ours)):
                continue
            del self.running[cell]
            if cell.done:
                self._tell(cell, "done")
            elif cell.running:
                self._await(cell, None, "is being run by another process, waiting for it")
            elif job is None:
                self.waiting.append(cell)
            else:
                self._fail(cell, f"{_reason(job)} (log: {job.paths.stderr})")

    def _fail(self, cell: Cell, reason: str) -> None:
        self.failed[cell] = reason
        cell.note_job(launcher=self.launch.launcher, error=reason)
        self._tell(cell, f"failed: {reason}")

    def _interrupt(self) -> None:
        """Ends local jobs; those of Slurm go on."""
        jobs = [job for job in self.running.values() if job is not None]
        if self.launch.launcher == "slurm":
            names = " ".join(job.job_id for job in jobs)
            tqdm.write(f"Slurm goes on with its jobs; to end them: scancel {names}", file=sys.stderr)
            return
        last = time.monotonic() + _GRACE
        while time.monotonic() < last and not all(job.done() for job in jobs):
            time.sleep(0.1)
        for job in jobs:
            if not job.done():
                job.cancel()
        for job in jobs:
            job.wait()

    def _tell(self, cell: Cell, what: str) -> None:
        done = sum(each.done for each in self.cells)
        tqdm.write(
            f"[{done}/{len(self.cells)} done] {cell.method}, seed {cell.seed}: {what}", file=sys.stderr
        )


def visible_gpus() -> list[int]:
    """Numbers of the GPUs that this process may use.

    Raises:
        ValueError: If ``CUDA_VISIBLE_DEVICES`` holds something else than numbers.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    if listed is None:
        return [*range(torch.cuda.device_count())]
    try:
        return [int(number) for number in listed.split(",")]
    except ValueError:
        raise ValueError(f"CUDA_VISIBLE_DEVICES={listed}: jobs need the numbers of the GPUs") from None


def _executor(launch: Launch, folder: Path) -> "submitit.Executor":
    import submitit

    logs = folder / "%j"
    if launch.launcher == "local":
        local = submitit.LocalExecutor(logs)
        local.update_parameters(timeout_min=_YEAR)
        return local
    options = {name if name in _GENERIC else f"slurm_{name}": value for name, value in launch.slurm.items()}
    try:
        slurm = submitit.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=_REQUEUES)
        slurm.update_parameters(**{"timeout_min": _LIMIT, "name": "mvssl"} | options)
    except (AssertionError, NameError, RuntimeError, ValueError) as error:
        raise ValueError(f"--launcher slurm: {error}") from None
    return slurm


@contextmanager
def _environment(variables: Mapping[str, int | None]) -> Iterator[None]:
    """Sets what has a value, for jobs to inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _over(cell: Cell, job: "submitit.Job[None] | None") -> bool:
    """Whether nobody is running the cell any more."""
    return not cell.running if job is None else job.done()


def _reason(job: "submitit.Job[None]") -> str:
    """Why a job failed, in a line: the last one of its traceback."""
    from submitit.core.utils import UncompletedJobError

    try:
        error = job.exception()
    except UncompletedJobError:
        return "ended without a result: killed, out of memory or out of time"
    if error is None:
        return "ended without a cell.json"
    trace = str(error).split("-" * 22)[1].strip()
    return trace.splitlines()[-1]
