"""EmoMusic, also called "1000 songs": clips of 45 s, and how arousing and pleasant listeners found them."""

from collections.abc import Iterator

from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_table, share

_SET = "Mediaeval 2013 set"


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    means = {
        row["song_id"]: {
            "arousal": float(row["mean_arousal"]),
            "valence": float(row["mean_valence"]),
        }
        for row in read_table(
            place.file("static_annotations.csv", "annotations/static_annotations.csv"),
            "song_id", "mean_arousal", "mean_valence",
        )
    }  # fmt: skip
    folder = place.folder("clips_45seconds")
    for row in read_table(
        place.file("songs_info.csv", "annotations/songs_info.csv"), "song_id", "Artist", _SET
    ):
        artist = plain_name(row["Artist"])
        development = "train" if share(artist, 10) < 8 else "valid"
        split = "test" if row[_SET] == "evaluation" else development
        label = means.get(row["song_id"])
        yield Track(f"{folder}{int(row['song_id'])}.mp3", split, label, group=artist)


def plain_name(artist: str) -> str:
    """Small ASCII letters and single blanks only, so that spellings of an artist agree."""
    kept = "".join(sign for sign in artist.lower() if sign.isascii() and (sign.isalpha() or sign.isspace()))
    return " ".join(kept.split())


_HOST = "http://cvml.unige.ch/databases/emoMusic/"

add(
    NamedCorpus(
        name="emomusic",
        title="EmoMusic (1000 songs)",
        licence="see the homepage; the songs are from the Free Music Archive, under their artists' licences",
        citation=(
            "M. Soleymani, M. N. Caro, E. M. Schmidt, C.-Y. Sha, Y.-H. Yang: 1000 songs for emotional "
            "analysis of music. CrowdMM 2013. https://doi.org/10.1145/2506364.2506365"
        ),
        homepage="http://cvml.unige.ch/databases/emoMusic/",
        tracks=744,
        hours=9.3,
        fields=(
            Field(
                "emotion", "regression", "means, on scales from 1 to 9", ("arousal", "valence")
            ),
        ),
        splits=(
            "MediaEval 2013: 619 for development, 125 for evaluation; of the former, two tenths of the "
            "artists are for validation, by SHA-1 as in Castellon et al. 2021 and MARBLE: 504/115/125"
        ),
        instructions=(
            f"Fetch clips_45sec.tar.gz and annotations.tar.gz from {_HOST} (which may ask for a form) and "
            "unpack both, so that there are clips_45seconds/2.mp3, static_annotations.csv and songs_info.csv."
        ),
        list_tracks=_tracks,
        remotes=(
            Remote(
                f"{_HOST}clips_45sec.tar.gz", "clips_45sec.tar.gz",
                "sha256:3994a5d5fefc27f9540d1a69cd7f1294c68e6cb311ce49765021e2e9c7a1057b", ".",
            ),
            Remote(
                f"{_HOST}annotations.tar.gz", "annotations.tar.gz",
                "sha256:e0cb0b06e1b0ce7f04b1572fc410937699b7fad9dae67ddaa745f06cda4b0b33", ".",
            ),
        ),
        known_faults=(
            "256 of the first 1,000 songs were duplicates; the annotations are without them",
            "53 of 409 artists are in more than one split",
        ),
    )
)  # fmt: skip
