"""A corpus: which tracks there are, how they are split, and what is known about them."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from mvssl.data.labels import Labels, constant_numbers, gather, read_label
from mvssl.data.listing import SPLITS, CorpusError, Listing, list_tracks
from mvssl.data.reading import AudioFileError, AudioReader
from mvssl.data.splitting import random_splits, same_files, unusable_tags, warn_about_leaks
from mvssl.registry import Registry

__all__ = ["Corpus", "CorpusError", "Problem", "corpora", "open_corpus"]

_T = TypeVar("_T")

_SHOWN = 3  # examples in a message
_logger = logging.getLogger(__name__)

corpora: Registry[Callable[..., "Corpus"]] = Registry("corpus")
"""Corpora with a name: functions ``(progress: bool = False) -> Corpus``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is left out.

    Attributes:
        path: As the corpus calls it.
        reason: What is wrong with it.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Usable tracks, in columns: one row of each array per track.

    No Python object stands for a track, so that forked data workers share the memory for good.

    Attributes:
        name: Short name for reports.
        root: Folder that ``paths`` are relative to.
        paths: (tracks,) file names relative to ``root`` with forward slashes; they identify the tracks.
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

    Raises:
        ValueError: If the columns do not fit together.
    """

    name: str
    root: Path
    paths: NDArray[np.str_]
    seconds: NDArray[np.float64]
    splits: NDArray[np.str_]
    vocabulary: tuple[str, ...]
    targets: NDArray[Any]
    groups: NDArray[np.str_] | None = None
    tag_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded_tags: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    stems: NDArray[np.str_] | None = None
    task: str = "tagging"

    def __post_init__(self) -> None:
        tracks = len(self.paths)
        columns = {"seconds": self.seconds, "splits": self.splits, "targets": self.targets}
        columns |= {f"factors[{name!r}]": values for name, values in self.factors.items()}
        if self.groups is not None:
            columns["groups"] = self.groups
        if self.stems is not None:
            columns["stems"] = self.stems
        for name, column in columns.items():
            if len(column) != tracks:
                raise ValueError(f"{name} has {len(column)} rows for {tracks} paths")
        if self.targets.shape != (tracks, len(self.vocabulary)):
            raise ValueError(f"targets has shape {self.targets.shape} for {len(self.vocabulary)} tags")
        unknown = set(self.splits.tolist()) - set(SPLITS)
        if unknown:
            raise ValueError(f"unknown splits {sorted(unknown)}; known are {', '.join(SPLITS)}")

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        counts = ", ".join(f"{(self.splits == split).sum()} {split}" for split in SPLITS)
        return (
            f"Corpus({self.name!r}: {len(self)} tracks ({counts}), {self.seconds.sum() / 3600:.1f} h, "
            f"{len(self.vocabulary)} tags, {len(self.problems)} files left out)"
        )

    def path(self, index: int) -> Path:
        """The file of one track."""
        return self.root / str(self.paths[index])

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
            paths=self.paths[rows],
            seconds=self.seconds[rows],
            splits=self.splits[rows],
            targets=self.targets[rows],
            groups=None if self.groups is None else self.groups[rows],
            factors={name: values[rows] for name, values in self.factors.items()},
            stems=None if self.stems is None else self.stems[rows],
        )

    def group_numbers(self) -> NDArray[np.int64] | None:
        """(tracks,) a number for each group, −1 where unknown; None when no track has a group."""
        if self.groups is None:
            return None
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
        sides = {split: [self.path(row) for row in self.indices(split)] for split in SPLITS}
        pairs = same_files(sides["train"] + sides["valid"], sides["test"])
        if pairs:
            raise CorpusError(
                f"{self.name}: {len(pairs)} test tracks are the same files as training or validation tracks "
                f"(first: {pairs[0][1]} is {pairs[0][0]}); leave each on one side"
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


def open_corpus(
    source: str | os.PathLike[str] | Corpus,
    *,
    min_seconds: float = 0.0,
    check: Literal["headers", "full"] = "headers",
    seed: int = 0,
    progress: bool = False,
) -> Corpus:
    """Opens a corpus and leaves out what cannot be used.

    A file that is missing, unreadable or too short is counted in ``problems``, and the rest is used.
    Without splits in the manifest, tracks are split about 70/10/20 at random, whole groups at a time;
    which files turn out to be bad or too short has no influence on the side of the others.

    Args:
        source: The name of a registered corpus; a folder of audio, searched recursively, where
            sub-folders are taken for classes (see :func:`mvssl.data.listing.list_folder`); a folder with
            a ``manifest.jsonl``; or a ``*.jsonl`` manifest (see
            :func:`mvssl.data.listing.list_manifest`). Behind a colon may stand the field that holds the
            labels: ``"songs.jsonl:emotion"``, ``"synthetic:bpm"``. ``tag_groups.json`` beside a manifest may
            name groups of tags: ``{"group": ["tag", ...]}``. A Corpus is returned as it is.
        min_seconds: Shorter tracks are left out.
        check: ``"headers"`` opens only files whose duration the manifest does not give; ``"full"``
            decodes every file once, stems too, and finds damaged files and NaN.
        seed: Of the random splits.
        progress: Whether to show a progress bar.

    Raises:
        CorpusError: If the source does not exist, holds no audio, has a wrong manifest line, or if no
            file can be used.
    """
    if isinstance(source, Corpus):
        return source
    if check not in ("headers", "full"):
        raise ValueError(f"check={check!r}: must be 'headers' or 'full'")
    place, labels = _parted(source)
    if place in corpora.names():
        corpus: Corpus = corpora.create(place, progress=progress)
        corpus = corpus if labels is None else _labelled_by(corpus, labels)
    else:
        corpus = _listed(list_tracks(Path(place).expanduser(), labels), seed)
    if labels is not None:
        corpus = replace(corpus, name=f"{corpus.name}:{labels}")
    seconds, reasons = _inspected(corpus, check, progress)
    for index in np.flatnonzero(seconds < min_seconds):
        reasons.setdefault(
            int(index), f"is {seconds[index]:.2f} s long, shorter than the {min_seconds:g} s that are needed"
        )
    return _usable(replace(corpus, seconds=seconds), reasons)


def _parted(source: str | os.PathLike[str]) -> tuple[str, str | None]:
    """A place, and the field that stands behind it after a colon."""
    place, _, name = os.fspath(source).rpartition(":")
    if place and name.isidentifier() and not Path(source).exists():
        return place, name
    return os.fspath(source), None


def _labelled_by(corpus: Corpus, factor: str) -> Corpus:
    """The corpus with one of its factors for labels."""
    if factor not in corpus.factors:
        known = f"; known are {', '.join(corpus.factors)}" if corpus.factors else ""
        raise CorpusError(f"{corpus.name} has no {factor!r}{known}")
    labels = gather(factor, [read_label(factor, value) for value in corpus.factors[factor].tolist()])
    return replace(
        corpus, vocabulary=labels.vocabulary, targets=labels.targets, task=labels.task, tag_groups={}
    )


def _listed(listing: Listing, seed: int) -> Corpus:
    """All listed tracks and tags, usable or not; unknown durations are NaN."""
    if listing.splits is None:
        splits = random_splits(listing.paths, listing.groups, seed)
    else:
        splits = listing.splits
        if listing.groups is not None:
            warn_about_leaks(listing.name, splits, listing.groups)
    labels = listing.labels or Labels("tagging", (), np.zeros((len(listing.paths), 0), bool))
    return Corpus(
        name=listing.name,
        root=listing.root,
        paths=np.array(listing.paths),
        seconds=np.array(listing.seconds, np.float64),  # None becomes NaN
        splits=np.array(splits),
        groups=None if listing.groups is None else np.array(listing.groups),
        stems=None if listing.stems is None else _table(listing.stems),
        vocabulary=labels.vocabulary,
        targets=labels.targets,
        tag_groups=_read_tag_groups(listing.root / "tag_groups.json", labels),
        task=labels.task,
    )


def _table(rows: Sequence[Sequence[str]]) -> NDArray[np.str_]:
    """Rows of different lengths as an array, with empty strings behind the shorter ones."""
    width = max(map(len, rows))
    return np.array([[*row, *[""] * (width - len(row))] for row in rows])


def _read_tag_groups(path: Path, labels: Labels) -> dict[str, tuple[str, ...]]:
    if labels.task != "tagging" or not path.is_file():
        return {}
    try:
        groups = json.loads(path.read_bytes())
        groups = {str(name): tuple(map(str, tags)) for name, tags in groups.items()}
    except (ValueError, AttributeError, TypeError):
        raise CorpusError(f'{path}: must be a JSON object such as {{"group": ["tag", "tag"]}}') from None
    unknown = sorted({tag for tags in groups.values() for tag in tags} - set(labels.vocabulary))
    if unknown:
        warnings.warn(f"{path}: no track has the tags {shortened(unknown)}", stacklevel=4)
    return groups


def _inspected(
    corpus: Corpus, check: Literal["headers", "full"], progress: bool
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Durations of all tracks (NaN where unreadable), and what is wrong with which."""
    seconds, reasons, to_open = corpus.seconds.copy(), {}, []
    for index in range(len(corpus)):
        try:
            empty = os.stat(corpus.path(index)).st_size == 0
        except OSError:
            reasons[index] = "there is no such file"
            continue
        if empty:
            reasons[index] = "is empty (0 bytes)"
        elif check == "full" or np.isnan(seconds[index]):
            to_open.append(index)

    def look(index: int) -> tuple[int, float, str]:
        try:
            with AudioReader(corpus.path(index)) as reader:
                if check == "full":
                    reader.verify()
                else:
                    reader.require_end()
                duration = reader.info.seconds
            for stem in corpus.stems_of(index) if check == "full" else ():
                with AudioReader(corpus.root / stem) as reader:
                    reader.verify()
            return index, duration, ""
        except AudioFileError as error:
            is_stem = Path(error.path) != corpus.path(index)
            return index, np.nan, f"its stem {error.path}: {error.reason}" if is_stem else error.reason

    # Threads are enough: libsndfile works outside of Python's lock.
    with ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2))) as pool:
        for index, found, reason in _with_bar(pool.map(look, to_open), len(to_open), progress):
            seconds[index] = found
            if reason:
                reasons[index] = reason
    return seconds, reasons


