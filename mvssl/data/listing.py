"""What a folder or a manifest says about its tracks, before any file is opened."""

import itertools
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mvssl.data.labels import Label, Labels, gather, read_label

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
SPLITS = ("train", "valid", "test")

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
_logger = logging.getLogger(__name__)


class CorpusError(ValueError):
    """A corpus, or what was asked of it, that cannot be used; the message says what to change."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Tracks in the order of their paths.

    Attributes:
        name: Of the folder or manifest.
        root: What ``paths`` are relative to.
        paths: One file per track.
        labels: Of each track, all of one kind; None when the corpus has none.
        splits: ``"train"``, ``"valid"`` or ``"test"`` for each track, or None when not given.
        groups: One group name per track (empty: none given), or None when no track has one.
        seconds: Durations where given, else None.
        stems: Files of the separated sources of each track, or None when no track has any.
    """

    name: str
    root: Path
    paths: list[str]
    labels: Labels | None
    splits: list[str] | None
    groups: list[str] | None
    seconds: list[float | None]
    stems: list[tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a manifest, checked; attributes are those of :class:`Listing`, but of one track."""

    number: int
    path: str
    label: Label | None
    split: str | None
    group: str | None
    seconds: float | None
    stems: tuple[str, ...]


def list_tracks(source: Path, field: str | None = None) -> Listing:
    """Lists a folder of audio, a folder with a ``manifest.jsonl``, or a manifest.

    Args:
        source: The folder or manifest.
        field: Of the manifest, which holds the labels; by default ``tags``, or else ``label``.

    Raises:
        CorpusError: If there is no such path or nothing usable in it, or a line of the manifest is wrong.
    """
    if source.is_dir():
        manifest = source / "manifest.jsonl"
        if manifest.is_file():
            return list_manifest(manifest, field)
        if field not in (None, "label"):
            raise CorpusError(f"{source}: there is no manifest.jsonl that could have {field!r}")
        return list_folder(source)
    if not source.exists():
        raise CorpusError(f"{source}: there is no such folder or manifest; check the path")
    if source.suffix != ".jsonl":
        raise CorpusError(
            f"{source}: neither a folder nor a manifest; give a folder of audio or a *.jsonl file"
        )
    return list_manifest(source, field)


def list_folder(folder: Path) -> Listing:
    """Lists the audio files of a folder and its sub-folders.

    When every file lies in one of at least two sub-folders, the names of those sub-folders are taken
    for classes, as in ``genres/blues/a.wav``.

    Raises:
        CorpusError: If there is no audio file.
    """
    paths = sorted(_audio_files(folder))
    if not paths:
        raise CorpusError(f"{folder}: no audio file in this folder (looked for {', '.join(AUDIO_SUFFIXES)})")
    parts = [path.split("/", 1) for path in paths]
    labels = sorted({part[0] for part in parts})
    labelled = len(labels) > 1 and all(len(part) == 2 for part in parts)
    if labelled:
        shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        _logger.info(
            "%s: the %d sub-folders (%s) are taken as classes; write a manifest.jsonl if they are not",
            folder,
            len(labels),
            shown,
        )
    return Listing(
        name=folder.resolve().name,
        root=folder,
        paths=paths,
        labels=gather("label", [part[0] for part in parts]) if labelled else None,
        splits=None,
        groups=None,
        seconds=[None] * len(paths),
    )


def list_manifest(manifest: Path, field: str | None = None) -> Listing:
    """Lists the tracks of a JSON Lines manifest.

    Each line is an object with ``audio_path`` (absolute, or relative to the manifest's folder) and, as
    far as known, ``tags`` (a list of strings) or ``label`` (a class), ``split``, ``group``, ``duration`` in
    seconds, and ``stems``, the files of separated sources: a list such as ``["stems/7_bass.wav", ...]`` or
    an object such as ``{"bass": "stems/7_bass.wav", ...}``. Tags win over a label; other keys are ignored,
    and null means not given.

    Labels may also stand in any other ``field``: a list of strings makes tags, a string a class, a number or
    an object such as ``{"valence": 0.3, "arousal": -1.2}`` numbers, and a string in ``key`` one of the 24
    keys.

    Raises:
        CorpusError: If a line is wrong, naming it, or if only some lines have labels or a split.
    """
    lines = list(manifest_lines(manifest, field))
    if not lines:
        raise CorpusError(f"{manifest}: the manifest is empty")
    return gather_lines(manifest, lines, name_of(manifest), manifest.parent, field)


def name_of(manifest: Path) -> str:
    """How the corpus of a manifest is called."""
    return manifest.parent.resolve().name if manifest.stem == "manifest" else manifest.stem


def gather_lines(manifest: Path, lines: list[Line], name: str, root: Path, field: str | None) -> Listing:
    """Lines of a manifest, which are put in the order of their paths, as columns.

    Raises:
        CorpusError: If two are of one file, or only some have labels or a split.
    """
    lines.sort(key=lambda line: line.path)
    for before, line in itertools.pairwise(lines):
        if before.path == line.path:
            raise CorpusError(
                f"{manifest}: {line.path} stands in line {before.number} and in line {line.number}; "
                "keep one of them"
            )
    lack = "neither tags nor label" if field is None else f"no {field}"
    labels = _all_or_none(manifest, lines, "label", lack, 'write "tags": [] where none apply')
    if labels is None and field is not None:
        raise CorpusError(f"{manifest}: no line has {field!r}")
    splits = _all_or_none(manifest, lines, "split", "no split", "give one to all lines or to none")
    groups = [line.group or "" for line in lines]
    return Listing(
        name=name,
        root=root,
        paths=[line.path for line in lines],
        labels=None if labels is None else _gathered(manifest, lines, labels, field),
        splits=splits,
        groups=groups if any(groups) else None,
        seconds=[line.seconds for line in lines],
        stems=[line.stems for line in lines] if any(line.stems for line in lines) else None,
    )


def _gathered(manifest: Path, lines: list[Line], labels: list[Label], field: str | None) -> Labels:
    try:
        return gather(field or "label", labels)
    except ValueError as error:
        text, _, place = str(error).rpartition(" [")
        number = lines[int(place.rstrip("]"))].number
        raise CorpusError(f"{manifest}, line {number}: {text}") from None


def manifest_lines(manifest: Path, field: str | None) -> Iterator[Line]:
    """Lines of a manifest in their own order.

    Raises:
        CorpusError: If a line is wrong, naming it.
    """
    folder = manifest.parent
    with manifest.open("rb") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                yield read_line(f"{manifest}, line {number}", number, text, folder, field)


def read_line(
    place: str,
    number: int,
    text: bytes,
    folder: Path,
    field: str | None,
    default: Mapping[str, Any] = MappingProxyType({}),
) -> Line:
    """One line of a manifest.

    Args:
        place: What an error calls it.
        number: Of the line.
        text: A JSON object.
        folder: What paths are relative to.
        field: As in :func:`list_tracks`.
        default: What holds where the object says nothing else.

    Raises:
        CorpusError: If it is wrong.
    """
    try:
        row = json.loads(text)
        if not isinstance(row, dict):
            raise ValueError(f"expected a JSON object, found {row!r}")
        return _parsed(number, {**default, **row}, folder, field)
    except ValueError as error:
        raise CorpusError(f"{place}: {_explained(error)}") from None


def _explained(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno}); each line is one JSON object"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return str(error)


def _parsed(number: int, row: dict[str, Any], folder: Path, field: str | None) -> Line:
    """One line of a manifest; a ValueError says what is wrong with it."""
    path, group, seconds = row.get("audio_path"), row.get("group"), row.get("duration")
    if not isinstance(path, str) or not path:
        raise ValueError(f"audio_path must be the path of a file, found {path!r}")
    if group is not None and not isinstance(group, str | int):
        raise ValueError(f"group must be a string, found {group!r}")
    if seconds is not None and not (
        isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    ):
        raise ValueError(f"duration must be a number of seconds above 0, found {seconds!r}")
    return Line(
        number=number,
        path=_relative(path, folder),
        label=_label(row, field),
        split=_split(row.get("split")),
        group=None if group is None else str(group),
        seconds=None if seconds is None else float(seconds),
        stems=tuple(_relative(stem, folder) for stem in _stems(row.get("stems"))),
    )


def _label(row: dict[str, Any], field: str | None) -> Label | None:
    for name in ("tags", "label") if field is None else (field,):
        if row.get(name) is not None:
            return read_label(name, row[name])
    return None


def _stems(stems: Any) -> list[str]:
    paths = list(stems.values()) if isinstance(stems, dict) else [] if stems is None else stems
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f"stems must be a list of paths, or an object of them, found {stems!r}")
    return paths


def _split(name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or name not in SPLIT_NAMES:
        raise ValueError(f"unknown split {name!r}; known are {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[name]


def _relative(path: str, folder: Path) -> str:
    """The path as a track is called: relative to the folder where it lies inside, with forward slashes."""
    normal = os.path.normpath(path)
    if os.path.isabs(normal):
        inside = os.path.relpath(normal, folder.absolute())
        normal = normal if inside.startswith(os.pardir) else inside
    return normal.replace(os.sep, "/")  # pathlib would take longer than all the rest of a line


def _all_or_none(manifest: Path, lines: list[Line], field: str, lack: str, fix: str) -> list[Any] | None:
    """One field of all lines, or None when no line has it; a mixture is an error."""
    values = [getattr(line, field) for line in lines]
    without = [line.number for line, value in zip(lines, values, strict=True) if value is None]
    if not without:
        return values
    if len(without) == len(lines):
        return None
    raise CorpusError(
        f"{manifest}: {len(without)} of {len(lines)} lines have {lack} (first line {min(without)}); {fix}"
    )


def _audio_files(folder: Path) -> Iterator[str]:
    """Paths relative to the folder; hidden files (such as macOS's ``._a.mp3``) are not audio."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix()
