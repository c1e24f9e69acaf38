import layouts
import pytest

from mvssl.data import CorpusError
from mvssl.data.verifying import RECORD, verify


@pytest.fixture
def giantsteps(tmp_path):
    layouts.giantsteps_key(tmp_path / "gs")
    return tmp_path / "gs"


def test_published_checksums_are_compared(giantsteps):
    found = verify(f"giantsteps_key@{giantsteps}")
    assert not found.bad
    assert found.compared == 6
    assert len(found.known) == 3
    other = giantsteps / "giantsteps-key-dataset/audio/10089.LOFI.mp3"
    other.write_bytes(layouts.clip(".mp3", 0.5))
    assert [problem.path for problem in verify(f"giantsteps_key@{giantsteps}").bad] == [
        "giantsteps-key-dataset/audio/10089.LOFI.mp3"
    ]


@pytest.mark.parametrize("name", ["openmic", "mtg_jamendo"])
def test_other_corpora_with_published_checksums(name, tmp_path):
    layouts.WRITERS[name](tmp_path)
    found = verify(f"{name}@{tmp_path}")
    assert (len(found.bad), found.compared) == (0, {"openmic": 6, "mtg_jamendo": 1}[name])


def test_recorded_checksums_tell_of_changes_in_any_folder(tmp_path):
    for name in ("a/one.wav", "a/two.wav", "b/three.ogg"):
        layouts.put(tmp_path / name)
    layouts.put(tmp_path / "b/bad.mp3", "no audio")
    found = verify(str(tmp_path), record=True)
    assert [problem.path for problem in found.bad] == ["b/bad.mp3"]
    assert (tmp_path / RECORD).read_text().count("\n") == 3
    layouts.put(tmp_path / "a/two.wav", layouts.clip(".wav", 0.5))
    again = verify(str(tmp_path))
    assert [problem.path for problem in again.bad] == ["b/bad.mp3", "a/two.wav"]
    assert "instead of sha256:" in again.bad[1].reason
    (tmp_path / RECORD).write_text("nonsense\n")
    with pytest.raises(CorpusError, match="line 1: must be a SHA-256"):
        verify(str(tmp_path))
