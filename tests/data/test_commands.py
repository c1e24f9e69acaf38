"""``mvssl data``, as it is typed."""

import json

import layouts
import numpy as np
import soundfile

from mvssl.cli import main
from mvssl.data import open_corpus
from mvssl.data.verifying import RECORD


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
    assert gtzan.split()[-3:] == ["genre", "in", "gtzan/"]
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


def test_the_command_prepares(tmp_path, monkeypatch):
    monkeypatch.setenv("MVSSL_DATA", str(tmp_path))
    layouts.emomusic(tmp_path / "emomusic")
    assert run("prepare", "emomusic", "--sample_rate", "8000") == 0
    packed = ["--packing", "flac", "--out", str(tmp_path / "out")]
    assert run("prepare", "emomusic", "--sample_rate", "8000", *packed) == 0
    for folder in (tmp_path / "prepared/emomusic-8000", tmp_path / "out"):
        assert len(open_corpus(folder)) == 6


def test_the_command_indexes(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.full(800, 0.1), 8000)
    manifest = tmp_path / "songs.jsonl"
    manifest.write_text('{"audio_path": "a.wav"}\n')
    assert run("index", str(manifest)) == 0
    assert str(tmp_path / "songs.index") in capsys.readouterr().out
    assert run("index", str(tmp_path / "none.jsonl")) == 2
    assert "there is no such manifest" in capsys.readouterr().err


def test_the_command_sends_to_the_instructions(capsys):
    assert run("download", "artist20") == 2
    assert "ask at the homepage" in capsys.readouterr().err
