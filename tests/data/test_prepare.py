import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from mvssl.data import open_corpus, prepare, read_audio


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    for name, rate in (("a/one.flac", 22_050), ("b/one.ogg", 16_000), ("b/two.wav", 44_100)):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal((2 * rate, 2)), rate)
    return open_corpus(tmp_path / "music")


def test_the_prepared_corpus_sounds_the_same(corpus, tmp_path):
    prepared = prepare(corpus, tmp_path / "out", 16_000)
    assert len(prepared) == len(corpus) == 3
    np.testing.assert_array_equal(prepared.targets, corpus.targets)
    for row in range(3):
        info = soundfile.info(prepared.path(row))
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        original = read_audio(corpus.path(row), sample_rate=16_000)
        np.testing.assert_allclose(read_audio(prepared.path(row)), original, atol=2**-15)


def test_it_goes_on_where_it_stopped(corpus, tmp_path):
    prepared = prepare(corpus, tmp_path / "out", 16_000)
    times = [prepared.path(row).stat().st_mtime_ns for row in range(3)]
    prepared.path(1).unlink()
    again = prepare(corpus, tmp_path / "out", 16_000)
    assert [again.path(row).stat().st_mtime_ns == times[row] for row in range(3)] == [True, False, True]
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_full_disk_is_noticed_before_anything_is_written(corpus, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 1000))
    with pytest.raises(OSError, match="GB are needed"):
        prepare(corpus, tmp_path / "out", 16_000)
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_nothing_is_written_outside_of_the_folder(corpus, tmp_path):
    paths = np.array(["../escape.flac", *corpus.paths[1:]])
    with pytest.raises(ValueError, match=r"\.\./escape\.flac"):
        prepare(replace(corpus, paths=paths), tmp_path / "out", 16_000)


def test_stems_are_prepared_too(corpus, tmp_path):
    stems = np.array([["b/one.ogg", ""], ["b/two.wav", "a/one.flac"], ["", ""]])
    prepared = prepare(replace(corpus, stems=stems).take(np.array([1])), tmp_path / "out", 16_000)
    assert prepared.stems_of(0) == ["b/two.wav.wav", "a/one.flac.wav"]
    for name in (*prepared.paths, *prepared.stems_of(0)):
        assert soundfile.info(prepared.root / name).frames == 32_000
    assert prepare(replace(corpus, stems=stems), tmp_path / "out", 16_000).stems_of(2) == []
