"""GiantSteps keys: training on the collection of MTG, testing on that of GiantSteps; dance music."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mvssl.data.labels import KEYS, key_number
from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_table, share

_CERTAIN = "2"  # the highest of three levels of confidence
_TEST, _TRAIN = "giantsteps-key-dataset", "giantsteps-mtg-key-dataset"
_COMMITS = {
    _TEST: "c8cb8aad2cb53f165be51ea099d0dc75c64a844f",
    _TRAIN: "fd7b8c584f7bd6d720d170c325a6d42c9bf75a6b",
}
_SUMS = {
    _TEST: "7749bee0f919b0f53db2c540fa6707f322b82a5d140e453f10f9af7875ad5bb8",
    _TRAIN: "c754c3fabbc0bf275d399028e212fa2c9c6680084bd003e3a283ae7b3ea22996",
}
_SHARE_OF_VALID, _PARTS = 16, 116  # of artists, as Castellon et al. chose them
_COLLABORATIONS = 2  # how far a validation artist draws others along


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    test, train = _folder(place, _TEST), _folder(place, _TRAIN)
    for path in sorted((place.root / test / "annotations/key").glob("*.key")):
        yield Track(f"{test}audio/{path.stem}.mp3", "test", _key(path.read_text()))
    table = place.file(f"{train}annotations/beatport_metadata.txt")
    artists = {row["ID"]: row["ARTIST"] for row in read_table(table, "ID", "ARTIST", delimiter="\t")}
    valid = _valid_artists([_names(credited) for credited in artists.values()])
    table = place.file(f"{train}annotations/annotations.txt")
    for row in read_table(table, "ID", "MANUAL KEY", "C", delimiter="\t"):
        credited = artists.get(row["ID"], "")
        yield Track(
            path=f"{train}audio/{row['ID']}.LOFI.mp3",
            split="valid" if valid & set(_names(credited)) else "train",
            label=_key(row["MANUAL KEY"]),
            group=credited,
            fault=_fault(row["MANUAL KEY"], row["C"]),
        )


def _folder(place: Place, name: str) -> str:
    """A clone, or what GitHub packs of it."""
    return place.folder(name, f"{name}-{_COMMITS[name]}", f"{name}-master")


def _key(text: str) -> str | None:
    try:
        return KEYS[key_number(text)]
    except ValueError:
        return None


def _fault(key: str, confidence: str) -> str:
    """Why a training track is left out (as in Korzeniowski & Widmer 2018), if it is."""
    if confidence != _CERTAIN:
        return f"its key is not certain (confidence {confidence or 'unknown'} of {_CERTAIN})"
    return "" if _key(key) else f"is not in one key ({key})"


def _names(credited: str) -> list[str]:
    return [name.strip() for name in credited.split(",") if name.strip()]


def _valid_artists(tracks: list[list[str]]) -> set[str]:
    """Artists for validation: by the SHA-1 of their names, with those whom they made tracks with."""
    names = {name for credited in tracks for name in credited}
    valid = {name for name in names if share(name.lower(), _PARTS) >= _PARTS - _SHARE_OF_VALID}
    for _ in range(_COLLABORATIONS):
        for credited in tracks:
            if valid & set(credited):
                valid |= set(credited)
    return valid


def _checksums(place: Place) -> Mapping[str, str]:
    """MD5 of each file, from the folders ``md5``."""
    sums = {}
    for folder in (_folder(place, _TEST), _folder(place, _TRAIN)):
        for path in Path(place.root / folder / "md5").glob("*.md5"):
            sums[f"{folder}audio/{path.stem}.mp3"] = f"md5:{path.read_text().strip()}"
    return sums


add(
    NamedCorpus(
        name="giantsteps_key",
        title="GiantSteps key, trained on GiantSteps MTG key",
        licence="none stated; annotations for research, audio: previews of a shop",
        citation=(
            "P. Knees, Á. Faraldo, P. Herrera, R. Vogl, S. Böck, F. Hörschläger, M. Le Goff: Two data sets "
            "for tempo estimation and key detection in electronic dance music annotated from user "
            "corrections. ISMIR 2015. https://github.com/GiantSteps/giantsteps-key-dataset"
        ),
        homepage="https://github.com/GiantSteps/giantsteps-key-dataset",
        tracks=604 + 1486,
        hours=69.6,
        fields=(Field("key", "key", "one of the 24 keys", KEYS),),
        splits=(
            "test: the 604 tracks of GiantSteps; the certain ones of MTG: 923 for training, 236 for "
            "validation, by artist as in Castellon et al. 2021"
        ),
        instructions=(
            "git clone https://github.com/GiantSteps/giantsteps-key-dataset and "
            "https://github.com/GiantSteps/giantsteps-mtg-key-dataset, and run ./audio_dl.sh in each of the "
            "two folders: it fetches audio/*.LOFI.mp3 and compares MD5 sums. (A download has only the "
            "annotations and that script.)"
        ),
        list_tracks=_tracks,
        remotes=tuple(
            Remote(
                f"https://github.com/GiantSteps/{name}/archive/{commit}.zip", f"{name}.zip",
                f"sha256:{_SUMS[name]}", ".",
            )
            for name, commit in _COMMITS.items()
        ),
        audio_by_hand=True,
        checksums=_checksums,
        known_faults=("327 tracks of MTG have no certain single key",),
    )
)  # fmt: skip
