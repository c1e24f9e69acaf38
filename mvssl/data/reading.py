"""Reads spans of audio files: WAV, FLAC, OGG and MP3 through libsndfile, with seeking."""

import hashlib
import io
import os
import re
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from mvssl.data._stderr import mpg123_filter
from mvssl.data.reader import AudioFileError, AudioInfo, Reader, into, scaled

# After a seek, MP3 frames refer back to data that was never read (the bit reservoir: up to 511 bytes,
# nine frames at 38 kbit/s), and decode to something else until that has passed. With 2,304 samples of
# run-up 0.75 % of crops of the Emotify corpus were wrong, with 9,216 none of 1,200; it costs 0.1 ms.
_MP3_RUN_UP = 9_216
_MP3_SUFFIXES = frozenset({".mp3", ".mp2", ".mp1"})

_BLOCK = 2**20  # frames decoded at a time where a whole file is checked
_CUT_SHORT = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
_STREAMED = 0x7FFF0000  # from here on a chunk size is the placeholder of a program that wrote to a pipe
_MOST_CHANNELS = 64
_RATES = 1_000, 1_000_000  # Hz that are believed
_LARGEST = 2.0**32  # samples that are believed: some programs write integers as floats
_DENSEST = 8_192  # samples per byte that no codec exceeds, not even for silence: a FLAC frame has 5,000

# What an MP3 decoder does not understand it makes silent, a granule of 576 samples at least. Real silence
# is approached through overlapping windows; this begins or ends amid sound of more than −40 dB.
_GRANULE = 576
_SOUND = 0.01

