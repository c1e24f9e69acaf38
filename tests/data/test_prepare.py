import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from mvssl.data import Corpus, CorpusError, open_corpus, prepare, read_audio
from mvssl.data.saving import INDEX

RATE = 16_000
PACKINGS = ("int16", "flac")


def write(path, audio, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    for name, rate in (("a/one.flac", 22_050), ("b/one.ogg", 16_000), ("b/two.wav", 44_100)):
        write(tmp_path / "music" / name, 0.1 * rng.standard_normal((2 * rate, 2)), rate)
    return open_corpus(tmp_path / "music")


def samples(corpus):
    return [corpus.read(row) for row in range(len(corpus))]


def same_audio(corpus, other):
    assert corpus.paths.tolist() == other.paths.tolist()
    for one, two in zip(samples(corpus), samples(other), strict=True):
        np.testing.assert_array_equal(one, two)
    return True


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_prepared_corpus_sounds_the_same(corpus, tmp_path, packing):
    prepared = prepare(corpus, tmp_path / "out", RATE, packing=packing)
    assert len(prepared) == len(corpus) == 3
    np.testing.assert_array_equal(prepared.targets, corpus.targets)
    for row in range(3):
        with prepared.open(row) as reader:
            assert (reader.info.sample_rate, reader.info.channels, reader.info.frames) == (RATE, 1, 2 * RATE)
            reader.verify()
            crop = reader.read(0.5, 0.25)
        original = read_audio(corpus.path(row), sample_rate=RATE)
        np.testing.assert_allclose(prepared.read(row), original, atol=2**-16 + 1e-9)
        np.testing.assert_array_equal(crop, prepared.read(row)[8_000:12_000])


@pytest.mark.parametrize("packing", PACKINGS)
def test_sixteen_bit_mono_comes_out_bit_by_bit(tmp_path, packing):
    extremes = np.array([-(2**15), -(2**15) + 1, -1, 0, 1, 2**15 - 2, 2**15 - 1], np.int16)
    write(tmp_path / "music" / "a.wav", np.resize(extremes, 5_000))
    corpus = open_corpus(tmp_path / "music")
    assert same_audio(prepare(corpus, tmp_path / "out", RATE, packing=packing), corpus)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_prepared_folder_stands_alone(tmp_path, packing):
    rows = []
    for number in range(8):
        name = f"{number}.wav"
        write(tmp_path / "music" / name, np.full(2_000, number, np.int16))
        tags = ["even"] if number % 2 == 0 else ["odd", "ünique"]
        split = ("train", "train", "train", "valid", "test", "test", "train", "train")[number]
        rows.append({"audio_path": name, "tags": tags, "group": f"g{number // 2}", "split": split})
    del rows[3]["group"]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "music" / "manifest.jsonl").write_text(text)
    corpus = open_corpus(tmp_path / "music")
    prepare(corpus, tmp_path / "out", RATE, packing=packing)
    shutil.rmtree(tmp_path / "music")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")

    opened = open_corpus(tmp_path / "elsewhere")
    assert opened.fingerprint() == corpus.fingerprint()
    assert opened.name == corpus.name
    assert opened.vocabulary == ("even", "odd", "ünique")
    assert opened.groups.tolist() == corpus.groups.tolist()
    np.testing.assert_array_equal(opened.group_numbers(), corpus.group_numbers())
    for split in ("train", "valid", "test", None):
        np.testing.assert_array_equal(opened.indices(split), corpus.indices(split))
    for row in range(8):
        assert (opened.read(row) == np.float32(row / 2**15)).all()
    part = opened.take(np.array([6, 1]))
    assert part.paths.tolist() == ["6.wav", "1.wav"]
    assert (part.read(0) == np.float32(6 / 2**15)).all()
    assert str(opened) == str(corpus)


@pytest.mark.parametrize("packing", PACKINGS)
def test_many_shards(tmp_path, packing, monkeypatch):
    monkeypatch.setattr("mvssl.data.writing.MEGABYTE", 5_000)
    rng = np.random.default_rng(0)
    for number in range(9):
        noise = rng.integers(-(2**15), 2**15, 1_000 + 100 * number, np.int16)
        write(tmp_path / "music" / f"{number}.wav", noise)
    corpus = open_corpus(tmp_path / "music")
    prepared = prepare(corpus, tmp_path / "out", RATE, packing=packing, shard_megabytes=1)
    assert same_audio(prepared, corpus)
    assert len(prepared.audio.files) >= 4
    assert all((tmp_path / "out" / name).stat().st_size < 12_000 for name in prepared.audio.files)
    if packing == "flac":
        names = []
        for shard in prepared.audio.files:
            with tarfile.open(tmp_path / "out" / shard, "r:") as archive:
                names += archive.getnames()
        assert names == [f"{row:09d}.{kind}" for row in range(9) for kind in ("flac", "json")]


