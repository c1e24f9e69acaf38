"""MTG-Jamendo: whole tracks with the tags of those who uploaded them, in the published split 0."""

from collections.abc import Iterator, Mapping

from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_lines

_FILES = {
    "top50": "autotagging_top50tags",
    "genre": "autotagging_genre",
    "instrument": "autotagging_instrument",
    "moodtheme": "autotagging_moodtheme",
}
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_AUDIO = ("audio-low", "audio", "raw_30s/audio-low", "raw_30s/audio", "mp3", "")
_PATH, _SECONDS, _FIRST_TAG = 3, 4, 5  # columns; tags fill the rest of a line
_ROUNDING = 0.1  # of published durations, in seconds: a crop must not end behind the end


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    """The tracks that have tags of a kind; their group is the artist."""
    folder, suffix = _audio(place)
    for name, split in _SPLITS.items():
        file = f"splits/split-0/{_FILES[field.name]}-{name}.tsv"
        for line in read_lines(place.file(f"data/{file}", file))[1:]:
            cells = line.split("\t")
            yield Track(
                path=folder + cells[_PATH].removesuffix(".mp3") + suffix,
                split=split,
                label=tuple(cells[_FIRST_TAG:]),
                group=cells[1],
                seconds=max(float(cells[_SECONDS]) - _ROUNDING, 0.0),
            )


def _audio(place: Place) -> tuple[str, str]:
    """Where the audio is and how its files end: in full or in low quality."""
    folder = place.folder(*_AUDIO)
    low = next((place.root / folder).glob("*/*.low.mp3"), None)
    return folder, ".low.mp3" if low else ".mp3"


def _checksums(place: Place) -> Mapping[str, str]:
    """SHA-256 of each file, from a clone of the repository, where it is."""
    folder, suffix = _audio(place)
    quality = "audio-low" if suffix == ".low.mp3" else "audio"
    table = place.root / f"data/download/raw_30s_{quality}_sha256_tracks.txt"
    lines = [line.split() for line in read_lines(table)] if table.is_file() else []
    return {folder + path: f"sha256:{checksum}" for checksum, path in lines}


_COMMIT = "1b4fa8c32e076c73b5175c1703ae805b4109309d"
_HOST = f"https://raw.githubusercontent.com/MTG/mtg-jamendo-dataset/{_COMMIT}/data/splits/split-0/"
_SUMS = {
    "autotagging_top50tags-train": "e36650d4ecf6fd558a89a2e68d6c6910",
    "autotagging_top50tags-validation": "74c55bc377a2491f25e5f07adf6807bb",
    "autotagging_top50tags-test": "591f6d2cd7e712f9375212392b77a769",
    "autotagging_genre-train": "4a331cfec4aa7c21d9564b7d9a2be5fe",
    "autotagging_genre-validation": "e2308a7d201b433dfbe22659a96bf389",
    "autotagging_genre-test": "4350571622161f9d4cd46e9f9ca94e0b",
    "autotagging_instrument-train": "03c8c2a8a36937a8e38aeed853aa42c0",
    "autotagging_instrument-validation": "8207580a854ced0438f3555718311b73",
    "autotagging_instrument-test": "e3412836cf47832eac59b1628ff9f5c7",
    "autotagging_moodtheme-train": "948addd1f526d3a50266016a8edcdabd",
    "autotagging_moodtheme-validation": "897b7ef07c9e7aa27cc966824c1e6f16",
    "autotagging_moodtheme-test": "5c420803e82f6d7e7b294f3ee8ff3fab",
}

add(
    NamedCorpus(
        name="mtg_jamendo",
        title="MTG-Jamendo",
        licence="each track under its artist's Creative Commons licence; metadata CC BY-NC-SA 4.0",
        citation=(
            "D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra: The MTG-Jamendo dataset for automatic "
            "music tagging. ML4MD workshop, ICML 2019. http://hdl.handle.net/10230/42015"
        ),
        homepage="https://github.com/MTG/mtg-jamendo-dataset",
        tracks=55_525,
        hours=3764.3,
        gigabytes=156,
        fields=(
            Field("top50", "tagging", "the 50 most frequent tags of all kinds", size=50),
            Field("genre", "tagging", "genres", size=87),
            Field("instrument", "tagging", "instruments", size=40),
            Field("moodtheme", "tagging", "moods and themes", size=56),
        ),
        splits="published split-0, artists apart",
        instructions=(
            "1. git clone https://github.com/MTG/mtg-jamendo-dataset and put its folder data/ there (or have "
            "the split files downloaded).\n"
            "2. Audio, 156 GB in low quality, by the script of that repository:\n"
            "   python3 scripts/download/download.py --dataset raw_30s --type audio-low FOLDER/audio-low "
            "--unpack --remove\n"
            "   so that there are data/splits/split-0/ and audio-low/41/241.low.mp3. Full quality (508 GB) "
            "goes into audio/."
        ),
        list_tracks=_tracks,
        remotes=tuple(
            Remote(f"{_HOST}{name}.tsv", f"data/splits/split-0/{name}.tsv", f"md5:{checksum}")
            for name, checksum in _SUMS.items()
        ),
        audio_by_hand=True,
        checksums=_checksums,
    )
)
