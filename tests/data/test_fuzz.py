"""Files that were damaged in thousands of ways: an error, or sound of the promised length."""

import faulthandler
import io
from collections import Counter
from functools import partial

import numpy as np
import pytest
import soundfile

from mvssl.data import AudioFileError, AudioReader
from mvssl.data.shards import MemberReader

FORMATS = {
    "mono.wav": (16_000, 1, {"format": "WAV"}),
    "float.wav": (22_050, 2, {"format": "WAV", "subtype": "FLOAT"}),
    "wide.wav": (44_100, 2, {"format": "WAV", "subtype": "PCM_24"}),
    "mono.flac": (16_000, 1, {"format": "FLAC"}),
    "wide.flac": (44_100, 2, {"format": "FLAC", "subtype": "PCM_24"}),
    "stereo.ogg": (22_050, 2, {"format": "OGG"}),
    "mono.opus": (48_000, 1, {"format": "OGG", "subtype": "OPUS"}),
    "stereo.mp3": (44_100, 2, {"format": "MP3"}),
    "variable.mp3": (16_000, 1, {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5}),
    "mono.aiff": (16_000, 1, {"format": "AIFF"}),
}
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff")
FIELDS = (bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff")
SILENCE = 0.05  # seconds of zeros that no mutation of these files makes
EACH = 570  # files per format


def sound(rate, channels):
    """A tone with noise, of which no sample is near zero for long, and none is zero."""
    rng = np.random.default_rng(0)
    time = np.arange(round(0.3 * rate)) / rate
    noise = rng.uniform(0.3, 1, (len(time), channels)) * rng.choice([-1, 1], (len(time), channels))
    return 0.3 * np.sin(2 * np.pi * 440 * time)[:, None] + 0.2 * noise


@pytest.fixture(scope="module")
def originals():
    files = {}
    for name, (rate, channels, options) in FORMATS.items():
        file = io.BytesIO()
        soundfile.write(file, sound(rate, channels), rate, **options)
        files[name] = file.getvalue()
    return files


def flip_bits(data, rng, others):
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= 1 << rng.integers(8)


def change_header(data, rng, others):
    data[rng.integers(64)] = rng.integers(256)


def change_field(data, rng, others):
    place = rng.integers(60)
    data[place : place + 4] = (*FIELDS, rng.bytes(4))[rng.integers(len(FIELDS) + 1)]


def cut(data, rng, others):
    del data[rng.integers(len(data)) :]


def remove(data, rng, others):
    place = rng.integers(len(data))
    del data[place : place + rng.integers(1, len(data) // 8)]


def double(data, rng, others):
    place = rng.integers(len(data))
    data[place:place] = data[place : place + rng.integers(1, len(data) // 8)]


def insert_noise(data, rng, others):
    place = rng.integers(len(data))
    data[place:place] = rng.bytes(rng.integers(1, len(data) // 8))


def overwrite(data, rng, others):
    place = rng.integers(len(data))
    end = min(len(data), place + rng.integers(1, len(data) // 8))
    data[place:end] = rng.bytes(end - place)


def splice(data, rng, others):
    other = others[rng.integers(len(others))]
    data[rng.integers(len(data)) :] = other[rng.integers(len(other)) :]


MUTATIONS = (flip_bits, change_header, change_field, cut, remove, double, insert_noise, overwrite, splice)


def mutated(originals, name, count):
    """(suffix, bytes) of so many files."""
    rng = np.random.default_rng(list(FORMATS).index(name))
    for number in range(count):
        data = bytearray(originals[name])
        MUTATIONS[number % len(MUTATIONS)](data, rng, list(originals.values()))
        suffix = name[name.index(".") :] if rng.random() < 0.8 else rng.choice(SUFFIXES)
        yield suffix, bytes(data)


def longest_silence(audio):
    edges = np.flatnonzero(np.diff(audio == 0, prepend=False, append=False)).reshape(-1, 2)
    return int((edges[:, 1] - edges[:, 0]).max(initial=0))


def judge(open_it):
    """What came of a file: ``"error"``, ``"sound"``, or what must not be."""
    try:
        with open_it() as reader:
            info = reader.info
            whole = reader.read()
            crop = reader.read(info.seconds / 4, info.seconds / 2, 16_000)
    except AudioFileError as error:
        return "error" if error.reason else "no reason"
    if len(whole) != info.frames or len(crop) != round(info.seconds / 2 * 16_000):
        return "wrong length"
    if not (np.isfinite(whole).all() and np.isfinite(crop).all()):
        return "not finite"
    if longest_silence(whole) < SILENCE * info.sample_rate:
        return "sound"
    # What a decoder hides from those who read a part, reading all with checksums must find.
    try:
        with open_it() as reader:
            reader.verify()
    except AudioFileError:
        return "found by verify"
    return "silent zeros"


@pytest.mark.parametrize("name", FORMATS)
def test_originals_are_read(originals, tmp_path, name):
    (tmp_path / name).write_bytes(originals[name])
    assert judge(lambda: AudioReader(tmp_path / name)) == "sound"
    with AudioReader(tmp_path / name) as reader:
        reader.verify()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(originals, tmp_path, name):
    counts = Counter()
    faulthandler.dump_traceback_later(300, exit=True)  # a hang is a failure, too
    for suffix, data in mutated(originals, name, EACH):
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(data)
        found = judge(partial(AudioReader, path))
        counts[found] += 1
        if found not in ("error", "sound", "found by verify"):
            (tmp_path / f"{found}{counts[found]}{suffix}").write_bytes(data)
    faulthandler.cancel_dump_traceback_later()
    assert counts.total() == EACH
    assert set(counts) <= {"error", "sound", "found by verify"}, f"{counts}, kept in {tmp_path}"
    assert counts["error"] > EACH / 10
    assert counts["found by verify"] < EACH / 20


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_members_of_archives(originals, name):
    counts = Counter(
        judge(partial(MemberReader, "a.tar", np.frombuffer(data, np.uint8)))
        for _, data in mutated(originals, name, EACH // 5)
    )
    assert set(counts) <= {"error", "sound", "found by verify"}, counts
