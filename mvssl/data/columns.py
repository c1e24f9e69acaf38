"""Columns of a corpus that stay on the disk: memory-mapped, and shared by all processes that read them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64] | NDArray[np.bool_] | slice | list[int]


class Strings:
    """A column of strings, decoded when they are asked for.

    One number gives a string; several rows give a NumPy array of strings; :meth:`take` gives another column.

    Args:
        blob: (bytes,) uint8, UTF-8 of all strings.
        offsets: (strings + 1,) int64, where each begins in ``blob``; the last is the end of the last.
        rows: Which of them are meant, in this order; by default all.
    """

    def __init__(
        self, blob: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.int64] | None = None
    ) -> None:
        self._blob, self._offsets, self._rows = blob, offsets, rows

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Strings":
        """A column in memory."""
        encoded = [string.encode() for string in strings]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: Rows) -> NDArray[np.str_]: ...
    def __getitem__(self, rows: int | np.integer | Rows) -> str | NDArray[np.str_]:
        if isinstance(rows, int | np.integer):
            row = range(len(self))[rows] if self._rows is None else self._rows[rows]
            return self._blob[self._offsets[row] : self._offsets[row + 1]].tobytes().decode()
        return np.array(list(self.take(rows)), np.str_)

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self)):
            yield self[row]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tolist(), np.str_ if dtype is None else dtype)

    def save(self, folder: Path, name: str) -> None:
        """Writes the column, as :func:`write_column` does."""
        if self._rows is None:
            np.save(folder / f"{name}.offsets.npy", self._offsets)
            self._blob.tofile(folder / f"{name}.utf8")
            return
        with StringsFile(folder, name, len(self)) as file:
            for string in self:
                file.append(string)

    def take(self, rows: Rows) -> "Strings":
        """The column of some of its rows, which shares their bytes."""
        own = np.arange(len(self)) if self._rows is None else self._rows
        return Strings(self._blob, self._offsets, own[rows])

    def tolist(self) -> list[str]:
        """All of them."""
        return list(self)


class Coded:
    """A column of few different strings, kept as numbers.

    One number gives a string; several rows give a NumPy array of strings; :meth:`take` gives another column.

    Args:
        codes: (rows,) integers, places in ``names``.
        names: The different strings.
    """

    def __init__(self, codes: NDArray[Any], names: Sequence[str] | Strings) -> None:
        self.codes, self.names = codes, names

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: Rows) -> NDArray[np.str_]: ...
    def __getitem__(self, rows: int | np.integer | Rows) -> str | NDArray[np.str_]:
        if isinstance(rows, int | np.integer):
            return self.names[int(self.codes[rows])]
        different, places = np.unique(self.codes[rows], return_inverse=True)
        return np.array([self.names[int(code)] for code in different], np.str_)[places]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def __eq__(self, name: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """(rows,) where the column has this name."""
        places = [place for place, known in enumerate(self.names) if known == name]
        found: NDArray[np.bool_] = self.codes == (places[0] if places else -1)
        return found

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: Rows) -> "Coded":
        """The column of some of its rows, with the same names."""
        return Coded(self.codes[rows], self.names)

    def tolist(self) -> list[str]:
        """All of them."""
        return [] if not len(self) else self[:].tolist()


Column = NDArray[Any] | Strings | Coded
"""What stands in one place for every track."""

Names = NDArray[np.str_] | Strings
"""Such as the paths of a corpus."""


def write_column(folder: Path, name: str, column: Column) -> None:
    """Writes a column: a NumPy file, and for strings a second one with their bytes."""
    if isinstance(column, Coded):
        write_column(folder, f"{name}.codes", column.codes)
        write_column(folder, f"{name}.names", Strings.of(column.names))
    elif isinstance(column, np.ndarray) and column.dtype.kind != "U":
        np.save(folder / f"{name}.npy", column)
    else:
        (column if isinstance(column, Strings) else Strings.of(map(str, column))).save(folder, name)


def read_column(folder: Path, name: str) -> Column:
    """Maps a column that :func:`write_column` wrote.

    Raises:
        OSError: If it is not there.
        ValueError: If its files do not fit together.
    """
    if (folder / f"{name}.codes.npy").is_file():
        names = read_column(folder, f"{name}.names")
        assert isinstance(names, Strings)
        return Coded(_mapped(folder / f"{name}.codes.npy"), names)
    if not (folder / f"{name}.offsets.npy").is_file():
        return _mapped(folder / f"{name}.npy")
    offsets = _mapped(folder / f"{name}.offsets.npy")
    file = folder / f"{name}.utf8"
    if file.stat().st_size != offsets[-1]:
        raise ValueError(f"{file}: is not as long as {name}.offsets.npy says; build it again")
    blob = np.memmap(file, np.uint8, "r") if offsets[-1] else np.empty(0, np.uint8)
    return Strings(np.asarray(blob), offsets)


def _mapped(file: Path) -> NDArray[Any]:
    # Without NumPy's subclass, each slice of which would cost a microsecond more.
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


class StringsFile:
    """Writes a column of so many strings, one after the other.

    Args:
        folder: Where to.
        name: Of the column.
        count: How many will be appended.
    """

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._blob = (folder / f"{name}.utf8").open("wb")
        self._offsets = open_column(folder, f"{name}.offsets", (count + 1,), np.int64)
        self._offsets[0] = 0
        self._row = self._end = 0

    def __enter__(self) -> "StringsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Completes the column."""
        self._blob.close()

    def append(self, string: str) -> None:
        """Writes the next one."""
        self._row += 1
        self._end += self._blob.write(string.encode())
        self._offsets[self._row] = self._end


def open_column(folder: Path, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A new column of numbers on the disk, to be filled in."""
    if 0 in shape:  # nothing to map
        column = np.empty(shape, dtype)
        np.save(folder / f"{name}.npy", column)
        return column
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
