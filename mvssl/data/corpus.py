"""A corpus: which tracks there are, how they are split, and what is known about them."""

import filecmp
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvssl.data.columns import Coded, Names
from mvssl.data.listing import SPLITS, CorpusError
from mvssl.data.reader import AudioFileError, Reader
from mvssl.data.reading import AudioReader
from mvssl.data.shards import Shards
from mvssl.data.splitting import file_sample, same_tracks
from mvssl.registry import Registry

_SHOWN = 3  # examples in a message

corpora: Registry[Callable[..., "Corpus"]] = Registry(
    "corpus", group="mvssl.corpora", package="mvssl.data.published"
)
"""Corpora with a name: functions ``(progress: bool = False) -> Corpus``, or a
:class:`mvssl.data.named.NamedCorpus`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is left out.

    Attributes:
        path: As the corpus calls it.
        reason: What is wrong with it.
        known: Whether a published corpus is known for it; no other copy would help.
    """

    path: str
    reason: str
    known: bool = False


@dataclass(frozen=True, eq=False)
class Corpus:
    """Usable tracks, in columns: one row of each array per track.

    No Python object stands for a track, so that forked data workers share the memory for good.

    Attributes:
        name: Short name for reports.
        root: Folder that ``paths`` are relative to.
        paths: (tracks,) file names relative to ``root`` with forward slashes; they identify the tracks. This
            and the other columns of strings may be memory-mapped, see :mod:`mvssl.data.columns`.
        seconds: (tracks,) float64 durations.
        splits: (tracks,) ``"train"``, ``"valid"`` or ``"test"``.
        vocabulary: Usable tags.
        targets: (tracks, tags) bool, or float64 numbers; (tracks, 0) without labels.
        task: What the targets are, one of ``mvssl.evaluation.tasks``: ``"tagging"``, ``"classification"`` and
            ``"key"`` (one tag per track, the names of the classes being the vocabulary), or ``"regression"``.
        groups: (tracks,) names such as artists, empty where unknown; None when no track has one.
        tag_groups: Named groups of tags from the vocabulary.
        excluded_tags: Tags that cannot be learned or tested, with the reason.
        problems: Files that were left out.
        factors: Known causes of the sound by name, each an array with one row per track.
        stems: (tracks, stems) files of separated sources, named like ``paths``, empty where a track has
            fewer; None when no track has one.
        audio: The shards that hold the audio; None where ``paths`` and ``stems`` are files.

    Raises:
        ValueError: If the columns do not fit together.
    """

    name: str
    root: Path
    paths: Names
    seconds: NDArray[np.float64]
    splits: NDArray[np.str_] | Coded
    vocabulary: tuple[str, ...]
    targets: NDArray[Any]
    groups: NDArray[np.str_] | Coded | None = None
    tag_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded_tags: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    stems: NDArray[np.str_] | None = None
    task: str = "tagging"
    audio: Shards | None = None

    def __post_init__(self) -> None:
        tracks = len(self.paths)
        columns: dict[str, Sized] = {"seconds": self.seconds, "splits": self.splits, "targets": self.targets}
        columns |= {f"factors[{name!r}]": values for name, values in self.factors.items()}
        if self.groups is not None:
            columns["groups"] = self.groups
        if self.stems is not None:
            columns["stems"] = self.stems
        if self.audio is not None:
            columns["audio"] = self.audio.tracks
        for name, column in columns.items():
            if len(column) != tracks:
                raise ValueError(f"{name} has {len(column)} rows for {tracks} paths")
        if self.targets.shape != (tracks, len(self.vocabulary)):
            raise ValueError(f"targets has shape {self.targets.shape} for {len(self.vocabulary)} tags")
        known = sum(int((self.splits == split).sum()) for split in SPLITS)
        if known < tracks:
            unknown = sorted(set(self.splits.tolist()) - set(SPLITS))
            raise ValueError(f"unknown splits {unknown}; known are {', '.join(SPLITS)}")

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        counts = ", ".join(f"{(self.splits == split).sum()} {split}" for split in SPLITS)
        return (
            f"Corpus({self.name!r}: {len(self)} tracks ({counts}), {self.seconds.sum() / 3600:.1f} h, "
            f"{len(self.vocabulary)} tags, {len(self.problems)} files left out)"
        )

    def path(self, index: int) -> Path:
        """The file of one track; with shards, a name only."""
        return self.root / str(self.paths[index])

    def open(self, index: int) -> Reader:
        """Opens the audio of one track.

        Raises:
            AudioFileError: If it cannot be read.
        """
        return AudioReader(self.path(index)) if self.audio is None else self.audio.open(index)

    def open_stem(self, index: int, number: int) -> Reader:
        """Opens a separated source of one track, by its place in :meth:`stems_of`.

        Raises:
            AudioFileError: If it cannot be read.
        """
        if self.audio is None:
            return AudioReader(self.root / self.stems_of(index)[number])
        return self.audio.open_stem(index, number)

    def read(self, index: int, sample_rate: int | None = None) -> NDArray[np.float32]:
        """All audio of one track, as :func:`mvssl.data.read_audio` reads it.

        Raises:
            AudioFileError: If it cannot be read.
        """
        try:
            with self.open(index) as reader:
                return reader.read(sample_rate=sample_rate)
        except AudioFileError as error:
            raise AudioFileError(self.path(index), error.reason) from None

    def sample(self, index: int) -> bytes:
        """What tells a track's audio from most others at little cost."""
        return file_sample(self.path(index)) if self.audio is None else self.audio.sample(index)

    def stems_of(self, index: int) -> list[str]:
        """Files of the separated sources of one track, relative to ``root``."""
        return [] if self.stems is None else [str(stem) for stem in self.stems[index] if stem]

    def indices(self, split: str | None) -> NDArray[np.int64]:
        """Rows of one split, or all rows for None.

        Raises:
            CorpusError: If there is no such split.
        """
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        if split not in SPLITS:
            raise CorpusError(f"unknown split {split!r}; known are {', '.join(SPLITS)}")
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def take(self, rows: NDArray[np.int64]) -> "Corpus":
        """The corpus of some of its tracks, in the given order, with the same tags."""
        return replace(
            self,
            paths=self.paths.take(rows),
            seconds=self.seconds[rows],
            splits=self.splits.take(rows),
            targets=self.targets[rows],
            groups=None if self.groups is None else self.groups.take(rows),
            factors={name: values[rows] for name, values in self.factors.items()},
            stems=None if self.stems is None else self.stems[rows],
            audio=None if self.audio is None else self.audio.take(rows),
        )

    def group_numbers(self) -> NDArray[np.int64] | None:
        """(tracks,) a number for each group, −1 where unknown; None when no track has a group."""
        if self.groups is None:
            return None
        if isinstance(self.groups, Coded):  # its names are sorted
            numbers = self.groups.codes
            return np.where(numbers == 0, -1, numbers) if self.groups.names[0] == "" else numbers
        names, numbers = np.unique(self.groups, return_inverse=True)
        return np.where(names[numbers] == "", -1, numbers).astype(np.int64)

    def require_groups(self) -> None:
        """Checks that a pretext can learn from the groups of training tracks.

        Raises:
            CorpusError: If no two of them are of one group.
        """
        numbers = self.group_numbers()
        known = [] if numbers is None else numbers[(self.splits == "train") & (numbers >= 0)]
        if len(np.unique(known)) == len(known):
            raise CorpusError(
                f"{self.name}: no two training tracks have the same group; give 'group' (artist, album, "
                "playlist) in a manifest, or use a pretext that needs no groups"
            )

    def labelled(self) -> "Corpus":
        """The corpus as probes can be trained, chosen and tested on it.

        That is this corpus, if labels are classes without the tracks of those that are not usable.

        Raises:
            CorpusError: If there are no labels, a split is empty, or no tag is usable.
        """
        self._require_labels()
        rows = self.labelled_rows()
        if len(rows) == len(self):
            return self
        gone = np.setdiff1d(np.arange(len(self)), rows)
        problems = tuple(Problem(str(self.paths[row]), "its class is not usable") for row in gone)
        kept = replace(self.take(rows), problems=self.problems + problems)
        kept._require_labels()
        return kept

    def labelled_rows(self) -> NDArray[np.int64]:
        """Rows of the tracks of :meth:`labelled`."""
        return np.flatnonzero((self.task != "classification") | self.targets.any(axis=1))

    def require_apart(self) -> None:
        """Checks that no test track is a training or validation track under another name.

        Raises:
            CorpusError: If there is one.
        """
        test = self.indices("test")
        pairs = same_tracks(np.setdiff1d(np.arange(len(self)), test), test, self.sample, self._same)
        if pairs:
            first, second = (self.path(row) for row in pairs[0])
            raise CorpusError(
                f"{self.name}: {len(pairs)} test tracks are the same files as training or validation tracks "
                f"(first: {second} is {first}); leave each on one side"
            )

    def _require_labels(self) -> None:
        if not self.vocabulary and not self.excluded_tags:
            raise CorpusError(
                f"{self.name}: no labels; give 'tags' or 'label' in a manifest, or one sub-folder per class"
            )
        for split in SPLITS:
            if not (self.splits == split).any():
                raise CorpusError(
                    f"{self.name}: the {split} split is empty; add tracks (without splits in the manifest, "
                    "three tracks or groups are enough to fill all three)"
                )
        if not self.vocabulary:
            reasons = [f"{tag!r} is {reason}" for tag, reason in self.excluded_tags.items()]
            raise CorpusError(
                f"{self.name}: no usable tag ({shortened(reasons)}); a tag must be on some, but not on all, "
                "tracks of the train and of the test split"
            )

    def _same(self, row: int, other: int) -> bool:
        """Whether the audio of two tracks is the same to the bit."""
        if self.audio is None:
            return filecmp.cmp(self.path(row), self.path(other), shallow=False)
        return np.array_equal(self.audio.data(row), self.audio.data(other))

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the tracks, their splits, tags or durations.

        Neither the order of the tracks nor the place of the corpus on the disk matters.
        """
        order = np.argsort(self.paths)
        columns = (self.paths[order], self.splits[order], self.vocabulary)
        digest = hashlib.blake2b(
            json.dumps([list(map(str, column)) for column in columns]).encode(), digest_size=8
        )
        digest.update(self.targets[order].tobytes())
        digest.update(np.round(self.seconds[order] * 1000).astype(np.int64).tobytes())
        return digest.hexdigest()


def shortened(items: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
