"""Crops of a track, and of the tracks and stems that go with it."""

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mvssl.data.corpus import Corpus, shortened
from mvssl.data.listing import CorpusError
from mvssl.data.reader import AudioFileError, Reader

_NAMES = {"train": "training tracks", "valid": "validation tracks", "test": "test tracks", None: "tracks"}
_LENGTHENED = {"pad": "followed by silence", "loop": "repeated"}

# A separated source rests for whole phrases. What a separator leaves of the others then is weaker than this.
_SILENCE = 1e-3  # root mean square: −60 dB of full scale
_STEM_DRAWS = 8


class CropSampler(Protocol):
    """Decides where the crop of each view comes from.

    Attributes:
        seconds: Length of each view's crop.
        sources: For each view, the number of the file it is from: 0 is the track, 1 and up are partners.
        partners: Whether partners are other tracks of its group or its stems; None where there are none.
        span: Duration that the crops fit into.
        short: What becomes of a file of less: left out, followed by silence, or repeated until they do.
        min_seconds: Duration of the shortest track that is not left out.
    """

    @property
    def seconds(self) -> tuple[float, ...]: ...

    @property
    def sources(self) -> tuple[int, ...]: ...

    @property
    def partners(self) -> Literal["group", "stems"] | None: ...

    @property
    def span(self) -> float: ...

    @property
    def short(self) -> Literal["drop", "pad", "loop"]: ...

    @property
    def min_seconds(self) -> float: ...

    def starts(self, duration: float, rng: np.random.Generator) -> tuple[float, ...]:
        """Where each crop begins in a file of ``duration`` seconds, at least the span; in seconds."""
        ...


class CropTransform(Protocol):
    """Transforms crops (batch, samples) of one view in place, by the keys of their examples."""

    def __call__(
        self, crops: NDArray[np.float32], sample_rate: int, view: int, keys: NDArray[np.uint64], /
    ) -> None: ...


def tracks_of(split: str | None) -> str:
    """How the tracks of a split are called."""
    return _NAMES[split]


def remarks(corpus: Corpus, sampler: CropSampler, split: str | None = "train") -> tuple[str, ...]:
    """What is special about crops of a split of a corpus, a sentence each.

    They count the tracks that are lengthened since they are too short for the views, and those that have no
    partner and make all views alone.

    Raises:
        CorpusError: If a track is too short and such tracks are to be left out, or if no track of the split
            has a partner although the sampler asks for some.
    """
    items = corpus.indices(split)
    found = []
    short = items[corpus.seconds[items] < sampler.span]
    if len(short):
        examples = shortened([f"{corpus.paths[item]} ({corpus.seconds[item]:.2f} s)" for item in short])
        counted = f"{len(short)} of {len(items)} {tracks_of(split)} are shorter than the {sampler.span:g} s"
        if sampler.short == "drop":
            raise CorpusError(
                f"{corpus.name}: {counted} that the views need: {examples}; open it with "
                f"min_seconds={sampler.min_seconds:g} or use shorter crops"
            )
        found.append(f"{counted} that the views need and are {_LENGTHENED[sampler.short]}: {examples}")
    if sampler.partners is not None:
        alone = ~_has_partner(corpus, items, sampler.partners)
        if alone.all():
            lacking = _LACKING[sampler.partners].format(tracks=tracks_of(split))
            raise CorpusError(f"{corpus.name}: {lacking}, or use another sampler")
        if alone.any():
            found.append(
                f"{alone.sum()} of {len(items)} {tracks_of(split)} have no {_PARTNERS[sampler.partners]}: "
                "all their views are crops of the track itself"
            )
    return tuple(found)


_PARTNERS = {"group": "other track of their group", "stems": "stems"}
_LACKING = {
    "group": "no two {tracks} have the same group; give 'group' (artist, album, playlist) in a manifest",
    "stems": "none of the {tracks} has stems; give 'stems' (files of separated sources) in a manifest",
}


def _has_partner(
    corpus: Corpus, items: NDArray[np.int64], partners: Literal["group", "stems"]
) -> NDArray[np.bool_]:
    if partners == "stems":
        none = np.zeros(len(items), bool)
        return none if corpus.stems is None else (corpus.stems[items] != "").any(1)
    numbers = corpus.group_numbers()
    if numbers is None:
        return np.zeros(len(items), bool)
    _, place, sizes = np.unique(numbers[items], return_inverse=True, return_counts=True)
    has_mate: NDArray[np.bool_] = (sizes[place] > 1) & (numbers[items] >= 0)
    return has_mate


