"""Corpora of the field by name: what is known of each, where its files lie, and which tracks it lists.

A corpus is a module of :mod:`mvssl.data.published` that makes a :class:`NamedCorpus` and adds it to the
registry with :func:`add`. Nothing but its ``list_tracks`` knows the layout of its files.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvssl.data.corpus import Corpus, Problem, corpora
from mvssl.data.labels import Label, Labels, arrange
from mvssl.data.listing import CorpusError
from mvssl.data.splitting import random_splits, warn_about_leaks


@dataclass(frozen=True)
class Field:
    """One kind of labels that the tracks of a corpus have.

    Attributes:
        name: What stands behind the colon: ``"mtg_jamendo:moodtheme"``.
        task: One of ``mvssl.evaluation.tasks``.
        summary: What it says of a track.
        vocabulary: Names of its columns in their fixed order; None if the files of the corpus name them, and
            the order is the alphabetical one.
        size: Number of columns of the whole corpus; by default that of the vocabulary.
        unusable: Why its labels cannot be used as they are; the corpus then opens without labels.
    """

    name: str
    task: str
    summary: str
    vocabulary: tuple[str, ...] | None = None
    size: int | None = None
    unusable: str = ""

    @property
    def columns(self) -> int | None:
        """Number of columns; None if unknown before the files are read."""
        return self.size if self.vocabulary is None else len(self.vocabulary)


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Attributes:
        url: Where it is.
        file: Where it goes, below the folder of the corpus.
        checksum: ``"md5:…"``, ``"sha1:…"`` or ``"sha256:…"`` as published; empty if none is known.
        unpack: Folder below that of the corpus into which an archive is unpacked; None if it is no archive.
        part_of: Name of the archive that several files make when joined in their order.
    """

    url: str
    file: str
    checksum: str = ""
    unpack: str | None = None
    part_of: str = ""


@dataclass(frozen=True, slots=True)
class Track:
    """A line of what a corpus lists.

    Attributes:
        path: Relative to the folder of the corpus, with forward slashes.
        split: ``"train"``, ``"valid"`` or ``"test"``; empty if the corpus has no splits.
        label: Tags, a class, a key as in :data:`mvssl.data.labels.KEYS`, or numbers; None where unknown.
        group: Of tracks that belong together, such as an artist; empty where unknown.
        seconds: Duration where the corpus gives it.
        fault: Why it is left out, if it is.
    """

    path: str
    split: str
    label: Label | None = None
    group: str = ""
    seconds: float | None = None
    fault: str = ""


@dataclass(frozen=True)
class Place:
    """The folder where the files of a corpus lie.

    Attributes:
        root: The folder.
        corpus: Whose files they are, for messages.
    """

    root: Path
    corpus: "NamedCorpus"

    def file(self, *names: str) -> Path:
        """The first of some files that exists.

        Raises:
            CorpusError: If none does.
        """
        return self._first(names, Path.is_file)

    def folder(self, *names: str) -> str:
        """The first of some folders that exists, as a prefix of paths: ``"mp3/"``, or ``""`` for the root.

        Raises:
            CorpusError: If none does.
        """
        found = self._first(names, Path.is_dir).relative_to(self.root).as_posix()
        return "" if found == "." else f"{found}/"

    def _first(self, names: Sequence[str], exists: Callable[[Path], bool]) -> Path:
        for name in names:
            if exists(self.root / name):
                return self.root / name
        raise CorpusError(
            f"{self.root}: there is no {' or '.join(name or 'folder' for name in names)}, which "
            f"{self.corpus.name} has\n{self.corpus.how_to_get()}"
        )