_FLAC_WIDTHS = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # bytes of a sample
_FLAC_MD5 = slice(26, 42)  # of the file: signature, header of a block, and 18 bytes of STREAMINFO before it
_NOT_AUDIO = "is not audio in a format that can be decoded (WAV, FLAC, OGG or MP3)"


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads the header of an audio file.

    Raises:
        AudioFileError: If the file is missing, is not audio, holds no samples, or visibly lacks its end.
    """
    with AudioReader(path) as reader:
        reader.require_end()
        return reader.info


def read_audio(
    path: str | os.PathLike[str],
    start: float = 0.0,
    seconds: float | None = None,
    sample_rate: int | None = None,
) -> NDArray[np.float32]:
    """Reads a span of an audio file as mono, at any sample rate.

    Channels are averaged. Only the span is decoded, and it equals the same span of the whole file read
    at the same rate (to 1e-4), MP3 and resampling included. To read several spans of one file, keep an
    :class:`AudioReader` open.

    Args:
        path: WAV, FLAC, OGG (Vorbis or Opus) or MP3; anything else that libsndfile reads.
        start: Where the span begins, in seconds. It begins at the nearest sample.
        seconds: Its length; without it the span goes to the end of the file.
        sample_rate: In Hz; without it the file's own.

    Returns:
        Samples, in [−1, 1] unless the file holds larger ones: exactly ``round(seconds * sample_rate)``.

    Raises:
        AudioFileError: If the file cannot be decoded, ends before the span does (it is never padded),
            or holds NaN or infinite samples there.
        ValueError: If ``start``, ``seconds`` or ``sample_rate`` make no sense.
    """
    with AudioReader(path) as reader:
        return reader.read(start, seconds, sample_rate)


class AudioReader(Reader):
    """An open audio file: one opening, several spans.

    Args:
        path: The file, as in :func:`read_audio`.
        file: Its bytes, where they are not in a file of their own; ``path`` is then but a name.

    Raises:
        AudioFileError: If the file is missing, is not audio or holds no samples.
    """

    def __init__(self, path: str | os.PathLike[str], file: IO[bytes] | io.RawIOBase | None = None) -> None:
        name = os.fspath(path)
        self._source = file or name
        try:
            with _quiet(os.path.splitext(name)[1].lower() in _MP3_SUFFIXES):
                self._file = soundfile.SoundFile(self._source)
        except soundfile.LibsndfileError:
            raise AudioFileError(path, _why_unreadable(name) if file is None else _NOT_AUDIO) from None
        self._is_mp3 = self._file.format == "MP3"  # names of files may be wrong
        # libsndfile converts 16-bit WAV to float at a seventh of the speed that NumPy does.
        self._dtype = "int16" if self._file.subtype == "PCM_16" else "float32"
        frames, sample_rate = self._file.frames, self._file.samplerate
        reason = self._why_implausible(file)
        if reason:
            self._file.close()
            raise AudioFileError(path, reason)
        super().__init__(name, sample_rate, self._file.channels, frames)

    def _why_implausible(self, file: IO[bytes] | io.RawIOBase | None) -> str:
        """What is wrong with a header that libsndfile takes; reading by it could fill all memory."""
        frames, rate, channels = self._file.frames, self._file.samplerate, self._file.channels
        if frames <= 0:
            return "has no samples"
        if frames >= 2**53:
            return "does not say how long it is"
        if not _RATES[0] <= rate <= _RATES[1]:
            return f"is damaged: its header says {rate} Hz"
        if channels > _MOST_CHANNELS:
            return f"is damaged: its header says {channels} channels"
        if frames > _BLOCK:
            size = os.path.getsize(self._file.name) if file is None else _size(file)
            if frames > size * _DENSEST:
                return f"is damaged: its header says {frames / rate / 3600:.1f} h, too much for {size} bytes"
        return ""

    def close(self) -> None:
        self._file.close()

    def verify(self) -> None:
        """Decodes the whole file, block by block, and drops the result.

        A FLAC file must also have the checksum that stands in it.

        Raises:
            AudioFileError: If any of it cannot be decoded, holds NaN or infinite samples, or is not what was
                written.
        """
        self.require_end()
        width = _FLAC_WIDTHS.get(self._file.subtype)
        if self._file.format == "FLAC" and width:
            self._verify_flac(width)
            return
        for first in range(0, self.frames, _BLOCK):
            self._native(first, min(_BLOCK, self.frames - first))

    def require_end(self) -> None:
        """Raises AudioFileError if the headers promise more than the file holds.

        WAV, AIFF and OGG files that were cut short open without complaint and are merely shorter. (MP3
        and FLAC files keep their full length in the header: reading the missing part fails.)
        """
        log = self._file.extra_info
        sizes = _CUT_SHORT.search(log)
        if sizes:
            promised, held = map(int, sizes.groups())
            # A wrong byte or two at the end is a sloppy writer, not a lost piece of music.
            lost = self.seconds * (promised / max(held, 1) - 1)
            if promised < _STREAMED and lost > 0.1:
                raise AudioFileError(self.path, f"is cut short: {lost:.1f} s are missing at its end")
        if "lacks an end-of-stream bit" in log:
            raise AudioFileError(self.path, "is cut short: the OGG stream has no end")

    def read_channels(self) -> NDArray[np.float32]:
        self.require_end()
        audio = np.empty((self.frames, self.channels), np.float32)
        self._decode(0, audio)
        self._require_sound(_mixed_down(audio), 0)
        return np.ascontiguousarray(audio.T)

    def _head(self) -> bytes:
        """The first bytes of the file."""
        with open(self.path, "rb") as file:
            return file.read(_FLAC_MD5.stop)

    def _verify_flac(self, width: int) -> None:
        head = self._head()
        digest = hashlib.md5(usedforsecurity=False)
        for first in range(0, self.frames, _BLOCK):
            block = np.empty((min(_BLOCK, self.frames - first), self.channels), "int32")
            self._decode(first, block)
            # libsndfile puts the bits of shorter samples to the top.
            digest.update(np.ascontiguousarray(block).view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes())
        is_known = head.startswith(b"fLaC") and any(head[_FLAC_MD5])
        if is_known and digest.digest() != head[_FLAC_MD5]:
            raise AudioFileError(self.path, "is damaged: its audio is not what its checksum says")

    def _decode(self, first: int, audio: NDArray[Any]) -> None:
        """Fills (samples, channels) from a sample on."""
        try:
            with _quiet(self._is_mp3):
                self._go_to(first)
                decoded = self._file.buffer_read_into(audio, audio.dtype.name)
        except soundfile.LibsndfileError as error:
            detail = error.error_string.removeprefix("Error : ").rstrip(".")
            raise AudioFileError(self.path, f"is damaged or cut short ({detail})") from None
        if decoded < len(audio):
            end = (first + len(audio)) / self.sample_rate
            raise AudioFileError(
                self.path,
                f"is cut short: it ends before {end:g} s although its header says {self.seconds:g} s",
            )

    def _go_to(self, first: int) -> None:
        """Puts the decoder at a sample.

        Once it has decoded anything of an Ogg file, libsndfile misses one place in eight: by up to 256
        samples, or in the first few hundred, or it finds no more sound near the end. So it is opened anew.
        """
        if self._file.format == "OGG" and self._file.tell() not in (0, first):
            self._file.close()
            if not isinstance(self._source, str):
                self._source.seek(0)
            self._file = soundfile.SoundFile(self._source)
        if self._file.tell() != first:
            self._file.seek(first)

    def _native(self, first: int, count: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """``count`` samples from ``first`` on, at the file's own rate, mixed down."""
        run_up = min(first, _MP3_RUN_UP) if self._is_mp3 else 0
        audio = np.empty((run_up + count, self.channels), self._dtype)
        self._decode(first - run_up, audio)
        if audio.dtype == np.int16:
            if self.channels == 1:
                return scaled(audio[:, 0], out)
            return into(out, _mixed_down(scaled(audio)))
        mono = _mixed_down(audio[run_up:])  # only MP3s have a run-up, and they are never int16
        self._require_sound(mono, first)
        return into(out, mono)

    def _require_sound(self, mono: NDArray[np.float32], first: int) -> None:
        """Raises AudioFileError if decoded samples, from a sample on, are no sound."""
        if not (mono.min() > -_LARGEST and mono.max() < _LARGEST):  # neither is true of NaN
            is_finite = np.isfinite(mono).all()
            what = f"samples of {np.abs(mono).max():.0e}" if is_finite else "NaN or infinite samples"
            raise AudioFileError(self.path, f"holds {what}")
        gap = _gap(mono) if self._is_mp3 else None
        if gap is not None:
            place = (first + gap) / self.sample_rate
            raise AudioFileError(self.path, f"is damaged: sound is missing at {place:.2f} s")


