"""A corpus as a folder of columns: opened in no time whatever its size, and shared by processes."""

import csv
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvssl.atomic import replacing, write_json
from mvssl.data.columns import Coded, Strings, read_column, write_column
from mvssl.data.corpus import Corpus, Problem
from mvssl.data.listing import SPLITS, CorpusError
from mvssl.data.shards import Shards

INDEX = "index.json"
SKIPPED = "skipped.csv"
VERSION = 1
_SHARD_COLUMNS = ("shard", "offset", "size", "checksum", "tracks", "stems")


def save_corpus(folder: Path, corpus: Corpus, **facts: Any) -> None:
    """Writes all that is known about a corpus, but not its audio, in one piece.

    Args:
        folder: Where to; shards of the corpus lie there already.
        corpus: The corpus. Without shards, its files are found as long as ``folder`` and they keep their
            places relative to each other.
        facts: Whatever else :func:`read_facts` shall find.
    """
    save_problems(folder / SKIPPED, corpus.problems)
    columns = new_columns(folder)
    for name, column in _columns(corpus).items():
        write_column(columns, name, column)
    described = {
        "name": corpus.name,
        "root": "." if corpus.audio else relative_root(corpus.root, folder),
        "task": corpus.task,
        "vocabulary": corpus.vocabulary,
        "tag_groups": dict(corpus.tag_groups),
        "excluded_tags": dict(corpus.excluded_tags),
        "factors": list(corpus.factors),
    }
    if corpus.audio is not None:
        audio = corpus.audio
        described["audio"] = {
            "files": audio.files, "format": audio.format, "sample_rate": audio.sample_rate,
        }  # fmt: skip
    finish(folder, columns, {**described, **facts})


def relative_root(root: Path, folder: Path) -> str:
    """How a folder of audio is found from that of an index."""
    return Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix()


def new_columns(folder: Path) -> Path:
    """An empty folder for columns; those in use stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    used = read_facts(folder)["columns"] if (folder / INDEX).is_file() else ""
    while (columns := folder / f"columns-{number}").name == used:
        number += 1
    shutil.rmtree(columns, ignore_errors=True)
    columns.mkdir()
    return columns


def finish(folder: Path, columns: Path, described: Mapping[str, Any]) -> None:
    """Makes a folder of columns the one in use, and removes the others."""
    write_json(folder / INDEX, {"version": VERSION, "columns": columns.name, **described})
    for other in folder.glob("columns-*"):
        if other != columns:
            shutil.rmtree(other, ignore_errors=True)


def _columns(corpus: Corpus) -> dict[str, Any]:
    codes = np.zeros(len(corpus), np.int8)
    for code, split in enumerate(SPLITS):
        codes[corpus.splits == split] = code
    columns = {
        "paths": corpus.paths,
        "seconds": corpus.seconds,
        "splits": Coded(codes, SPLITS),
        "targets": corpus.targets,
    }
    if isinstance(corpus.groups, np.ndarray):
        names, numbers = np.unique(corpus.groups, return_inverse=True)
        columns["groups"] = Coded(numbers.astype(np.int32), names.tolist())
    elif corpus.groups is not None:
        columns["groups"] = corpus.groups
    if corpus.stems is not None:
        columns["stems"] = Strings.of(corpus.stems.ravel().tolist())
    for number, values in enumerate(corpus.factors.values()):
        columns[f"factor-{number}"] = values
    if corpus.audio is not None:
        for name in _SHARD_COLUMNS:
            if (values := getattr(corpus.audio, name)) is not None:
                columns[f"audio.{name}"] = values
    return columns


def read_facts(folder: Path) -> dict[str, Any]:
    """What the index of a folder says.

    Raises:
        CorpusError: If it cannot be used.
    """
    file = folder / INDEX
    try:
        facts: dict[str, Any] = json.loads(file.read_bytes())
        version, columns = facts["version"], facts["columns"]
    except (ValueError, KeyError, TypeError):
        raise CorpusError(f"{file}: is not an index that mvssl wrote; prepare or index again") from None
    if version != VERSION:
        raise CorpusError(f"{file}: is of version {version}, and this mvssl reads {VERSION}; build it again")
    for name in (columns, *facts.get("audio", {}).get("files", ())):
        _require_name(file, name)
    return facts


def _require_name(file: Path, name: object) -> None:
    """An index that somebody else wrote must not lead elsewhere."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise CorpusError(f"{file}: {name!r} is not the name of a file beside it")


