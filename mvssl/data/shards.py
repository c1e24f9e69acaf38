"""Audio of many tracks in few large files: raw 16-bit samples, or tar archives of audio files."""

import io
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mvssl.data.reader import AudioFileError, Reader, scaled
from mvssl.data.reading import AudioReader

ShardFormat = Literal["int16", "tar"]

_INT16 = np.dtype("<i2")
_OPEN = 256  # shards that a process keeps mapped
_BLOCK = 2**24  # bytes that are checked at a time


@dataclass(frozen=True, eq=False)
class Shards:
    """Where the audio of a corpus lies in its shards. Nothing is unpacked: it is read where it lies.

    Attributes:
        folder: Of the shards.
        files: Their names.
        format: ``"int16"``: mono samples, little-endian, one after the other; ``"tar"``: audio files in
            uncompressed archives, as webdataset writes them.
        sample_rate: Of ``"int16"``, in Hz; 0 where each audio file has its own.
        shard: (entries,) the file of each entry.
        offset: (entries,) byte in it where the entry begins.
        size: (entries,) its bytes.
        checksum: (entries,) CRC-32 of its bytes; None where it is not known.
        tracks: (tracks,) the entry of each row of the corpus.
        stems: (tracks, stems) entries of separated sources, −1 where a track has fewer; None without stems.
    """

    folder: Path
    files: tuple[str, ...]
    format: ShardFormat
    sample_rate: int
    shard: NDArray[Any]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    checksum: NDArray[np.uint32] | None
    tracks: NDArray[np.int64]
    stems: NDArray[np.int64] | None = None
    _maps: dict[int, tuple[str, NDArray[np.uint8]]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def take(self, rows: NDArray[np.int64]) -> "Shards":
        """The shards for some tracks of the corpus."""
        stems = None if self.stems is None else self.stems[rows]
        return replace(self, tracks=self.tracks[rows], stems=stems, _maps={})

    def open(self, row: int) -> Reader:
        """Opens a track.

        Raises:
            AudioFileError: If its shard is missing or too short, or holds no audio there.
        """
        return self._open(self.tracks.item(row))

    def open_stem(self, row: int, number: int) -> Reader:
        """Opens a separated source of a track; errors are those of :meth:`open`."""
        assert self.stems is not None
        return self._open(self.stems.item(row, number))

    def data(self, row: int) -> NDArray[np.uint8]:
        """What the shard holds of a track."""
        return self._place(self.tracks.item(row))[1]

    def sample(self, row: int) -> bytes:
        """Size of a track and some bytes of its middle."""
        found = self.data(row)
        middle = len(found) // 2
        return len(found).to_bytes(8, "little") + found[middle : middle + 4096].tobytes()

    def _open(self, entry: int) -> Reader:
        path, found = self._place(entry)
        crc = None if self.checksum is None else self.checksum.item(entry)
        if self.format == "int16":
            return SliceReader(path, found.view(_INT16), self.sample_rate, crc)
        return MemberReader(path, found, crc)

    def _place(self, entry: int) -> tuple[str, NDArray[np.uint8]]:
        """The file of an entry, and its bytes."""
        # A crop takes some 20 µs, so that each microsecond counts here: item() saves NumPy's scalars.
        shard, offset, size = self.shard.item(entry), self.offset.item(entry), self.size.item(entry)
        path, mapped = self._maps.get(shard) or self._map(shard)
        found = mapped[offset : offset + size]
        if len(found) < size:
            raise AudioFileError(path, "is cut short: it lacks its end")
        return path, found

    def _map(self, shard: int) -> tuple[str, NDArray[np.uint8]]:
        file = self.folder / self.files[shard]
        try:
            # Without NumPy's subclass, each slice of which would cost a microsecond more.
            mapped = np.asarray(np.memmap(file, np.uint8, "r"))
        except FileNotFoundError:
            raise AudioFileError(file, "there is no such file") from None
        except (OSError, ValueError) as error:  # ValueError: it is empty
            raise AudioFileError(file, f"cannot be mapped ({error})") from None
        while len(self._maps) >= _OPEN:
            self._maps.pop(next(iter(self._maps)))
        self._maps[shard] = str(file), mapped
        return self._maps[shard]


class SliceReader(Reader):
    """Reads raw 16-bit samples.

    Args:
        path: The file that holds them.
        samples: The samples, of type ``int16``.
        sample_rate: In Hz.
        checksum: CRC-32 of their bytes, if it is known.
    """

    def __init__(
        self, path: str, samples: NDArray[np.int16], sample_rate: int, checksum: int | None = None
    ) -> None:
        super().__init__(path, sample_rate, 1, len(samples))
        self._samples, self._checksum = samples, checksum

    def verify(self) -> None:
        require_checksum(self.path, self._samples.view(np.uint8), self._checksum)

    def _native(self, first: int, count: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return scaled(self._samples[first : first + count], out)


class MemberReader(AudioReader):
    """Reads an audio file that lies somewhere inside of another file.

    Args:
        path: The other file.
        data: The bytes of the audio file.
        checksum: CRC-32 of the bytes, if it is known.
    """

    def __init__(self, path: str, data: NDArray[np.uint8], checksum: int | None = None) -> None:
        self._data, self._checksum = data, checksum
        super().__init__(path, _Window(data))

    def verify(self) -> None:
        require_checksum(self.path, self._data, self._checksum)
        super().verify()

    def _head(self) -> bytes:
        return self._data[:64].tobytes()


def require_checksum(path: str, data: NDArray[np.uint8], expected: int | None) -> None:
    """Raises AudioFileError if bytes are not those that were written."""
    found = 0
    for first in range(0, len(data), _BLOCK):
        found = zlib.crc32(data[first : first + _BLOCK].data, found)
    if expected is not None and found != expected:
        raise AudioFileError(path, "is damaged: a checksum is not that of what was written")


class _Window(io.RawIOBase):
    """Bytes in memory as a file, without a copy: what is not read stays on the disk."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data, self._place = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part.data
        self._place += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place
