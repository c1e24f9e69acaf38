"""What a training run tells: a progress bar, ``metrics.csv`` and TensorBoard events."""

import csv
import os
from pathlib import Path
from typing import Any

METRICS = "metrics.csv"


class RunLog:
    """Writes one row per logged step; opened again at a later step, it carries on from there.

    Args:
        folder: Run directory.
        start_step: Rows of later steps are discarded: the run is about to make them again.
    """

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / METRICS
        kept = [row for row in read_metrics(folder) if row["step"] <= start_step]
        self._fields = list(kept[0]) if kept else []
        draft = self._path.with_name(METRICS + ".part")
        with draft.open("w", newline="") as file:
            if kept:
                writer = csv.DictWriter(file, self._fields)
                writer.writeheader()
                writer.writerows(kept)
        os.replace(draft, self._path)
        self._events = SummaryWriter(str(folder), purge_step=start_step)

    def write(self, row: dict[str, float]) -> None:
        """Adds a row, of which ``step`` is one entry; all rows have the same entries."""
        first = not self._fields
        self._fields = self._fields or list(row)
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._fields)
            if first:
                writer.writeheader()
            writer.writerow(row)
        for name, value in row.items():
            if name != "step":
                self._events.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Flushes the event file."""
        self._events.close()


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a run's ``metrics.csv``, as numbers; none if there is no such file yet."""
    path = Path(folder) / METRICS
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