def _size(file: IO[bytes] | io.RawIOBase) -> int:
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _gap(audio: NDArray[np.float32]) -> int | None:
    """Where a decoder made samples silent, if it did."""
    zero = audio == 0
    if np.count_nonzero(zero) < _GRANULE:
        return None
    edges = np.flatnonzero(np.diff(zero, prepend=False, append=False))
    for begin, end in edges.reshape(-1, 2):
        around = np.abs([audio[begin - 1] if begin else 0.0, audio[end] if end < len(audio) else 0.0])
        if end - begin >= _GRANULE and around.max() > _SOUND:
            return int(begin)
    return None


def _quiet(is_mp3: bool) -> AbstractContextManager[None]:
    return mpg123_filter.active() if is_mp3 else nullcontext()


def _mixed_down(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over channels of (frames, channels)."""
    if audio.shape[1] == 1:
        return audio[:, 0]
    # Damaged files may hold anything.
    with np.errstate(over="ignore", invalid="ignore"):
        return _mean(audio)


def _mean(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    # Many times faster than audio.mean(axis=1), whose inner loop runs over the two channels.
    total = audio[:, 0].copy()
    for channel in range(1, audio.shape[1]):
        total += audio[:, channel]
    total /= audio.shape[1]
    return total


def _why_unreadable(path: str) -> str:
    """The reason why a file did not open, in better words than libsndfile's "System error"."""
    if not os.path.exists(path):
        return "there is no such file"
    if os.path.isdir(path):
        return "is a folder, not an audio file"
    if os.path.getsize(path) == 0:
        return "is empty (0 bytes)"
    if not os.access(path, os.R_OK):
        return "may not be read (permission denied)"
    return _NOT_AUDIO
