"""Indexing a manifest of any length once, in bounded memory, so that opening it takes no time."""

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from mvssl.data.columns import Coded, StringsFile, open_column, write_column
from mvssl.data.corpus import Problem
from mvssl.data.labels import Vocabulary, constant_numbers
from mvssl.data.listing import SPLITS, CorpusError, Line, manifest_lines, name_of
from mvssl.data.reader import AudioFileError
from mvssl.data.reading import AudioReader
from mvssl.data.saving import (
    INDEX,
    SKIPPED,
    finish,
    load_corpus,
    new_columns,
    read_facts,
    relative_root,
    save_problems,
)  # fmt: skip
from mvssl.data.splitting import assign_units, unusable_tags
from mvssl.data.threads import ahead, decoders

Check = Literal["none", "headers", "full"]

_T = TypeVar("_T")
_CHUNK = 2**14  # tracks that are in memory at a time
_logger = logging.getLogger(__name__)


def index_of(manifest: Path) -> Path:
    """Where the index of a manifest lies."""
    return manifest.with_suffix(".index")


def index_manifest(
    manifest: str | os.PathLike[str],
    field: str | None = None,
    check: Check = "headers",
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Writes columns of a manifest beside it, which :func:`mvssl.data.open_corpus` takes from then on.

    Opening a manifest reads every line and looks for every file. An index is opened in a second whatever its
    length, without looking for files, and all processes share its memory. It is used as long as the manifest
    stays as it is. Memory does not grow with the manifest but for some 40 bytes per track.

    Args:
        manifest: A ``*.jsonl`` manifest, see :func:`mvssl.data.listing.list_manifest`.
        field: Of the manifest, which holds the labels; by default ``tags``, or else ``label``.
        check: ``"headers"`` looks for every file and opens those whose duration the manifest does not give,
            ``"full"`` decodes every file, and ``"none"`` opens only those without a duration. What cannot be
            used is left out: ``skipped.csv`` in the index says why.
        seed: Of random splits, if the manifest gives none.
        progress: Whether to show progress bars.

    Returns:
        The folder of the index: ``a.index`` for ``a.jsonl``.

    Raises:
        CorpusError: If a line of the manifest is wrong, or no file can be used.
        OSError: If there is not enough room on the disk.
    """
    if check not in ("none", "headers", "full"):
        raise ValueError(f"check={check!r}: must be 'none', 'headers' or 'full'")
    manifest = Path(manifest)
    if manifest.suffix != ".jsonl" or not manifest.is_file():
        raise CorpusError(f"{manifest}: there is no such manifest; give a *.jsonl file")
    folder = index_of(manifest)
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"), TemporaryDirectory(dir=folder, prefix="draft-") as drafts:
        facts = {"size": manifest.stat().st_size, "mtime_ns": manifest.stat().st_mtime_ns, "field": field}
        with closing(sqlite3.connect(Path(drafts) / "tracks.sqlite", isolation_level=None)) as table:
            draft = _Draft(table, manifest, field)
            draft.fill(progress)
            splits, is_random = draft.splits(seed)
            seconds, reasons = draft.checked(check, progress)
            draft.write(folder, splits, seconds, reasons, {
                "manifest": facts, "check": check, "seed": seed if is_random else None,
            }, progress)  # fmt: skip
    return folder


def is_fresh(manifest: Path, field: str | None, seed: int) -> bool:
    """Whether there is an index of just this manifest, with these labels and splits."""
    folder = index_of(manifest)
    if not (folder / INDEX).is_file():
        return False
    facts, stat = read_facts(folder), manifest.stat()
    known = facts.get("manifest", {})
    if (known.get("size"), known.get("mtime_ns")) != (stat.st_size, stat.st_mtime_ns):
        _logger.warning("%s: is not used, as %s has changed since; index it again", folder, manifest.name)
        return False
    return bool(known.get("field") == field and facts.get("seed") in (None, seed))


class _Draft:
    """The lines of a manifest in the order of their paths, in a table on the disk."""

    def __init__(self, table: sqlite3.Connection, manifest: Path, field: str | None) -> None:
        self._table, self._manifest, self._field = table, manifest, field
        self._vocabulary = Vocabulary(field or "label")
        self._count = 0
        self._groups: list[str] = []
        table.execute("PRAGMA journal_mode=OFF")
        table.execute("PRAGMA synchronous=OFF")
        table.execute("PRAGMA cache_size=-100000")  # kB

    def fill(self, progress: bool) -> None:
        """Reads the manifest."""
        execute = self._table.execute
        execute("CREATE TABLE line (path, number, label, split, grp, seconds, stems)")
        lines = tqdm(
            manifest_lines(self._manifest, self._field), "Reading lines", unit="line", disable=not progress
        )
        for chunk in _chunks(lines):
            execute("BEGIN")
            self._table.executemany("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?)", map(self._row, chunk))
            execute("COMMIT")
            self._count += len(chunk)
        if not self._count:
            raise CorpusError(f"{self._manifest}: the manifest is empty")
        lack = "neither tags nor label" if self._field is None else f"no {self._field}"
        self._has_labels = self._all_or_none("label", lack, 'write "tags": [] where none apply')
        if not self._has_labels and self._field is not None:
            raise CorpusError(f"{self._manifest}: no line has {self._field!r}")
        self._has_splits = self._all_or_none("split", "no split", "give one to all lines or to none")
        execute("CREATE TABLE grp (code INTEGER PRIMARY KEY, name)")
        execute("INSERT INTO grp (name) SELECT DISTINCT grp FROM line ORDER BY grp")
        execute("CREATE INDEX by_name ON grp (name)")
        self._groups = [name for (name,) in execute("SELECT name FROM grp ORDER BY code")]
        execute(
            "CREATE TABLE track AS SELECT path, number, label, split, grp.code - 1 AS grp, seconds, stems "
            "FROM line JOIN grp ON line.grp = grp.name ORDER BY path"
        )
        execute("DROP TABLE line")
        twice = execute(
            "SELECT a.path, a.number, b.number FROM track a JOIN track b ON b.rowid = a.rowid + 1 "
            "WHERE a.path = b.path LIMIT 1"
        ).fetchone()
        if twice:
            first, second = sorted(twice[1:])
            raise CorpusError(
                f"{self._manifest}: {twice[0]} stands in line {first} and in line {second}; keep one of them"
            )

    def _row(self, line: Line) -> tuple[Any, ...]:
        if line.label is not None:
            try:
                self._vocabulary.add(line.label)
            except ValueError as error:
                raise CorpusError(f"{self._manifest}, line {line.number}: {error}") from None
        return (
            line.path, line.number,
            None if line.label is None else json.dumps(line.label),
            None if line.split is None else SPLITS.index(line.split),
            line.group or "", line.seconds, json.dumps(line.stems) if line.stems else None,
        )  # fmt: skip

    def _all_or_none(self, column: str, lack: str, fix: str) -> bool:
        without, first = self._table.execute(
            f"SELECT COUNT(*), MIN(number) FROM line WHERE {column} IS NULL"
        ).fetchone()
        if without not in (0, self._count):
            raise CorpusError(
                f"{self._manifest}: {without} of {self._count} lines have {lack} (first line {first}); {fix}"
            )
        return bool(without == 0)

    def splits(self, seed: int) -> tuple[NDArray[np.int8], bool]:
        """(tracks,) places in SPLITS, and whether they are random."""
        if self._has_splits:
            return self._numbers("split", np.int8), False
        codes = self._numbers("grp", np.int32)
        # As random_splits has them: first those without a group, by path, then groups by name.
        alone = codes == 0 if self._groups[0] == "" else np.zeros(len(codes), bool)
        sizes = np.bincount(codes, minlength=len(self._groups))[1 if alone.any() else 0 :]
        units = assign_units(np.concatenate([np.ones(alone.sum(), np.int64), sizes]), seed)
        of_groups = units[alone.sum() :]
        splits = np.empty(len(codes), np.int8)
        splits[alone] = units[: alone.sum()]
        splits[~alone] = of_groups[codes[~alone] - (1 if alone.any() else 0)]
        return splits, True

    def _numbers(self, column: str, kind: type[np.generic]) -> NDArray[Any]:
        rows = (value for (value,) in self._table.execute(f"SELECT {column} FROM track ORDER BY rowid"))
        return np.fromiter(rows, kind, self._count)

    def checked(self, check: Check, progress: bool) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Durations, NaN where unreadable, and what is wrong with which track."""
        seconds, reasons = np.empty(self._count), {}
        rows = self._table.execute("SELECT path, seconds, stems FROM track ORDER BY rowid")
        calls = (partial(_look, self._manifest.parent, check, *row) for row in rows)
        if check == "none":  # most need no thread
            found: Iterable[tuple[float, str]] = (call() for call in calls)
        else:
            found = ahead(calls, 4 * decoders())
        bar = tqdm(found, "Checking audio", self._count, unit="file", disable=not progress)
        for row, (duration, reason) in enumerate(bar):
            seconds[row] = duration
            if reason:
                reasons[row] = reason
        if len(reasons) == self._count:
            raise CorpusError(f"{self._manifest}: none of its {self._count} files can be used ({reasons[0]})")
        return seconds, reasons

    def write(
        self,
        folder: Path,
        splits: NDArray[np.int8],
        seconds: NDArray[np.float64],
        reasons: dict[int, str],
        facts: dict[str, Any],
        progress: bool,
    ) -> None:
        """Writes the columns of the tracks that can be used."""
        kept = np.ones(self._count, bool)
        kept[list(reasons)] = False
        columns = new_columns(folder)
        write_column(columns, "seconds", seconds[kept])
        sides = Coded(splits[kept], SPLITS)
        write_column(columns, "splits", sides)
        if self._groups != [""]:
            write_column(columns, "groups", Coded(self._numbers("grp", np.int32)[kept], self._groups))
        task, vocabulary, targets = self._write_tracks(columns, kept, progress)
        excluded = self._excluded(task, vocabulary, targets, sides)
        if excluded:
            usable = np.array([name not in excluded for name in vocabulary])
            _keep_columns(columns, targets, usable)
            vocabulary = tuple(name for name in vocabulary if name not in excluded)
        save_problems(folder / SKIPPED, self._problems(reasons))
        described = {
            "name": name_of(self._manifest),
            "root": relative_root(self._manifest.parent, folder),
            "task": task,
            "vocabulary": vocabulary,
            "tag_groups": {},
            "excluded_tags": excluded,
            "factors": [],
        }
        finish(folder, columns, {**described, **facts})
        load_corpus(folder)

    def _write_tracks(
        self, columns: Path, kept: NDArray[np.bool_], progress: bool
    ) -> tuple[str, tuple[str, ...], NDArray[Any]]:
        if self._vocabulary.numbers is not None:  # in the order of the first track
            first = self._table.execute("SELECT label FROM track WHERE rowid = 1").fetchone()[0]
            self._vocabulary.numbers = tuple(json.loads(first))
        stems = self._table.execute("SELECT MAX(json_array_length(stems)) FROM track").fetchone()[0] or 0
        task, names = self._vocabulary.task, self._vocabulary.names
        kind = np.float64 if task == "regression" else bool
        targets = open_column(columns, "targets", (int(kept.sum()), len(names)), kind)
        rows = self._table.execute("SELECT path, label, stems FROM track ORDER BY rowid")
        bar = tqdm(rows, "Writing columns", self._count, unit="track", disable=not progress)
        done = 0
        with StringsFile(columns, "paths", len(targets)) as paths:
            sources = StringsFile(columns, "stems", len(targets) * stems) if stems else None
            for chunk in _chunks(row for row, keep in zip(bar, kept, strict=True) if keep):
                labels = []
                for path, label, told in chunk:
                    paths.append(path)
                    labels.append(json.loads(label) if label else [])
                    if sources:
                        named = json.loads(told) if told else []
                        for name in named + [""] * (stems - len(named)):
                            sources.append(name)
                if names:
                    targets[done : done + len(chunk)] = self._vocabulary.targets(labels)
                done += len(chunk)
            if sources:
                sources.close()
        return task, names, targets

    def _excluded(
        self, task: str, vocabulary: tuple[str, ...], targets: NDArray[Any], splits: Coded
    ) -> dict[str, str]:
        if task == "key" or not vocabulary:
            return {}
        return (constant_numbers if task == "regression" else unusable_tags)(vocabulary, targets, splits)

    def _problems(self, reasons: dict[int, str]) -> tuple[Problem, ...]:
        select = "SELECT path FROM track WHERE rowid = ?"
        return tuple(
            Problem(self._table.execute(select, (row + 1,)).fetchone()[0], reason)
            for row, reason in sorted(reasons.items())
        )


def _keep_columns(columns: Path, targets: NDArray[Any], usable: NDArray[np.bool_]) -> None:
    fewer = open_column(columns, "fewer", (len(targets), int(usable.sum())), targets.dtype)
    for first in range(0, len(targets), _CHUNK):
        fewer[first : first + _CHUNK] = targets[first : first + _CHUNK, usable]
    os.replace(columns / "fewer.npy", columns / "targets.npy")


def _look(folder: Path, check: Check, path: str, told: float | None, stems: str | None) -> tuple[float, str]:
    """Seconds of a file, and what is wrong with it."""
    file, seconds = folder / path, np.nan if told is None else told
    try:
        if check == "headers" and told is not None:
            if os.stat(file).st_size == 0:
                return np.nan, "is empty (0 bytes)"
        elif check == "full" or told is None:
            seconds = _opened(file, check == "full")
    except OSError:
        return np.nan, "there is no such file"
    except AudioFileError as error:
        return np.nan, error.reason
    for stem in json.loads(stems) if stems and check == "full" else ():
        try:
            _opened(folder / stem, True)
        except AudioFileError as error:
            return np.nan, f"its stem {folder / stem}: {error.reason}"
    return seconds, ""


def _opened(file: Path, whole: bool) -> float:
    with AudioReader(file) as reader:
        if whole:
            reader.verify()
        else:
            reader.require_end()
        return reader.info.seconds


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    chunk: list[_T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
