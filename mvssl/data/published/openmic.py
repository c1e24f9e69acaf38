"""OpenMIC-2018: clips of 10 s where a few of 20 instruments are known to sound, or known not to.

Of the 20 labels of a clip most are unknown, and unknown is not absent: to take it for absent would count
correct answers as mistakes. So each instrument is a field of its own, ``openmic:piano``, of the clips where
somebody has listened for it. Without a field, all clips open without labels, for pre-training.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping

from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_lines, read_table, share

INSTRUMENTS = (
    "accordion", "banjo", "bass", "cello", "clarinet", "cymbals", "drums", "flute", "guitar",
    "mallet_percussion", "mandolin", "organ", "piano", "saxophone", "synthesizer", "trombone", "trumpet",
    "ukulele", "violin", "voice",
)  # fmt: skip

_PRESENT = 0.5  # relevance from which on an instrument counts as present, as in the authors' baseline
_VALID = 15  # percent of the artists of the training split


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    relevance: dict[str, dict[str, float]] = defaultdict(dict)
    table = place.file(
        "openmic-2018-aggregated-labels.csv", "openmic-2018/openmic-2018-aggregated-labels.csv"
    )
    for row in read_table(table, "sample_key", "instrument", "relevance"):
        relevance[row["sample_key"]][row["instrument"]] = float(row["relevance"])
    metadata = table.with_name("openmic-2018-metadata.csv")
    artists = {row["sample_key"]: row["artist_id"] for row in read_table(metadata, "sample_key", "artist_id")}
    folder = place.folder("openmic-2018/audio", "audio")
    for split in ("train", "test"):
        for key in read_lines(place.file(*(f"{above}partitions/split01_{split}.csv" for above in _ABOVE))):
            if field.unusable or field.name in relevance[key]:
                present = relevance[key].get(field.name, 0) >= _PRESENT
                artist = artists.get(key, "")
                valid = split == "train" and share(artist or key, 100) < _VALID
                yield Track(
                    path=f"{folder}{key[:3]}/{key}.ogg",
                    split="valid" if valid else split,
                    label=(field.name,) if present else (),
                    group=artist,
                )


def _checksums(place: Place) -> Mapping[str, str]:
    """MD5 of each clip, from the folder ``checksums`` of the archive, where it is."""
    folder = place.folder("openmic-2018/audio", "audio")
    table = place.root / folder.removesuffix("audio/") / "checksums" / "openmic-2018-audio.csv"
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {f"{folder}{key[:3]}/{key}.ogg": f"md5:{checksum}" for key, checksum in rows}


_ABOVE = ("", "openmic-2018/")

add(
    NamedCorpus(
        name="openmic",
        title="OpenMIC-2018",
        licence="CC BY 4.0 (annotations); each clip under its artist's Creative Commons licence",
        citation=(
            "E. Humphrey, S. Durand, B. McFee: OpenMIC-2018: an open dataset for multiple instrument "
            "recognition. ISMIR 2018. https://zenodo.org/record/1492445"
        ),
        homepage="https://zenodo.org/record/1432913",
        tracks=20_000,
        hours=55.6,
        fields=(
            Field(
                "clips", "tagging", "no labels: all clips, for pre-training", INSTRUMENTS,
                unusable="known on some clips only: open one instrument, such as openmic:piano",
            ),
            *(
                Field(name, "tagging", "whether it sounds, on the clips where that is known", (name,))
                for name in INSTRUMENTS
            ),
        ),
        splits=(
            "published split01: 14,915/5,085; about 15 % of the artists of the training split are for "
            "validation, by the SHA-1 of their number"
        ),
        instructions=(
            "Fetch openmic-2018-v1.0.0.tgz from https://zenodo.org/record/1432913 and unpack it, so that "
            "there are openmic-2018/audio/, openmic-2018/partitions/split01_train.csv, "
            "openmic-2018/openmic-2018-aggregated-labels.csv and openmic-2018/openmic-2018-metadata.csv."
        ),
        list_tracks=_tracks,
        remotes=(
            Remote(
                "https://zenodo.org/record/1432913/files/openmic-2018-v1.0.0.tgz?download=1",
                "openmic-2018-v1.0.0.tgz", "md5:e4ccf187e2bb5ab2e115416e8aafe7f4", ".",
            ),
        ),
        checksums=_checksums,
        known_faults=("most instruments of a clip are unknown, neither present nor absent",),
    )
)  # fmt: skip