KILLED = """
import sys, time
from mvssl.data import Corpus, open_corpus, prepare, writing
read = Corpus.read
def slowly(*given):
    time.sleep(0.05)
    return read(*given)
Corpus.read = slowly
writing.MEGABYTE = 20_000
prepare(open_corpus(sys.argv[1]), sys.argv[2], 16_000, packing=sys.argv[3], shard_megabytes=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("packing", PACKINGS)
def test_killed_and_started_again(tmp_path, packing, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(30):
        write(tmp_path / "music" / f"{number:02d}.wav", rng.integers(-9, 9, 4_000, np.int16))
    monkeypatch.setattr("mvssl.data.writing.MEGABYTE", 20_000)
    corpus = open_corpus(tmp_path / "music")
    whole = prepare(corpus, tmp_path / "whole", RATE, packing=packing, shard_megabytes=1)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "music", out, packing])
    journal = out / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and len(journal.read_bytes().splitlines()) > 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(journal.read_bytes().splitlines()) - 1
    assert 7 <= done < 30
    assert not (out / INDEX).exists()

    read, really = [], Corpus.read
    monkeypatch.setattr(Corpus, "read", lambda self, row, rate: read.append(row) or really(self, row, rate))
    resumed = prepare(corpus, out, RATE, packing=packing, shard_megabytes=1)
    assert sorted(read) == list(range(done, 30))
    for name in whole.audio.files:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert resumed.audio.files == whole.audio.files
    assert not journal.exists()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("loss", ["line", "tail", "byte", "shard"])
def test_what_a_crash_took_is_written_again(corpus, tmp_path, packing, loss):
    whole = prepare(corpus, tmp_path / "whole", RATE, packing=packing)
    out = tmp_path / "out"
    prepared = prepare(corpus, out, RATE, packing=packing)
    shard = out / prepared.audio.files[0]
    lines = [json.dumps(json.loads((out / INDEX).read_text())["prepared"])]
    for entry in range(3):
        offset, size, crc = (
            int(column[entry])
            for column in (prepared.audio.offset, prepared.audio.size, prepared.audio.checksum)
        )
        lines.append(json.dumps([0, offset + size, [[offset, size, crc]], False, False, ""]))
    text = "\n".join(lines) + "\n"
    (out / INDEX).unlink()
    (out / "journal.jsonl").write_text(text[:-20] if loss == "line" else text)
    data = bytearray(shard.read_bytes())
    if loss == "tail":
        data = data[:-30_000]
    elif loss == "byte":
        data[int(prepared.audio.offset[1]) + 300] ^= 1
    shard.write_bytes(b"" if loss == "shard" else data)
    assert same_audio(prepare(corpus, out, RATE, packing=packing), whole)


def test_finished_it_does_nothing_again(corpus, tmp_path):
    prepared = prepare(corpus, tmp_path / "out", RATE)
    shard = tmp_path / "out" / prepared.audio.files[0]
    before = shard.stat()
    other = replace(corpus, splits=corpus.splits[::-1].copy())
    again = prepare(other, tmp_path / "out", RATE)
    assert shard.stat().st_mtime_ns == before.st_mtime_ns
    assert again.splits.tolist() == other.splits.tolist()  # labels and splits are noted anew
    assert open_corpus(tmp_path / "out").splits.tolist() == other.splits.tolist()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".") == [
        "audio-000000.i16", "columns-1", "index.json", "skipped.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["rate", "packing", "corpus"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_with_something_else_is_left_alone(corpus, tmp_path, change, finished):
    prepared = prepare(corpus, tmp_path / "out", RATE)
    if not finished:
        claim = json.loads((tmp_path / "out" / INDEX).read_text())["prepared"]
        (tmp_path / "out" / INDEX).unlink()
        (tmp_path / "out" / "journal.jsonl").write_text(json.dumps(claim) + "\n")
    wrong = {
        "rate": (corpus, 8_000, "int16"),
        "packing": (corpus, RATE, "flac"),
        "corpus": (corpus.take(np.array([0, 1])), RATE, "int16"),
    }[change]
    shard = tmp_path / "out" / prepared.audio.files[0]
    data = shard.read_bytes()
    with pytest.raises(CorpusError, match="choose another folder"):
        prepare(wrong[0], tmp_path / "out", wrong[1], packing=wrong[2])
    assert shard.read_bytes() == data


def test_a_full_disk_is_noticed_before_anything_is_written(corpus, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 1000))
    with pytest.raises(OSError, match="GB are needed"):
        prepare(corpus, tmp_path / "out", RATE)
    assert not any(path.stat().st_size for path in (tmp_path / "out").glob("audio-*"))


def test_tracks_that_cannot_be_decoded_are_left_out_and_listed(corpus, tmp_path, caplog):
    corpus.path(1).write_bytes(b"no sound, and a comma")
    prepared = prepare(corpus, tmp_path / "out", RATE)
    assert prepared.paths.tolist() == ["a/one.flac", "b/two.wav"]
    np.testing.assert_allclose(prepared.read(1), corpus.read(2, RATE), atol=2**-16 + 1e-9)
    reason = "is not audio in a format that can be decoded (WAV, FLAC, OGG or MP3)"
    assert (tmp_path / "out" / "skipped.csv").read_text().splitlines() == [
        "path,reason", f'b/one.ogg,"{reason}"',
    ]  # fmt: skip
    for opened in (open_corpus(tmp_path / "out"), prepare(corpus, tmp_path / "out", RATE), prepared):
        assert [(problem.path, problem.reason) for problem in opened.problems] == [("b/one.ogg", reason)]
        assert opened.paths.tolist() == prepared.paths.tolist()
    for row in (0, 2):
        corpus.path(row).unlink()
    with pytest.raises(CorpusError, match="none of its tracks can be decoded"):
        prepare(corpus, tmp_path / "other", RATE)


def test_clipped_and_silent_tracks_are_counted(tmp_path, caplog):
    write(tmp_path / "music" / "loud.wav", np.array([0.5, 1.5, -3, 0.25], np.float32), subtype="FLOAT")
    write(tmp_path / "music" / "still.wav", np.zeros(4, np.int16))
    prepared = prepare(open_corpus(tmp_path / "music"), tmp_path / "out", RATE)
    np.testing.assert_array_equal(prepared.read(0), np.float32([0.5, 1 - 2**-15, -1, 0.25]))
    assert "1 of 2 tracks have samples beyond full scale, which are clipped" in caplog.text
    assert "1 of 2 tracks are silent from beginning to end" in caplog.text


@pytest.mark.parametrize("packing", PACKINGS)
def test_stems_are_prepared_too(corpus, tmp_path, packing):
    stems = np.array([["b/one.ogg", ""], ["b/two.wav", "a/one.flac"], ["", ""]])
    with_stems = replace(corpus, stems=stems)
    for rows in (np.array([1]), np.arange(3)):
        prepare(with_stems.take(rows), tmp_path / f"out{len(rows)}", RATE, packing=packing)
        prepared = open_corpus(tmp_path / f"out{len(rows)}")
        for place, row in enumerate(rows):
            assert prepared.stems_of(place) == [name for name in stems[row] if name]
            for number in range(len(prepared.stems_of(place))):
                with prepared.open_stem(place, number) as mine, with_stems.open_stem(row, number) as theirs:
                    heard, original = mine.read(), theirs.read(sample_rate=RATE)
                np.testing.assert_allclose(heard, original, atol=2**-16 + 1e-9)
    corpus.path(0).write_bytes(b"spoilt")
    skipped = prepare(with_stems.take(np.array([1, 2])), tmp_path / "spoilt", RATE, packing=packing)
    assert skipped.paths.tolist() == ["b/two.wav"]
    assert skipped.problems[0].reason.startswith("its stem a/one.flac: is not audio")


@pytest.mark.parametrize("packing", PACKINGS)
def test_damaged_shards_are_found(corpus, tmp_path, packing):
    prepared = prepare(corpus, tmp_path / "out", RATE, packing=packing)
    shard = tmp_path / "out" / prepared.audio.files[0]
    data = bytearray(shard.read_bytes())
    data[int(prepared.audio.offset[1]) + 400] ^= 4
    shard.write_bytes(data)
    checked = open_corpus(tmp_path / "out", check="full")
    assert [problem.path for problem in checked.problems] == ["b/one.ogg"]
    assert "a checksum is not that of what was written" in checked.problems[0].reason
    os.truncate(shard, int(prepared.audio.offset[2]) + 100)
    reasons = {
        problem.path: problem.reason for problem in open_corpus(tmp_path / "out", check="full").problems
    }
    assert reasons["b/two.wav"] == "is cut short: it lacks its end"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts | {"version": 9}, "is of version 9"),
        (lambda facts: facts | {"columns": "../elsewhere"}, "is not the name of a file beside it"),
        (
            lambda facts: facts | {"audio": facts["audio"] | {"files": ["/etc/passwd"]}},
            "is not the name of a",
        ),
        (lambda facts: facts | {"columns": "columns-9"}, "cannot be used"),
        (lambda facts: [], "is not an index that mvssl wrote"),
    ],
)
def test_indexes_that_cannot_be_used(corpus, tmp_path, change, message):
    prepare(corpus, tmp_path / "out", RATE)
    file = tmp_path / "out" / INDEX
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(CorpusError, match=message):
        open_corpus(tmp_path / "out")


@pytest.mark.parametrize("wrong", [{"packing": "mp3"}, {"shard_megabytes": 0}, {"sample_rate": 0}])
def test_arguments_that_make_no_sense(corpus, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        prepare(corpus, tmp_path / "out", **{"sample_rate": RATE, **wrong})


def test_checksums_are_those_of_the_bytes(corpus, tmp_path):
    prepared = prepare(corpus, tmp_path / "out", RATE)
    for row in range(3):
        assert zlib.crc32(prepared.audio.data(row)) == prepared.audio.checksum[row]
