"""VocalSet: twenty singers, each in many vocal techniques."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from mvssl.data.listing import CorpusError
from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.splitting import random_splits
from mvssl.data.tables import read_lines

TECHNIQUES = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato",
    "vocal_fry",
)  # fmt: skip
SINGERS = (*(f"female{number}" for number in range(1, 10)), *(f"male{number}" for number in range(1, 12)))

_TWICE = "f2_scales_vibrato_a(1).wav"
_VALID = 5  # every so manieth training singer is for validation
_SHARES = (12 / 25, 8 / 25, 5 / 25)  # of each singer's recordings, as the field has it


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    """All recordings ``FULL/singer/context/technique/*.wav``; the folders are right where file names err."""
    by_technique = field.name == "technique"
    found = sorted((place.root / place.folder("FULL")).glob("*/*/*/*.wav"))
    paths = [path.relative_to(place.root).as_posix() for path in found if not path.name.startswith(".")]
    singers = _singers(place) if by_technique else {}
    splits = {} if by_technique else _within_singers(paths)
    for path in paths:
        *_, singer, _, technique, name = path.split("/")
        if singer not in SINGERS:
            raise CorpusError(
                f"{place.root / path}: {singer!r} is none of the 20 singers; is this the original folder?"
            )
        known = technique in TECHNIQUES
        yield Track(
            path=path,
            split=singers.get(singer, "train") if by_technique else splits.get(path, "train"),
            label=(technique if known else None) if by_technique else singer,
            group=singer if by_technique else "",
            fault="is a second copy of f2_scales_vibrato_a.wav" if name == _TWICE else "",
        )


def _singers(place: Place) -> Mapping[str, str]:
    """The side of each singer for techniques."""
    train = sorted(map(_singer, read_lines(place.file("train_singers_technique.txt"))), key=SINGERS.index)
    test = map(_singer, read_lines(place.file("test_singers_technique.txt")))
    sides = ["train"] * (_VALID - 1) + ["valid"]
    splits = {singer: sides[number % _VALID] for number, singer in enumerate(train)}
    return splits | dict.fromkeys(test, "test")


def _within_singers(paths: Sequence[str]) -> dict[str, str]:
    """The side of each recording for singers, all of whom are on all sides."""
    splits: dict[str, str] = {}
    for _, own in groupby(paths, lambda path: path.split("/")[-4]):
        names = [path for path in own if not path.endswith(_TWICE)]
        splits |= zip(names, random_splits(names, None, 0, _SHARES), strict=True)
    return splits


def _singer(name: str) -> str:
    """``female1`` of ``f1``, too."""
    full = {"f": "female", "m": "male"}.get(name[:1], "") + name.lstrip("femal")
    if full not in SINGERS:
        raise CorpusError(f"{name!r} in a list of singers is none of the 20, female1 to male11")
    return full


add(
    NamedCorpus(
        name="vocalset",
        title="VocalSet",
        licence="CC BY 4.0",
        citation=(
            "J. Wilkins, P. Seetharaman, A. Wahl, B. Pardo: VocalSet: a singing voice dataset. ISMIR 2018. "
            "http://ismir2018.ircam.fr/doc/pdfs/114_Paper.pdf"
        ),
        homepage="https://zenodo.org/record/1442513",
        tracks=None,
        hours=10.1,
        gigabytes=2.1,
        fields=(
            Field("technique", "classification", "one of the ten techniques of the paper", TECHNIQUES),
            Field("singer", "classification", "who sings", SINGERS),
        ),
        splits=(
            "technique: by singer, the published lists of 15 and 5, and every fifth of the 15 for "
            "validation; singer: the recordings of each 12:8:5 at random, as no list is published"
        ),
        instructions=(
            "Fetch VocalSet11.zip from https://zenodo.org/record/1442513 and unpack it, so that there are "
            "FULL/female1/ to FULL/male11/, train_singers_technique.txt and test_singers_technique.txt."
        ),
        list_tracks=_tracks,
        remotes=(
            Remote(
                "https://zenodo.org/record/1442513/files/VocalSet11.zip?download=1", "VocalSet11.zip",
                "md5:0c09396242f946e7111ad7d8fc649b81", ".",
            ),
        ),
        known_faults=(
            f"{_TWICE} is in it twice",
            "some file names lack the singer or name the wrong technique; the folders are right",
        ),
    )
)  # fmt: skip
