"""FMA, the Free Music Archive: clips of 30 s by genre, in three sizes, each of which contains the last."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mvssl.data.listing import CorpusError
from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_table

GENRES = (
    "Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop",
    "Instrumental", "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken",
)  # fmt: skip
SMALL_GENRES = (
    "Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock",
)  # fmt: skip

_SECONDS = {
    1486: 0, 5574: 0, 65753: 0, 80391: 0, 98558: 0, 98559: 0, 98560: 0, 98565: 1.6, 98566: 6.2, 98567: 0.5,
    98568: 6.6, 98569: 1.5, 98571: 0, 99134: 0, 105247: 0, 108924: 27.4, 108925: 0, 126981: 0, 127336: 0,
    133297: 0, 143992: 0,
}  # fmt: skip
"""Durations of clips that are shorter than 30 s, by track (the wiki of mdeff/fma, small and medium)."""

_SIZES = ("small", "medium", "large")
_SPLITS = {"training": "train", "validation": "valid", "test": "test"}
_COLUMNS = {
    "subset": ("set", "subset"),
    "split": ("set", "split"),
    "artist": ("artist", "id"),
    "genre": ("track", "genre_top"),
    "genres": ("track", "genres_all"),
}
_LONGEST_CELL = 2**24  # biographies are long


def _lister(size: str) -> Callable[[Place, Field], Iterator[Track]]:
    subsets = _SIZES[: _SIZES.index(size) + 1]

    def tracks(place: Place, field: Field) -> Iterator[Track]:
        folder = place.folder(*(f"fma_{other}" for other in _SIZES[_SIZES.index(size) :]))
        titles = {
            row["genre_id"]: row["title"]
            for row in read_table(place.file("fma_metadata/genres.csv", "genres.csv"), "genre_id", "title")
        }
        for number, row in _rows(place.file("fma_metadata/tracks.csv", "tracks.csv")):
            if row["subset"] in subsets:
                genres = tuple(titles[str(genre)] for genre in json.loads(row["genres"]))
                name = f"{number:06d}"
                yield Track(
                    path=f"{folder}{name[:3]}/{name}.mp3",
                    split=_SPLITS[row["split"]],
                    label=tuple(dict.fromkeys(genres)) if field.name == "genres" else row["genre"] or None,
                    group=row["artist"],
                    fault=f"is {_SECONDS[number]} s long instead of 30" if number in _SECONDS else "",
                )

    return tracks


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Numbers of tracks and the columns that are needed; names of columns stand in two lines."""
    with table.open(encoding="utf-8", newline="") as file, _long_cells():
        reader = csv.reader(file)
        heads = list(zip(next(reader, []), next(reader, []), strict=False))
        missing = [head for head in _COLUMNS.values() if head not in heads]
        if missing:
            raise CorpusError(f"{table}: there is no column {missing[0]}; is this the original file?")
        columns = {name: heads.index(head) for name, head in _COLUMNS.items()}
        for row in reader:
            if row and row[0].isdecimal():  # a third line holds nothing but "track_id"
                yield int(row[0]), {name: row[column] for name, column in columns.items()}


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


_HOST = "https://os.unil.cloud.switch.ch/fma/"
_SUMS = {
    "fma_metadata": "f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
    "fma_small": "ade154f733639d52e35e32f5593efe5be76c6d70",
    "fma_medium": "c67b69ea232021025fca9231fc1c7c1a063ab50b",
    "fma_large": "497109f4dd721066b5ce5e5f250ec604dc78939e",
}


def _corpus(size: str, tracks: int, gigabytes: float, fields: tuple[Field, ...]) -> NamedCorpus:
    return NamedCorpus(
        name=f"fma_{size}",
        title=f"FMA {size}",
        licence="each track under the licence that its artist chose; metadata CC BY 4.0",
        citation=(
            "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson: FMA: a dataset for music analysis. ISMIR "
            "2017. arXiv:1612.01840"
        ),
        homepage="https://github.com/mdeff/fma",
        tracks=tracks,
        hours=round(tracks / 120, 1),
        gigabytes=gigabytes,
        fields=fields,
        splits="published (set.split), about 80/10/10, artists apart",
        instructions=(
            f"Fetch fma_metadata.zip and fma_{size}.zip from {_HOST} and unpack both (7zip if unzip fails), "
            f"so that there are fma_metadata/tracks.csv, fma_metadata/genres.csv and fma_{size}/000/."
        ),
        list_tracks=_lister(size),
        remotes=tuple(
            Remote(f"{_HOST}{name}.zip", f"{name}.zip", f"sha1:{_SUMS[name]}", ".")
            for name in ("fma_metadata", f"fma_{size}")
        ),
        known_faults=("some clips are empty or short; those known of small and medium are left out",),
        folder="fma",
    )


_ALL = "all genres, down to the finest"

add(_corpus("small", 8_000, 7.7, (
    Field("genre", "classification", "one of eight genres", SMALL_GENRES),
    Field("genres", "tagging", _ALL),
)))  # fmt: skip
add(_corpus("medium", 25_000, 23.6, (
    Field("genre", "classification", "one of 16 genres", GENRES),
    Field("genres", "tagging", _ALL),
)))  # fmt: skip
add(_corpus("large", 106_574, 99.9, (
    Field("genres", "tagging", _ALL, size=161),
    Field("genre", "classification", "one of 16 genres, where a track has only one", GENRES),
)))  # fmt: skip
