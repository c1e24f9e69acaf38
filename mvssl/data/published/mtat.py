"""MagnaTagATune: clips of 29 s with tags from a game, in two well-known selections of one split by folder."""

from collections.abc import Callable, Iterator

from mvssl.data.listing import CorpusError
from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add
from mvssl.data.tables import read_table

TOP_50 = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano",
    "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals",
    "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft",
    "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal",
    "beats", "harp", "cello", "no voice", "weird", "country", "female voice", "metal", "choral",
)  # fmt: skip
"""The tags that are used most, from the most frequent one on."""

_EMPTY = frozenset({
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-"
    "88-117.mp3",
})  # fmt: skip
_CANTATA = "0/american_bach_soloists-j_s__bach__cantatas_volume_v-"
_SINFONIA = "gleichwie_der_regen_und_schnee_vom_himmel_fallt_bwv_18_i_sinfonia-"
_LITANY = (
    "gleichwie_der_regen_und_schnee_vom_himmel_fallt_bwv_18_iii_recitative_and_litany__mein_gott_hier_wird_"
    "mein_herze_sein-"
)
_UNLISTED = frozenset({
    f"{_CANTATA}01-{_SINFONIA}117-146.mp3",
    f"{_CANTATA}03-{_LITANY}204-233.mp3",
    f"{_CANTATA}03-{_LITANY}233-262.mp3",
})  # fmt: skip
Lister = Callable[[Place, Field], Iterator[Track]]
_SPLITS = dict.fromkeys("0123456789ab", "train") | {"c": "valid"} | dict.fromkeys("def", "test")


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    """All clips of the table of annotations."""
    folder = place.folder("mp3/0", "0").removesuffix("0/")
    artists = {
        row["mp3_path"]: row["artist"]
        for row in read_table(place.file("clip_info_final.csv"), "mp3_path", "artist", delimiter="\t")
    }
    table = place.file("annotations_final.csv")
    for row in read_table(table, "mp3_path", *TOP_50, delimiter="\t"):
        path = row["mp3_path"]
        if path[:1] not in _SPLITS:
            raise CorpusError(f"{table}: mp3_path {path!r} is in none of the folders 0 to f")
        yield Track(
            path=folder + path,
            split=_SPLITS[path[0]],
            label=tuple(tag for tag in TOP_50 if row[tag] == "1"),
            group=artists.get(path, ""),
            fault="has no samples in the published archive (0 bytes)" if path in _EMPTY else "",
        )


def _tagged_tracks(place: Place, field: Field) -> Iterator[Track]:
    """Those of the lists of Lee et al.: with a tag, and without three clips that the lists lack."""
    for track in _tracks(place, field):
        clip = "/".join(track.path.split("/")[-2:])
        if track.label and clip not in _UNLISTED:
            yield track


_HOST = "https://mirg.city.ac.uk/datasets/magnatagatune/"
_SUMS = {
    "mp3.zip.001": "f857fe185968773058cc71662c2ef5d8f2d4b7338e3c122cfd52f82dcb9760b9",
    "mp3.zip.002": "fc2e1ec441755556ed1398b1808f1b08b6034372f8bc27394510c0c58cdb52ce",
    "mp3.zip.003": "83a689824c17e82f6eb81cdbc4e4ca239a4cfc1fb41f1a5c80b861caec90450f",
    "annotations_final.csv": "99b94e95825d4fa576386a5367b9c96e0ec636e9f9c240aceb492f4728f68c3c",
    "clip_info_final.csv": "cb6108a10d3a91f0bfd7d2fbec2382559d15f20c8d28093f14e12162a47a3e78",
}


def _remote(file: str) -> Remote:
    joined = "mp3.zip" if file.startswith("mp3.zip") else ""
    return Remote(_HOST + file, file, f"sha256:{_SUMS[file]}", "mp3" if joined else None, joined)


def _corpus(name: str, title: str, tracks: int, splits: str, lister: Lister) -> NamedCorpus:
    return NamedCorpus(
        name=name,
        title=title,
        licence="CC BY-NC-SA 3.0 (http://tagatune.org/Magnatagatune.html)",
        citation=(
            "E. Law, K. West, M. Mandel, M. Bay, J. S. Downie: Evaluation of algorithms using games: the "
            "case of music tagging. ISMIR 2009. https://ismir2009.ismir.net/proceedings/OS5-5.pdf"
        ),
        homepage="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
        tracks=tracks,
        hours=round(tracks * 29.124 / 3600, 1),
        fields=(Field("top50", "tagging", "the 50 most frequent tags, by frequency", TOP_50),),
        splits=splits,
        instructions=(
            f"Fetch {', '.join(_SUMS)} from\n{_HOST}\n"
            "Join the three parts (cat mp3.zip.00? > mp3.zip) and unpack them into mp3/, so that there are "
            "mp3/0/ to mp3/f/ beside annotations_final.csv and clip_info_final.csv."
        ),
        list_tracks=lister,
        remotes=tuple(map(_remote, _SUMS)),
        known_faults=(
            "three files are empty (0 bytes) in the published archive",
            "many clips are of one recording; 56 of 230 artists are in more than one split",
        ),
        folder="mtat",
    )


add(
    _corpus(
        "mtat",
        "MagnaTagATune, all clips",
        25_863,
        "by folder, 12:1:3: 0 to b, c, d to f; 18,706/1,825/5,329 clips, untagged ones among them, as in "
        "Castellon et al. 2021 and MARBLE",
        _tracks,
    )
)
add(
    _corpus(
        "mtat_tagged",
        "MagnaTagATune, clips with one of the 50 tags",
        21_105,
        "by folder, 12:1:3, without untagged clips: 15,244/1,529/4,332, the lists of Lee et al. 2017, also "
        "used by Won et al. 2020",
        _tagged_tracks,
    )
)
