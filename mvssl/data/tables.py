"""Reading the tables that corpora come with."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from mvssl.data.listing import CorpusError


def read_table(path: Path, *columns: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table with a line of column names, with blanks around names and values removed.

    Args:
        path: UTF-8 text; quotes as in CSV.
        columns: Those that must be there; cells that a row lacks at its end are empty.
        delimiter: Between cells.

    Raises:
        CorpusError: If a column is missing.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        names = [name.strip() for name in next(rows, [])]
        missing = sorted(set(columns) - set(names))
        if missing:
            raise CorpusError(f"{path}: no column {' or '.join(missing)}; is this the original file?")
        for row in rows:
            if row:
                cells = [cell.strip() for cell in row] + [""] * (len(names) - len(row))
                yield dict(zip(names, cells, strict=False))


def read_lines(path: Path) -> list[str]:
    """The lines of a text, without blanks around them and without empty ones."""
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def share(name: str, parts: int) -> int:
    """A number below ``parts`` that follows from a name alone: its SHA-1, modulo ``parts``."""
    return int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(), 16) % parts