def load_corpus(folder: Path) -> Corpus:
    """Opens what :func:`save_corpus` wrote. Columns are memory-mapped: nothing is read yet.

    Raises:
        CorpusError: If the index cannot be used, or lacks a column.
    """
    facts = read_facts(folder)
    columns = folder / facts["columns"]
    try:
        corpus = Corpus(
            name=facts["name"],
            root=folder / facts["root"] if facts["root"] != "." else folder,
            paths=_strings(columns, "paths"),
            seconds=_numbers(columns, "seconds"),
            splits=_coded(columns, "splits"),
            vocabulary=tuple(facts["vocabulary"]),
            targets=_numbers(columns, "targets"),
            tag_groups={name: tuple(tags) for name, tags in facts["tag_groups"].items()},
            excluded_tags=facts["excluded_tags"],
            problems=load_problems(folder / SKIPPED),
            task=facts["task"],
        )
        groups = _coded(columns, "groups") if (columns / "groups.codes.npy").is_file() else None
        factors = {name: _array(columns, f"factor-{place}") for place, name in enumerate(facts["factors"])}
        audio = _shards(folder, columns, facts["audio"]) if "audio" in facts else None
        return replace(corpus, groups=groups, factors=factors, stems=_stems(columns, corpus), audio=audio)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise CorpusError(f"{folder / INDEX}: cannot be used ({error}); build it again") from None


def _array(columns: Path, name: str) -> NDArray[Any]:
    return np.asarray(read_column(columns, name))


def _numbers(columns: Path, name: str) -> NDArray[Any]:
    column = read_column(columns, name)
    assert isinstance(column, np.ndarray), f"{name} are no numbers"
    return column


def _strings(columns: Path, name: str) -> Strings:
    column = read_column(columns, name)
    assert isinstance(column, Strings), f"{name} are no strings"
    return column


def _coded(columns: Path, name: str) -> Coded:
    column = read_column(columns, name)
    assert isinstance(column, Coded), f"{name} are not coded"
    return column


def _stems(columns: Path, corpus: Corpus) -> NDArray[np.str_] | None:
    if not (columns / "stems.offsets.npy").is_file():
        return None
    return np.asarray(_strings(columns, "stems")).reshape(len(corpus), -1)


def _shards(folder: Path, columns: Path, facts: Mapping[str, Any]) -> Shards:
    def column(name: str) -> NDArray[Any] | None:
        known = (columns / f"audio.{name}.npy").is_file()
        return _numbers(columns, f"audio.{name}") if known else None

    return Shards(
        folder, tuple(facts["files"]), facts["format"], facts["sample_rate"],
        shard=_numbers(columns, "audio.shard"), offset=_numbers(columns, "audio.offset"),
        size=_numbers(columns, "audio.size"), checksum=column("checksum"),
        tracks=_numbers(columns, "audio.tracks"), stems=column("stems"),
    )  # fmt: skip


def save_problems(file: Path, problems: tuple[Problem, ...]) -> None:
    """Writes which files were left out, and why, in one piece."""
    with replacing(file) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "reason"])
        table.writerows((problem.path, problem.reason) for problem in problems)


def load_problems(file: Path) -> tuple[Problem, ...]:
    """What :func:`save_problems` wrote; nothing where there is no such file."""
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8", newline="") as stream:
        return tuple(Problem(path, reason) for path, reason in list(csv.reader(stream))[1:])