@dataclass(frozen=True)
class NamedCorpus:
    """What is known of a published corpus, and how its files become a :class:`mvssl.data.Corpus`.

    Attributes:
        name: What users type.
        title: What papers call it.
        licence: Of the audio and the annotations.
        citation: The paper to cite, with its address.
        homepage: Where it is published.
        tracks: How many it has, before faulty ones are left out; None if unknown.
        hours: Of audio; None if unknown.
        gigabytes: On disk; None if unknown.
        fields: Kinds of labels; the first is the default.
        splits: Where the splits come from.
        instructions: What to fetch, from where, and where to put it.
        list_tracks: Lists all tracks with the labels of one field.
        remotes: What ``mvssl data download`` fetches.
        audio_by_hand: Whether that is without the audio.
        checksums: Published checksums of single audio files by path, where the corpus has them.
        known_faults: What is wrong with the published files, a line each.
        folder: Below the folder of all corpora; by default the name.
    """

    name: str
    title: str
    licence: str
    citation: str
    homepage: str
    tracks: int | None
    hours: float | None
    fields: tuple[Field, ...]
    splits: str
    instructions: str
    list_tracks: Callable[[Place, Field], Iterable[Track]]
    gigabytes: float | None = None
    remotes: tuple[Remote, ...] = ()
    audio_by_hand: bool = False
    checksums: Callable[[Place], Mapping[str, str]] | None = None
    known_faults: tuple[str, ...] = ()
    folder: str = ""

    def field(self, name: str | None = None) -> Field:
        """The field of a name, or the default one.

        Raises:
            CorpusError: If there is no such field.
        """
        for candidate in self.fields:
            if name in (None, candidate.name):
                return candidate
        known = ", ".join(candidate.name for candidate in self.fields)
        raise CorpusError(f"{self.name} has no {name!r}; known are {known}")

    def root(self, root: str | os.PathLike[str] | None = None) -> Path:
        """Where its files are looked for: ``root``, or its folder in :func:`data_folder`."""
        return data_folder() / (self.folder or self.name) if root is None else Path(root).expanduser()

    def place(self, root: str | os.PathLike[str] | None = None) -> Place:
        """The folder of its files.

        Raises:
            CorpusError: If there is none; the message says how to get the corpus.
        """
        found = self.root(root)
        if not found.is_dir():
            raise CorpusError(f"{found}: there is no such folder\n{self.how_to_get()}")
        return Place(found, self)

    def how_to_get(self) -> str:
        """Instructions for somebody who does not have it."""
        without = " (without the audio)" if self.audio_by_hand else ""
        command = f"\nOr: mvssl data download {self.name}{without}" if self.remotes else ""
        return (
            f"To get {self.title} ({self.homepage}; licence: {self.licence}):\n{self.instructions}{command}\n"
            f"Put the files into {self.root()} (MVSSL_DATA chooses the folder above), or say where they "
            f"lie: {self.name}@/path/to/folder"
        )

    def __call__(
        self,
        root: str | os.PathLike[str] | None = None,
        field: str | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> Corpus:
        """All listed tracks but those with known faults, which are in ``problems``; no audio is opened.

        Args:
            root: Where the files lie; by default :meth:`root`.
            field: Which labels; by default the first of ``fields``.
            seed: Of the random splits of a corpus that has none.
            progress: As other registered corpora have it; nothing here takes long.

        Raises:
            CorpusError: If the files are not there, with instructions, or not as they were published.
        """
        chosen, place = self.field(field), self.place(root)
        try:
            listed = sorted(self.list_tracks(place, chosen), key=lambda track: track.path)
        except CorpusError:
            raise
        except (LookupError, ValueError) as error:
            raise CorpusError(
                f"{place.root}: the tables of {self.name} are not as they were published ({error!r})"
            ) from error
        if chosen.task in ("key", "regression"):  # every row needs a target there
            listed = [_needing_a_label(track, chosen) for track in listed]
        problems = tuple(Problem(track.path, track.fault, known=True) for track in listed if track.fault)
        usable = [track for track in listed if not track.fault]
        if not usable:
            raise CorpusError(f"{place.root}: no track of {self.name} is listed\n{self.how_to_get()}")
        paths, groups = [track.path for track in usable], [track.group for track in usable]
        splits = [track.split for track in usable]
        if not all(splits):
            splits = random_splits(paths, groups if any(groups) else None, seed)
        elif any(groups):
            warn_about_leaks(self.name, splits, groups, f"so it was published ({self.splits})")
        labels = _labels(self.name, chosen, usable)
        return Corpus(
            name=self.name,
            root=place.root,
            paths=np.array(paths),
            seconds=np.array([track.seconds for track in usable], np.float64),  # None becomes NaN
            splits=np.array(splits),
            groups=np.array(groups) if any(groups) else None,
            vocabulary=labels.vocabulary,
            targets=labels.targets,
            excluded_tags=dict.fromkeys(chosen.vocabulary or (), chosen.unusable) if chosen.unusable else {},
            problems=problems,
            task=chosen.task,
        )


def data_folder() -> Path:
    """Where corpora lie, each in a folder of its name: ``$MVSSL_DATA``, or ``~/mvssl-data``."""
    return Path(os.environ.get("MVSSL_DATA", "~/mvssl-data")).expanduser()


def add(corpus: NamedCorpus) -> NamedCorpus:
    """Registers a corpus, with a summary for lists."""
    names = [field.name for field in corpus.fields]
    fields = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    size = f", {corpus.tracks:,} tracks" if corpus.tracks else ""
    summary = f"{corpus.title}{size}: {fields}."
    corpora.register(corpus.name, paper=corpus.citation.rpartition(" ")[2], summary=summary)(corpus)
    return corpus


def _needing_a_label(track: Track, field: Field) -> Track:
    return replace(track, fault=track.fault or f"has no {field.name}") if track.label is None else track


def _labels(name: str, field: Field, tracks: Sequence[Track]) -> Labels:
    if field.unusable:
        return Labels(field.task, (), np.zeros((len(tracks), 0), bool))
    try:
        return arrange([track.label for track in tracks], field.task, field.vocabulary)
    except ValueError as error:
        raise CorpusError(f"{name}:{field.name}: {error}; are these the original files?") from None


def named(name: str) -> NamedCorpus:
    """The registered published corpus of a name.

    Raises:
        ValueError: If there is none.
    """
    target: Any = corpora.entry(name).target
    if not isinstance(target, NamedCorpus):
        published = ", ".join(corpus.name for corpus in named_corpora())
        raise ValueError(f"{name!r} is no published corpus, there is nothing to get; those are {published}")
    return target


def named_corpora() -> list[NamedCorpus]:
    """All registered published corpora, by name."""
    targets: list[Any] = [corpora.entry(name).target for name in sorted(corpora.names())]
    return [target for target in targets if isinstance(target, NamedCorpus)]
