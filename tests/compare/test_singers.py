"""The comparison of singers, on tones: each singer has a pitch of their own, and pauses."""

import csv
import json
import runpy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import mvssl.compare
from mvssl.cli import main
from mvssl.compare import compare_singers, load_comparison
from mvssl.data import CorpusError, open_corpus
from mvssl.encoders import ResNet, save_encoder

RATE = 16_000
SCRIPT = Path(__file__).parents[2] / "experiments/singer_classification.py"


@pytest.fixture(scope="module")
def singers(tmp_path_factory):
    """Three singers with three albums of two tracks; noise on the left, the voice on the right."""
    folder, rng = tmp_path_factory.mktemp("singers"), np.random.default_rng(0)
    time = np.arange(int(1.6 * RATE)) / RATE
    for number, name in enumerate(("ella", "nina", "odetta")):
        for album in range(3):
            for track in range(2):
                pitch = 300 * 2**number * (1 + 0.01 * track + 0.02 * album)
                voice = np.sin(2 * np.pi * pitch * time)
                voice[(time > 0.6) & (time < 0.9)] = 0
                audio = np.stack([0.2 * rng.standard_normal(len(time)), 0.4 * voice], axis=1)
                path = folder / name / f"album {album}" / f"{track}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, audio, RATE)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An encoder on disk."""
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    encoder = ResNet(8, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
    folder = tmp_path_factory.mktemp("runs") / "mine"
    save_encoder(encoder, folder)
    return folder


@pytest.mark.slow
def test_the_script_compares_audio_modes_and_upstreams(singers, run, tmp_path, monkeypatch, capsys):
    arguments = [
        "--data", singers, "--upstreams", "mel_statistics", run, "--separation", "right",
        "--modes", "frozen", "finetuned", "--seconds", "1.0", "--crops", "96", "--out", tmp_path,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    monkeypatch.setattr(mvssl.compare, "compare_singers", partial(compare_singers, resamples=20))
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "report.html" in capsys.readouterr().out
    with (tmp_path / "singers.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert len(rows) == 2 + 2 + 2  # kinds of audio, for mel statistics and both modes of the run
    assert {(row["separation"], row["silence_removed"]) for row in rows} == {
        ("right", "False"), ("right", "True")
    }  # fmt: skip
    told = {row["upstream"]: row["hidden_state"] for row in rows if row["mode"] == "frozen"}
    assert told == {"mel statistics": "embedding", "mine": "embedding"}
    page = (tmp_path / "report.html").read_text()
    for text in (
        "Who sings?",
        "What separation and silence removal change",
        "confuses most",
        "mine (right channel, fine-tuned)",
    ):
        assert text in page
    assert "Label efficiency" not in page
    comparison = load_comparison(tmp_path)
    assert comparison.baselines[0] == "mel_statistics@right"
    assert open_corpus(tmp_path / "audio/right-gated").seconds.max() < 1.4
    alone = next(row for row in rows if row["upstream"] == "mel statistics")
    assert float(alone["value"]) == 1.0  # the voice alone tells three pitches apart


def test_groups_are_apart_and_tracks_the_same_for_all(singers, tmp_path):
    corpus = open_corpus(f"singer_folder@{singers}")
    sides = {group: set(corpus.splits[corpus.groups == group]) for group in corpus.groups.tolist()}
    assert all(len(found) == 1 for found in sides.values())
    (singers / "ella/album 2/mono.wav").write_bytes(b"")
    try:
        silent = np.zeros((2 * RATE, 2))
        silent[:, 0] = 0.1
        soundfile.write(singers / "ella/album 2/mono.wav", silent, RATE)
        compare_singers(
            singers, ["mel_statistics"], tmp_path, separation=("none", "right"), silence_removal="off",
            seconds=1.0, resamples=20,
        )  # fmt: skip
    finally:
        (singers / "ella/album 2/mono.wav").unlink()
    assert load_comparison(tmp_path).corpus["tracks"] == {"train": 6, "valid": 6, "test": 6}


def test_weighted_layers_are_shown(singers, tmp_path, monkeypatch):
    class Alike(ResNet):
        def hidden_states(self, view):
            return (super().hidden_states(view)[-1],) * 3

    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    encoder = Alike(8, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
    monkeypatch.setattr("mvssl.compare.singers.load_source", lambda source: encoder)
    compare_singers(singers, ["hf:some/model"], tmp_path, silence_removal="off", seconds=1.0, resamples=20)
    (weights,) = load_comparison(tmp_path).layer_weights.values()
    assert len(weights) == 3
    assert sum(weights) == pytest.approx(1)
    assert (tmp_path / "figures/layer_weights.svg").is_file()
    assert "Learned weights of layers" in (tmp_path / "report.md").read_text()
    assert "weighted sum" in (tmp_path / "singers.csv").read_text()


def test_the_line_of_one_upstream(singers, run, tmp_path, capsys):
    options = ["--data", str(singers), "--fractions", "1.0", "--probes", "linear", "--out", str(tmp_path)]
    main(["evaluate", str(run), "--task", "singer_folder", *options])
    assert "singer_folder: accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--task", "singer_foldr", *options])
    assert "did you mean 'singer_folder'" in capsys.readouterr().err


def test_what_makes_no_sense_is_refused(singers, run, tmp_path):
    with pytest.raises(ValueError, match="two have the name 'mine'"):
        compare_singers(singers, [str(run), str(run)], tmp_path, silence_removal="off", seconds=1.0)
    with pytest.raises(ValueError, match="silence_removal='maybe'"):
        compare_singers(singers, ["tiny"], tmp_path, silence_removal="maybe")
    with pytest.raises(ValueError, match="cannot be fine-tuned"):
        compare_singers(
            singers, ["mel_statistics"], tmp_path, silence_removal="off", modes=["finetuned"], seconds=1.0
        )
    with pytest.raises(CorpusError, match="none of its 18 files"):
        compare_singers(singers, ["tiny"], tmp_path, seconds=9.0)
    lines = [
        {"audio_path": str(path), "tags": [path.parts[-3]], "group": path.parts[-2]}
        for path in singers.rglob("*.wav")
    ]
    (tmp_path / "tagged.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match="labels are of the kind tagging"):
        compare_singers(tmp_path / "tagged.jsonl", ["tiny"], tmp_path, seconds=1.0)