class Cutter:
    """Cuts crops out of one open track at a time, each once, however many views it has.

    Args:
        sampler: Decides about the crops.
        sample_rate: Of the crops, in Hz.
    """

    def __init__(self, sampler: CropSampler, sample_rate: int) -> None:
        self._sampler, self._sample_rate = sampler, sample_rate
        self._seconds, self._span, self._least = sampler.seconds, sampler.span, sampler.min_seconds
        sources = np.array(sampler.sources)
        self.views = [np.flatnonzero(sources == number).tolist() for number in range(sources.max() + 1)]

    def cut(
        self,
        reader: Reader,
        views: list[int],
        rng: np.random.Generator,
        crops: Sequence[NDArray[np.float32]],
        said: float | None = None,
    ) -> None:
        """Reads the crops of some views.

        Args:
            reader: The open track.
            views: Numbers of the views.
            rng: What is random about them.
            crops: (samples,) for each view of all, which are filled in.
            said: Seconds of the track as far as the corpus knows.

        Raises:
            AudioFileError: If it cannot be read, or is too short and such tracks are left out.
        """
        duration = reader.seconds  # a manifest may have rounded its durations up
        if duration < self._least:
            known = "" if said is None else f" (the corpus says {said:.2f} s)"
            raise AudioFileError(
                reader.path,
                f"is {duration:.2f} s long{known}, shorter than the {self._least:g} s that the views need",
            )
        whole = self._lengthened(reader) if duration < self._span else None
        starts = self._sampler.starts(max(duration, self._span), rng)
        done: dict[tuple[float, float], NDArray[np.float32]] = {}
        for view in views:
            place = starts[view], self._seconds[view]
            if place in done:
                crops[view][:] = done[place]
            elif whole is None:
                reader.read(*place, self._sample_rate, out=crops[view])
            else:
                crops[view][:] = self._part(whole, starts[view], len(crops[view]))
            done[place] = crops[view]

    def _part(self, whole: NDArray[np.float32], start: float, samples: int) -> NDArray[np.float32]:
        first = min(round(start * self._sample_rate), len(whole) - samples)
        return whole[first : first + samples]

    def _lengthened(self, reader: Reader) -> NDArray[np.float32]:
        """All of a file, with silence or itself behind it."""
        audio = reader.read(sample_rate=self._sample_rate)
        samples = math.ceil(self._span * self._sample_rate)
        if self._sampler.short == "loop":
            return np.resize(audio, samples)
        return np.pad(audio, (0, samples - len(audio)))


class CropReader:
    """Reads the crops of one track of a corpus at a time, and of the tracks and stems that go with it.

    Args:
        corpus: The corpus.
        items: The rows among which other tracks of a group are found.
        sampler: Decides about the crops.
        sample_rate: Of the crops, in Hz.
    """

    def __init__(
        self, corpus: Corpus, items: NDArray[np.int64], sampler: CropSampler, sample_rate: int
    ) -> None:
        self._corpus, self._has_stems = corpus, sampler.partners == "stems"
        self._mates = _Mates(corpus, items) if sampler.partners == "group" else None
        self._cutter = Cutter(sampler, sample_rate)

    def read(self, item: int, rng: np.random.Generator, crops: Sequence[NDArray[np.float32]]) -> None:
        """Reads the crops of a row of the corpus into ``crops``, (samples,) for each view.

        Raises:
            AudioFileError: If a file cannot be read, or is too short and such files are left out; its
                ``path`` is the name by which the corpus knows it.
        """
        track, *others = self._cutter.views
        self._read(item, None, track, rng, crops)
        mates = [item] * len(others) if self._mates is None else self._mates.draw(item, len(others), rng)
        for views, mate in zip(others, mates, strict=True):
            if not self._read_stem(item, views, rng, crops):
                self._read(mate, None, views, rng, crops)

    def _read_stem(
        self, item: int, views: list[int], rng: np.random.Generator, crops: Sequence[NDArray[np.float32]]
    ) -> bool:
        """Whether a stem was to be read, and one that is not silent was found."""
        stems = len(self._corpus.stems_of(item)) if self._has_stems else 0
        for _ in range(_STEM_DRAWS if stems else 0):
            self._read(item, int(rng.integers(stems)), views, rng, crops)
            if np.square(crops[views[0]]).mean() > _SILENCE**2:
                return True
        return False

    def _read(
        self,
        item: int,
        stem: int | None,
        views: list[int],
        rng: np.random.Generator,
        crops: Sequence[NDArray[np.float32]],
    ) -> None:
        """Reads the crops of some views from a track, or from one of its stems."""
        corpus = self._corpus
        try:
            with corpus.open(item) if stem is None else corpus.open_stem(item, stem) as reader:
                self._cutter.cut(reader, views, rng, crops, corpus.seconds[item])
        except AudioFileError as error:
            name = str(corpus.paths[item]) if stem is None else corpus.stems_of(item)[stem]
            raise AudioFileError(name, error.reason) from None


class _Mates:
    """Finds tracks of one group among rows of a corpus; the work per track hardly grows with their number."""

    def __init__(self, corpus: Corpus, items: NDArray[np.int64]) -> None:
        numbers = corpus.group_numbers()
        assert numbers is not None  # else there were no remarks but an error
        order = np.lexsort((items, numbers[items]))
        self._rows, self._sorted, self._numbers = items[order], numbers[items][order], numbers

    def draw(self, item: int, count: int, rng: np.random.Generator) -> list[int]:
        """Rows of different other tracks; again the same ones if there are too few, or the item if none."""
        number = self._numbers[item]
        first, end = np.searchsorted(self._sorted, [number, number + 1])
        mates = end - first - 1
        if number < 0 or mates == 0:
            return [item] * count
        places = rng.choice(mates, min(count, mates), replace=False)
        own = np.searchsorted(self._rows[first:end], item)
        rows: list[int] = np.resize(self._rows[first + places + (places >= own)], count).tolist()
        return rows