def _with_bar(results: Iterable[_T], total: int, progress: bool) -> Iterable[_T]:
    if not progress:
        return results
    from tqdm import tqdm

    return tqdm(results, total=total, desc="Checking audio", unit="file")


def _usable(corpus: Corpus, reasons: Mapping[int, str]) -> Corpus:
    """The corpus without the tracks that have a reason, and without the tags that this leaves unusable."""
    problems = tuple(Problem(str(corpus.paths[index]), reasons[index]) for index in sorted(reasons))
    examples = shortened([f"{problem.path}: {problem.reason}" for problem in problems])
    if len(problems) == len(corpus):
        raise CorpusError(f"{corpus.name}: none of its {len(corpus)} files can be used ({examples})")
    if problems:
        _logger.warning("%s: left out %d of %d files (%s)", corpus.name, len(problems), len(corpus), examples)
    usable = corpus.take(np.setdiff1d(np.arange(len(corpus)), list(reasons)))
    usable = replace(usable, problems=corpus.problems + problems)
    if corpus.task == "key":  # the 24 are judged together, whichever occur
        return usable
    find = constant_numbers if corpus.task == "regression" else unusable_tags
    unusable = find(corpus.vocabulary, usable.targets, usable.splits)
    return _without(usable, unusable) if unusable else usable


def _without(corpus: Corpus, unusable: Mapping[str, str]) -> Corpus:
    """The corpus without some columns."""
    kept = np.array([tag not in unusable for tag in corpus.vocabulary])
    vocabulary = tuple(tag for tag in corpus.vocabulary if tag not in unusable)
    groups = {
        name: tuple(tag for tag in tags if tag in vocabulary) for name, tags in corpus.tag_groups.items()
    }
    return replace(
        corpus,
        vocabulary=vocabulary,
        targets=corpus.targets[:, kept],
        tag_groups={name: tags for name, tags in groups.items() if tags},
        excluded_tags={**corpus.excluded_tags, **unusable},
    )


def shortened(items: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
