"""What a training run tells: tables such as ``metrics.csv``, and TensorBoard events."""

import csv
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mvssl.atomic import settle, write_text

METRICS = "metrics.csv"


class Table:
    """A CSV file that grows; opened again at a later step, it carries on from there.

    On a full disk rows wait until there is room again.

    Args:
        path: The file.
        start_step: Rows of later steps are discarded: the run is about to make them again.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        self._path = path
        kept = [row for row in _rows(path) if row["step"] <= start_step]
        self._fields: list[str] = []
        self._waiting = ""
        for row in kept:
            self._add(row)
        write_text(path, self._waiting)
        self._waiting = ""

    def write(self, row: dict[str, float]) -> None:
        """Adds a row, of which ``step`` is one entry; all rows have the same entries.

        Raises:
            OSError: If it cannot be written; it then waits for the next time.
        """
        self._add(row)
        self._append()

    def settle(self) -> None:
        """Waits until all rows are on the disk.

        Raises:
            OSError: If they cannot be written.
        """
        self._append(settled=True)

    def _add(self, row: dict[str, float]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._fields or list(row))
        if not self._fields:
            self._fields = list(row)
            writer.writeheader()
        writer.writerow(row)
        self._waiting += text.getvalue()

    def _append(self, settled: bool = False) -> None:
        with self._path.open("ab") as file:
            size = file.tell()
            try:
                file.write(self._waiting.encode())
                file.flush()
            except OSError:
                os.truncate(self._path, size)  # not half a row
                raise
            self._waiting = ""
            if settled:
                settle(file)


class RunLog:
    """The rows of a run, in ``metrics.csv`` and for TensorBoard.

    A disk that is full is said once, and the run goes on: rows wait, TensorBoard gets no more.

    Args:
        folder: Run directory.
        start_step: Rows of later steps are discarded: the run is about to make them again.
    """

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._table = Table(folder / METRICS, start_step)
        self._warned = False
        self._events: Any = SummaryWriter(str(folder), purge_step=start_step)

    def write(self, row: dict[str, float]) -> None:
        """Adds a row, of which ``step`` is one entry; all rows have the same entries."""
        self.attempt(lambda: self._table.write(row))
        self.scalars(row)

    def scalars(self, row: dict[str, float]) -> None:
        """Tells TensorBoard only."""
        self.show(lambda events: _add(events, row))

    def show(self, how: Callable[[Any], None]) -> None:
        """Calls a function with TensorBoard's ``SummaryWriter``."""
        if self._events is not None and not self.attempt(lambda: how(self._events)):
            self._events = None

    def settle(self) -> None:
        """Waits until all rows are on the disk.

        Raises:
            OSError: If they cannot be written.
        """
        self._table.settle()

    def close(self) -> None:
        """Flushes the event file."""
        self.show(lambda events: events.close())

    def attempt(self, write: Callable[[], None]) -> bool:
        """Writes something that a run can do without; whether it went well."""
        try:
            write()
        except OSError as error:
            if not self._warned:
                warnings.warn(f"the log in {self._folder} cannot be written: {error}", stacklevel=3)
            self._warned = True
            return False
        return True


def _add(events: Any, row: dict[str, float]) -> None:
    for name, value in row.items():
        if name != "step":
            events.add_scalar(name, value, int(row["step"]))


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a run's ``metrics.csv``, as numbers; none if there is no such file yet.

    A last line that was cut short is left out.
    """
    return _rows(Path(folder) / METRICS)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    text = path.read_bytes().decode()
    whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
