import json

import layouts
import pytest

from mvssl.cli import main
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


def run(*arguments):
    """The exit status of the command line."""
    try:
        main(["data", *arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_command_names_every_bad_file_and_fails(tmp_path, capsys):
    layouts.put(tmp_path / "good.wav")
    layouts.put(tmp_path / "bad.wav", "no audio")
    layouts.put(tmp_path / "empty.mp3", b"")
    assert run("verify", str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad.wav: ")
    assert lines[1] == "empty.mp3: is empty (0 bytes)"
    assert "2 bad files" in lines[2]
    (tmp_path / "bad.wav").unlink()
    (tmp_path / "empty.mp3").unlink()
    assert run("verify", str(tmp_path), "--record", "true") == 0
    assert (tmp_path / RECORD).is_file()


def test_the_command_verifies_a_manifest(tmp_path, capsys):
    layouts.put(tmp_path / "good.wav")
    rows = [{"audio_path": "good.wav"}, {"audio_path": "gone.wav"}]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("verify", str(tmp_path / "some.jsonl")) == 1
    assert "gone.wav: there is no such file" in capsys.readouterr().out


def test_known_faults_are_named_and_do_not_fail(tmp_path, capsys):
    layouts.mtat(tmp_path)
    assert run("verify", f"mtat@{tmp_path}") == 0
    out = capsys.readouterr().out
    assert "3 known faults" in out
    assert f"mp3/{layouts.EMPTY[0]}: left out, it has no samples" in out


def test_the_command_lists_and_describes(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MVSSL_DATA", str(tmp_path))
    (tmp_path / "gtzan").mkdir()
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert "305,979 tracks, 340 h, 39.2 GB" in listed
    gtzan = next(line for line in listed.splitlines() if line.startswith("gtzan"))
    assert gtzan.split()[-2:] == ["genre", "here"]
    assert "synthetic" in listed
    assert run("info", "mtg_jamendo", "openmic") == 0
    described = capsys.readouterr().out
    for part in (
        "mtg_jamendo:moodtheme (tagging of 56)",
        "CC BY-NC-SA 4.0",
        "not in",
        "openmic:piano",
        "split-0",
    ):
        assert part in described
    assert run("info", "nothing") == 2
    assert run("info", "gtzam") == 2
    assert "did you mean 'gtzan'" in capsys.readouterr().err


def test_the_command_prepares(tmp_path, capsys):
    layouts.emomusic(tmp_path / "emo")
    assert (
        run("prepare", f"emomusic@{tmp_path}/emo", "--out", str(tmp_path / "out"), "--sample_rate", "8000")
        == 0
    )
    assert len(list((tmp_path / "out").rglob("*.mp3.wav"))) == 6


def test_the_command_sends_to_the_instructions(capsys):
    assert run("download", "artist20") == 2
    assert "ask at the homepage" in capsys.readouterr().err
