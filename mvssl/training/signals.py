"""Signals that end a run: noted when they come, obeyed when the step is made and saved."""

import logging
import os
import re
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

_logger = logging.getLogger(__name__)


class StopSignals:
    """Notes SIGINT (Ctrl-C), SIGTERM and, on a cluster with SLURM, SIGUSR1.

    A second SIGINT interrupts at once. Signals can be noted in the main thread only; elsewhere nothing is.

    Args:
        slurm: Whether SIGUSR1 announces the end of a job's time.

    Attributes:
        received: The signal that came, or 0.
    """

    def __init__(self, slurm: bool = False) -> None:
        names = ("SIGINT", "SIGTERM", *(["SIGUSR1"] if slurm else []))
        self._numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self._before: dict[int, Any] = {}
        self.received = 0

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in self._numbers}
        return self

    def listen(self) -> None:
        """Begins to note signals: in training only, since before that there is nothing to save."""
        for number in self._before:
            signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


def stop(number: int, step: int, folder: object) -> BaseException:
    """What a run raises that was told to stop: KeyboardInterrupt, or SystemExit with the usual status."""
    name = signal.Signals(number).name
    said = f"{name} received: saved at step {step} in {folder}; with --resume true the run goes on from there"
    if number == signal.SIGINT:
        return KeyboardInterrupt(said)
    _logger.warning(said)
    return SystemExit(128 + number)


def requeue() -> None:
    """Asks SLURM to run this job again, with the number and array that the environment says."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
    if not re.fullmatch(r"\d+(_\d+)?", job):
        _logger.warning("the job cannot be requeued: SLURM_JOB_ID=%r", job)
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _logger.warning("the job could not be requeued, do it yourself: scontrol requeue %s (%s)", job, error)
