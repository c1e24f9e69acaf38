"""Tables of an evaluation as files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mvssl.evaluation.subsets import Subset


def weight_rows(learned: Mapping[str, NDArray[Any]], subsets: Sequence[Subset]) -> list[dict[str, Any]]:
    """Learned weights of layers, a row each.

    Args:
        learned: (subsets, hidden states) by the name of the probe.
        subsets: Labelled tracks of each.
    """
    return [
        {
            "probe": probe, "fraction": subset.fraction, "shots": subset.shots, "repeat": subset.repeat,
            "state": state, "weight": float(weight),
        }
        for probe, weights in learned.items()
        for subset, of_states in zip(subsets, weights, strict=True)
        for state, weight in enumerate(of_states)
    ]  # fmt: skip


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV, below the names of the first."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
