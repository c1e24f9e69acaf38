"""NSynth: single notes of a thousand instruments, by family and by pitch."""

import json
from collections.abc import Iterator

from mvssl.data.listing import CorpusError
from mvssl.data.named import Field, NamedCorpus, Place, Remote, Track, add

FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead",
    "vocal",
)  # fmt: skip
PITCHES = tuple(str(pitch) for pitch in range(128))

_SECONDS = 4.0
_HOST = "https://storage.googleapis.com/magentadata/datasets/nsynth/"


def _tracks(place: Place, field: Field) -> Iterator[Track]:
    """All notes; their group is the instrument."""
    for split in ("train", "valid", "test"):
        table = place.file(f"nsynth-{split}/examples.json")
        for name, note in json.loads(table.read_bytes()).items():
            try:
                label = note["instrument_family_str"] if field.name == "instrument" else str(note["pitch"])
                yield Track(
                    path=f"nsynth-{split}/audio/{name}.wav",
                    split=split,
                    label=label,
                    group=note["instrument_str"],
                    seconds=_SECONDS,
                )
            except KeyError as missing:
                raise CorpusError(f"{table}: {name} has no {missing}; is this the original file?") from None


add(
    NamedCorpus(
        name="nsynth",
        title="NSynth",
        licence="CC BY 4.0",
        citation=(
            "J. Engel, C. Resnick, A. Roberts, S. Dieleman, D. Eck, K. Simonyan, M. Norouzi: Neural audio "
            "synthesis of musical notes with WaveNet autoencoders. ICML 2017. arXiv:1704.01279"
        ),
        homepage="https://magenta.tensorflow.org/datasets/nsynth",
        tracks=305_979,
        hours=340.0,
        gigabytes=39.2,
        fields=(
            Field("instrument", "classification", "the family of the instrument", FAMILIES),
            Field("pitch", "classification", "the MIDI number of the note", PITCHES),
        ),
        splits="published: 289,205/12,678/4,096; instruments of the training split are in no other",
        instructions=(
            f"Fetch nsynth-train.jsonwav.tar.gz, nsynth-valid.jsonwav.tar.gz and nsynth-test.jsonwav.tar.gz "
            f"from\n{_HOST}\nUnpack them, so that there are nsynth-train/examples.json and "
            "nsynth-train/audio/, and the same for valid and test."
        ),
        list_tracks=_tracks,
        remotes=tuple(
            Remote(f"{_HOST}nsynth-{split}.jsonwav.tar.gz", f"nsynth-{split}.jsonwav.tar.gz", unpack=".")
            for split in ("train", "valid", "test")
        ),
        known_faults=("validation and test may share instruments", "no checksums are known"),
    )
)
