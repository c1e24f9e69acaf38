"""Voices and sounding stretches of a corpus, written once so that every upstream reads the same audio."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import soundfile
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from mvssl.atomic import replacing
from mvssl.data.corpus import Corpus
from mvssl.data.listing import CorpusError
from mvssl.data.opening import usable
from mvssl.data.prepare import track_facts
from mvssl.data.reader import AudioFileError
from mvssl.data.separation import NotSeparableError, Separator, Weights, create_separator
from mvssl.data.silence import Gate
from mvssl.data.splitting import file_sample
from mvssl.data.threads import ahead, decoders

JOURNAL = "voices.jsonl"
MANIFEST = "manifest.jsonl"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Voice:
    """What became of a track.

    Attributes:
        source: The track as its corpus calls it.
        sample: What tells its file from others, so that one that was replaced is read again.
        path: The new file, relative to the folder; empty if the track was left out.
        seconds: What is left of it.
        of: Seconds that it had.
        threshold_db: Of its gate in the end; None without a gate, or where all had to be kept.
        lowered: Whether the gate was lowered, because too little would have been left.
        reason: Why it was left out.
    """

    source: str
    sample: str
    path: str = ""
    seconds: float = 0.0
    of: float = 0.0
    threshold_db: float | None = None
    lowered: bool = False
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Voices:
    """A corpus of voices, and how it came about.

    Attributes:
        corpus: The new one, its tracks in the order of the old one.
        tracks: What became of each track of the old one.
    """

    corpus: Corpus
    tracks: tuple[Voice, ...]

    def __str__(self) -> str:
        written = [voice for voice in self.tracks if voice.path]
        kept, of = sum(voice.seconds for voice in written), sum(voice.of for voice in written)
        lowered = sum(voice.lowered for voice in written)
        return "\n".join(
            [
                f"{len(written)} of {len(self.tracks)} tracks in {self.corpus.root}: "
                f"{kept / 3600:.2f} h of {of / 3600:.2f} h ({kept / of:.0%})",
                *([f"gate lowered on {lowered} tracks, so that enough is left"] if lowered else []),
                *(f"left out {voice.source}: {voice.reason}" for voice in self.tracks if voice.reason),
            ]
        )


def prepare_voices(
    corpus: Corpus,
    folder: str | os.PathLike[str],
    *,
    separation: str = "none",
    weights: Weights = None,
    gate: Gate | None = None,
    least: float = 0.0,
    progress: bool = False,
) -> Voices:
    """Separates the voice of every track, cuts out its silence, and writes what is left as FLAC.

    Files are mono, of 16 bits, at the rate of their sources; samples beyond full scale are clipped. A
    manifest beside them opens as any other does, with labels, splits and groups of the corpus. Killed and
    started again, this goes on where it stopped; finished and called again, it reads no audio but that of
    tracks that are new or were replaced. Processes that prepare the same folder wait for each other.

    A track that cannot be read or separated, or is nothing but zeros, is left out, and the corpus's
    ``problems`` say why. Stems are not taken over.

    Args:
        corpus: The corpus.
        folder: Where the new files go.
        separation: ``"none"``, ``"left"``, ``"right"``, ``"hdemucs"`` or another of
            :data:`mvssl.data.separation.separators`.
        weights: File of the separator's weights.
        gate: Takes the silence out; None leaves it.
        least: Seconds that a gate has to leave of a track, see :class:`mvssl.data.silence.Gate`; give the
            length of the segments that are to be judged.
        progress: Show a progress bar.

    Raises:
        CorpusError: If the folder holds voices that were made otherwise, or no track can be used.
        FileNotFoundError: If weights are not there; the message says what to do.
        ValueError: If there is no such separation, or nothing to do.
    """
    if separation == "none" and gate is None:
        raise ValueError("separation='none' without a gate changes nothing: use the corpus itself")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    claim = {"separation": separation, "gate": None if gate is None else asdict(gate), "least": least}
    if weights is not None and Path(weights).is_file():
        claim["weights"] = _short(file_sample(Path(weights)))
    with FileLock(folder / ".lock"):
        known = _remembered(folder, claim)
        wanted = [_named(corpus, row) for row in range(len(corpus))]
        missing = [row for row, voice in enumerate(wanted) if (voice.source, voice.sample) not in known]
        if missing:
            separator = create_separator(separation, weights)
            with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
                made = _made(corpus, [(row, wanted[row]) for row in missing], separator, gate, least, folder)
                for voice in tqdm(made, "Voices", len(missing), unit="track", disable=not progress):
                    known[voice.source, voice.sample] = voice
                    _note(journal, voice)
        tracks = tuple(known[voice.source, voice.sample] for voice in wanted)
        found = _attached(corpus, tracks, folder)
        _write_manifest(folder / MANIFEST, found, tracks)
    return Voices(found, tracks)


def _named(corpus: Corpus, row: int) -> Voice:
    try:
        return Voice(str(corpus.paths[row]), _short(corpus.sample(row)))
    except OSError:
        return Voice(str(corpus.paths[row]), "")


def _short(sample: bytes) -> str:
    return hashlib.blake2b(sample, digest_size=8).hexdigest()


def _remembered(folder: Path, claim: dict[str, Any]) -> dict[tuple[str, str], Voice]:
    """What earlier calls wrote, by track and sample; begins a journal where there is none.

    A line that a kill cut short is dropped, and what stands in it made again.
    """
    journal = folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    if whole and whole[0] != claim:
        raise CorpusError(
            f"{folder}: holds voices that were made with other settings ({json.dumps(whole[0])}): choose "
            "another folder, or delete it"
        )
    voices = [Voice(**facts) for facts in whole[1:]]
    kept = [voice for voice in voices if not voice.path or (folder / voice.path).is_file()]
    with replacing(journal) as draft, draft.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(claim) + "\n")
        for voice in kept:
            _note(stream, voice)
    return {(voice.source, voice.sample): voice for voice in kept}


def _note(stream: IO[str], voice: Voice) -> None:
    stream.write(json.dumps(asdict(voice), ensure_ascii=False) + "\n")
    stream.flush()


def _made(
    corpus: Corpus,
    tracks: list[tuple[int, Voice]],
    separator: Separator,
    gate: Gate | None,
    least: float,
    folder: Path,
) -> Iterator[Voice]:
    calls = (
        partial(_write_voice, corpus, row, voice, separator, gate, least, folder) for row, voice in tracks
    )
    return ahead(calls, decoders() if separator.threads else 0)


def _write_voice(
    corpus: Corpus,
    row: int,
    voice: Voice,
    separator: Separator,
    gate: Gate | None,
    least: float,
    folder: Path,
) -> Voice:
    try:
        with corpus.open(row) as reader:
            rate, audio = reader.sample_rate, separator(reader.read_channels(), reader.sample_rate)
    except AudioFileError as error:
        return replace(voice, reason=error.reason)
    except NotSeparableError as error:
        return replace(voice, reason=str(error))
    if not audio.any():
        return replace(voice, reason="is silent from beginning to end")
    of, threshold = len(audio) / rate, None
    if gate is not None:
        audio, found = gate(audio, rate, least)
        threshold = found if math.isfinite(found) else None
    file = folder / f"{_place(voice.source)}.flac"
    _write_audio(file, audio, rate)
    return replace(
        voice, path=file.relative_to(folder).as_posix(), seconds=len(audio) / rate, of=of,
        threshold_db=threshold, lowered=gate is not None and threshold != gate.threshold_db,
    )  # fmt: skip


def _place(path: str) -> str:
    """A place below the new folder for a track, which may lie outside of the old one."""
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts:
        return f"elsewhere/{_short(path.encode())}/{parts[-1]}"
    return path


def _write_audio(file: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    with replacing(file) as draft:
        soundfile.write(draft, audio, sample_rate, format="FLAC", subtype="PCM_16")


def _attached(corpus: Corpus, tracks: tuple[Voice, ...], folder: Path) -> Corpus:
    """The corpus with the new files, its tracks in their order, without those that were left out."""
    reasons = {row: voice.reason for row, voice in enumerate(tracks) if voice.reason}
    kept = usable(replace(corpus, stems=None), reasons)
    written = [voice for voice in tracks if voice.path]
    lowered = sum(voice.lowered for voice in written)
    if lowered:
        _logger.warning(
            "%s: the gate had to be lowered on %d of %d tracks, so that enough is left", corpus.name, lowered,
            len(tracks),
        )  # fmt: skip
    return replace(
        kept, root=folder, audio=None, paths=np.array([voice.path for voice in written]),
        seconds=np.array([voice.seconds for voice in written], np.float64),
    )  # fmt: skip


def _write_manifest(path: Path, corpus: Corpus, tracks: tuple[Voice, ...]) -> None:
    """What any program needs to know of the new files."""
    of = {voice.path: voice.of for voice in tracks}
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as stream:
        for row in corpus.labelled_rows().tolist():  # all lines must have a label, or none
            facts = track_facts(corpus, row)
            facts["source_duration"] = of[facts["audio_path"]]
            stream.write(json.dumps(facts, ensure_ascii=False) + "\n")
