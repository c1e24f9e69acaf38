"""Writing shards that a kill cannot spoil: each track is noted in a journal once it is in its shard."""

import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from mvssl.atomic import replacing
from mvssl.data.listing import CorpusError

Packing = Literal["int16", "flac"]

JOURNAL = "journal.jsonl"
MEGABYTE = 10**6
_BLOCK = 512  # bytes that everything in a tar archive is a multiple of
_SUFFIXES = {"int16": ".i16", "flac": ".tar"}


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a track.

    Attributes:
        shard: The number of its shard; of a track that was left out, of the shard before it.
        end: Byte of the shard behind it.
        parts: (offset, bytes, CRC-32) of the track and of each stem; empty if it was left out.
        clipped: Whether samples were beyond full scale.
        silent: Whether all samples of the track itself are zero.
        reason: Why it was left out.
    """

    shard: int
    end: int
    parts: tuple[tuple[int, int, int], ...]
    clipped: bool = False
    silent: bool = False
    reason: str = ""


class ShardWriter:
    """Appends tracks to shards, and goes on where a former one was killed.

    Args:
        folder: Where to; only one process may write there at a time.
        packing: ``"int16"`` for raw samples, ``"flac"`` for archives of FLAC files as webdataset reads them.
        sample_rate: In Hz.
        megabytes: Size of a shard, which a single track may exceed.
        claim: What decides about the contents.

    Attributes:
        written: What became of each track so far.

    Raises:
        CorpusError: If the folder holds what another claim led to.
    """

    def __init__(
        self, folder: Path, packing: Packing, sample_rate: int, megabytes: int, claim: dict[str, Any]
    ) -> None:
        self._folder, self._packing, self._sample_rate = folder, packing, sample_rate
        self._most, self._claim = megabytes * MEGABYTE, claim
        self.written: list[Written] = []
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / JOURNAL
        if journal.exists():
            self.written = list(self._remembered(journal))
        self._cut_to_what_is_sound()
        self._rewrite(journal)
        last = self.written[-1] if self.written else Written(0, 0, ())
        self._shard, self._end = last.shard, last.end
        self._file = self._path(self._shard).open("r+b" if self._path(self._shard).exists() else "w+b")
        self._file.truncate(self._end)
        self._file.seek(self._end)
        for other in folder.glob(f"audio-*{_SUFFIXES[packing]}"):
            if other.name > self._path(self._shard).name:
                other.unlink()
        self._journal = journal.open("a", encoding="utf-8")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._journal.close()

    def append(
        self, sounds: Sequence[NDArray[np.int16]], facts: dict[str, Any], clipped: bool, silent: bool
    ) -> None:
        """Writes the next track and its stems.

        Args:
            sounds: Samples of the track, then of its stems.
            facts: What an archive shall say about it.
            clipped: As in :class:`Written`.
            silent: As in :class:`Written`.
        """
        if self._packing == "int16":
            blobs = [sound.astype("<i2").tobytes() for sound in sounds]
            headers = [b""] * len(blobs)
            tail = b""
        else:
            blobs = [_flac(sound, self._sample_rate) for sound in sounds]
            key = f"{len(self.written):09d}"
            names = [f"{key}.flac", *(f"{key}.stem{number}.flac" for number in range(len(blobs) - 1))]
            headers = [_header(name, len(blob)) for name, blob in zip(names, blobs, strict=True)]
            told = json.dumps(facts, ensure_ascii=False).encode()
            tail = _header(f"{key}.json", len(told)) + _padded(told)
        pad = (lambda blob: blob) if self._packing == "int16" else _padded
        self._make_room(sum(map(len, headers)) + sum(len(pad(blob)) for blob in blobs) + len(tail))
        parts = []
        for header, blob in zip(headers, blobs, strict=True):
            parts.append((self._end + len(header), len(blob), zlib.crc32(blob)))
            self._end += self._file.write(header) + self._file.write(pad(blob))
        self._end += self._file.write(tail)
        self._file.flush()
        self._note(Written(self._shard, self._end, tuple(parts), clipped, silent))

    def skip(self, reason: str) -> None:
        """Leaves the next track out."""
        self._note(Written(self._shard, self._end, (), reason=reason))

    def finish(self) -> tuple[str, ...]:
        """Completes the last shard; gives the names of all."""
        self._complete()
        return tuple(self._path(shard).name for shard in range(self._shard + 1))

    def _path(self, shard: int) -> Path:
        return self._folder / f"audio-{shard:06d}{_SUFFIXES[self._packing]}"

    def _note(self, written: Written) -> None:
        self.written.append(written)
        self._journal.write(_line(written))
        self._journal.flush()

    def _make_room(self, size: int) -> None:
        if self._end and self._end + size > self._most:
            self._complete()
            self._file.close()
            self._shard, self._end = self._shard + 1, 0
            self._file = self._path(self._shard).open("w+b")

    def _complete(self) -> None:
        if self._packing == "flac":
            self._file.write(bytes(2 * _BLOCK))  # the end of an archive
        self._file.flush()
        os.fsync(self._file.fileno())

    def _remembered(self, journal: Path) -> Iterator[Written]:
        with journal.open("rb") as stream:
            claimed = stream.readline()
            if claimed.endswith(b"\n") and json.loads(claimed) != self._claim:
                raise CorpusError(
                    f"{self._folder}: holds other audio, or with other settings: choose another folder, "
                    "or delete it"
                )
            for line in stream:
                if line.endswith(b"\n"):  # else it was being written
                    shard, end, parts, *rest = json.loads(line)
                    yield Written(shard, end, tuple(map(tuple, parts)), *rest)

    def _cut_to_what_is_sound(self) -> None:
        """Forgets what a crash of the machine took from the last shard; those before it are on the disk."""
        if not self.written:
            return
        last = self.written[-1].shard
        first = next(row for row, track in enumerate(self.written) if track.shard == last)
        path = self._path(last)
        is_there = path.exists() and path.stat().st_size > 0
        data = np.memmap(path, np.uint8, "r") if is_there else np.empty(0, np.uint8)
        for row in range(first, len(self.written)):
            for offset, size, crc in self.written[row].parts:
                found = data[offset : offset + size]
                if len(found) < size or zlib.crc32(found.data) != crc:
                    del self.written[row:]
                    return

    def _rewrite(self, journal: Path) -> None:
        with replacing(journal) as draft, draft.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(self._claim) + "\n")
            stream.writelines(map(_line, self.written))


def _line(written: Written) -> str:
    facts = (
        written.shard, written.end, written.parts, written.clipped, written.silent, written.reason,
    )  # fmt: skip
    return json.dumps(facts, ensure_ascii=False) + "\n"


def _flac(sound: NDArray[np.int16], sample_rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, sample_rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padded(blob: bytes) -> bytes:
    return blob + bytes(-len(blob) % _BLOCK)
