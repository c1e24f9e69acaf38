import csv
import json
import shutil
from dataclasses import replace
from functools import partial

import layouts
import mir_eval
import numpy as np
import pytest
import soundfile
import torch

from mvssl.cli import main
from mvssl.data import CorpusError, open_corpus
from mvssl.data.beats import annotated_beats, read_beats
from mvssl.data.synthetic import beat_times, draw_causes, sound
from mvssl.encoders import ViT, save_encoder
from mvssl.evaluation import evaluate_beats, files
from mvssl.evaluation.baselines import MelFrames
from mvssl.evaluation.beats import peaks
from mvssl.evaluation.metrics import beat_f1
from mvssl.frontends import LogMel

QUICK = {"rates": (5e-3,), "hidden": 32, "max_steps": 300}


@pytest.mark.parametrize("window", [0.02, 0.07])
def test_the_f_measure_is_that_of_mir_eval(window):
    rng = np.random.default_rng(0)
    for _ in range(60):
        annotated = np.sort(rng.uniform(0, 4, rng.integers(1, 25)))
        found = np.sort(annotated[rng.random(len(annotated)) < 0.7] + rng.normal(0, 0.02))
        found = np.sort(np.concatenate([found, rng.uniform(0, 4, rng.integers(0, 6))]))
        if len(found):
            expected = mir_eval.beat.f_measure(annotated, found, f_measure_threshold=window)
            assert beat_f1(found, annotated, window) == pytest.approx(expected)
    assert beat_f1([], [1.0]) == beat_f1([1.0], []) == 0


def test_peaks_lie_between_frames():
    at = np.array([1.013, 2.5, 3.207])
    activation = np.exp(-(((np.arange(200) + 0.5) / 50 - at[:, None]) ** 2) / (2 * 0.02**2)).sum(0)
    np.testing.assert_allclose(peaks(activation, 50, 0.5), at, atol=0.003)
    assert len(peaks(activation, 50, 1.1)) == 0
    plateau = np.repeat([0.0, 0.9, 0.0], [10, 3, 10])
    assert len(peaks(plateau, 50, 0.5)) == 1
    assert len(peaks(np.zeros(50), 50, 0.1)) == 0


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music)


@pytest.fixture(scope="module")
def beats(corpus):
    """Of the corpus that was rendered with seed 3."""
    rows = [int(str(path)[:5]) for path in corpus.paths]
    return [beat_times(draw_causes(3, row), 3, row, 2.5) for row in rows]


def test_drums_are_hit_on_beats(monkeypatch):
    hits = []
    original = sound._add
    monkeypatch.setattr(
        sound, "_add", lambda track, onset, *rest: hits.append(onset) or original(track, onset, *rest)
    )
    causes = replace(draw_causes(3, 0), rhythm="four_on_the_floor")
    sound.render(causes, 3, 0, 2.0, 8_000)
    times = beat_times(causes, 3, 0, 2.0)
    assert len(times) >= 2
    for time in times:
        assert np.abs(np.array(hits) - time).min() < 0.015


class Oracle(torch.nn.Module):
    """Frames that know the beats: audio holds a click at each."""

    seconds, sample_rate = 1.0, 16_000

    def hidden_states(self, audio):
        clicks = audio.unfold(1, 320, 320).abs().amax(-1, keepdim=True)
        return torch.zeros(len(audio), 50, 2), torch.cat([clicks, torch.zeros_like(clicks)], 2)


def click(path, beats, rng):
    """Writes 4 s of faint noise with a click on each beat, and its beats beside it or elsewhere."""
    times = np.arange(rng.uniform(0, 0.5), 4.0, rng.uniform(0.3, 0.7))
    audio = 1e-3 * rng.normal(size=64_000)
    audio[(times * 16_000).astype(int)] = 0.9
    soundfile.write(path, audio, 16_000)
    beats.write_text("".join(f"{time}\t1\n" for time in times))


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """Tracks with clicks on their beats, which stand in files beside them."""
    folder, rng, lines = tmp_path_factory.mktemp("clicks"), np.random.default_rng(0), []
    for number in range(30):
        path = folder / f"{number:02}.wav"
        click(path, path.with_suffix(".beats"), rng)
        split = ("train", "train", "valid", "test")[number % 4]
        lines.append(json.dumps({"audio_path": path.name, "split": split}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def test_the_beats_of_gtzan_are_judged_by_name(tmp_path):
    layouts.gtzan(tmp_path)
    (tmp_path / "beats").mkdir()
    rng = np.random.default_rng(0)
    tracks = [path for path in sorted(tmp_path.glob("genres/*/*.wav")) if path.name != "jazz.00054.wav"]
    for path in tracks[:-1]:
        click(path, tmp_path / f"beats/gtzan_{path.stem.replace('.', '_')}.beats", rng)
    found = evaluate_beats(Oracle(), f"gtzan_beat@{tmp_path}", **QUICK)
    assert len(found.corpus) == len(tracks) - 1  # of the last no beats are known
    assert len(found.values["f1_20ms"]) == (found.corpus.splits == "test").sum() == 4
    assert found.mean() > 0.9 > found.chance["f1_20ms"] + 0.2


def test_an_oracle_finds_the_beats_and_its_layer_is_chosen(clicks, tmp_path):
    found = evaluate_beats(Oracle(), clicks, layer="best", **QUICK)
    assert found.mean() > 0.95
    assert found.mean("f1_70ms") >= found.mean()
    assert found.layer == 1
    assert found.valid[1] > 0.95 > 0.6 > found.valid[0]
    assert found.chance["f1_20ms"] < 0.5
    estimate = found.estimate()
    assert estimate.low <= found.mean() <= estimate.high
    assert "hidden state 1 with 50.0 frames/s" in str(found)
    with (found.save(tmp_path) / "beats.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["f1_20ms"]) for row in rows]) == pytest.approx(found.mean())


def test_mel_frames_know_more_of_beats_than_random_ones(corpus, beats):
    mel = MelFrames(LogMel(16_000, n_fft=512, hop_length=320, n_mels=32), seconds=2.5)
    ours = evaluate_beats(mel, corpus, beats, **QUICK)
    shuffled = evaluate_beats(mel, corpus, [times + 0.21 for times in beats[::-1]], **QUICK)
    assert ours.mean("f1_70ms") > shuffled.mean("f1_70ms") + 0.1


def test_what_is_missing_is_said(corpus, beats, clicks):
    with pytest.raises(CorpusError, match="no track of the train split has beats; for GTZAN put"):
        evaluate_beats(Oracle(), corpus)
    with pytest.raises(ValueError, match="layer=2: use 'best' or a number from 0 to 1"):
        evaluate_beats(Oracle(), clicks, layer=2)
    with pytest.raises(ValueError, match="no method hidden_states"):
        evaluate_beats(torch.nn.Identity(), clicks, seconds=1.0, sample_rate=16_000)
    with pytest.raises(ValueError, match="beats of 1 tracks for the corpus's 60"):
        evaluate_beats(Oracle(), corpus, beats[:1])
    with pytest.raises(ValueError, match="give mvssl"):
        evaluate_beats(Oracle(), clicks, beats)
    with pytest.raises(ValueError, match="gtzan_genre is no task of beats"):
        evaluate_beats(Oracle(), "gtzan_genre")


def test_coarse_frames_are_noted(clicks):
    coarse = Oracle()
    coarse.hidden_states = lambda audio: (audio.unfold(1, 1600, 1600)[..., :2],)
    assert "its frames are 100 ms apart" in str(evaluate_beats(coarse, clicks, **QUICK))


def test_a_track_that_is_shorter_than_it_says_is_noted(clicks, tmp_path):
    shutil.copytree(clicks, tmp_path / "clicks")
    corpus = open_corpus(tmp_path / "clicks")
    soundfile.write(tmp_path / "clicks" / "03.wav", np.zeros(8_000), 16_000)  # after it was looked at
    assert "03.wav gave 0.50 s of audio, less than one crop" in str(evaluate_beats(Oracle(), corpus, **QUICK))


def test_annotations_of_gtzan_are_found_in_both_forms(tmp_path):
    for genre in ("blues", "rock"):
        (tmp_path / "genres" / genre).mkdir(parents=True)
        for number in range(2):
            soundfile.write(tmp_path / f"genres/{genre}/{genre}.{number:05}.wav", np.ones(8000), 8000)
    (tmp_path / "beats").mkdir()
    (tmp_path / "beats/gtzan_blues_00000.beats").write_text("0.25\t1\n0.75\t2\n")
    (tmp_path / "jams").mkdir()
    kinds = [("8th-note", [0.1]), ("beat", [0.9, 0.4]), ("downbeat", [0.4])]
    annotations = [
        {
            "namespace": "beat",
            "sandbox": {"annotation_type": kind},
            "data": [{"time": time} for time in times],
        }
        for kind, times in kinds
    ]
    (tmp_path / "jams/rock.00001.wav.jams").write_text(json.dumps({"annotations": annotations}))
    corpus = open_corpus(tmp_path)
    found = dict(zip(corpus.paths.tolist(), annotated_beats(corpus), strict=True))
    assert found["genres/blues/blues.00000.wav"].tolist() == [0.25, 0.75]
    assert found["genres/rock/rock.00001.wav"].tolist() == [0.4, 0.9]
    assert found["genres/rock/rock.00000.wav"] is None
    (tmp_path / "beats/bad.beats").write_text("soon\n")
    with pytest.raises(CorpusError, match="no beats can be read"):
        read_beats(tmp_path / "beats/bad.beats")


def test_the_command_line(clicks, tmp_path, capsys, monkeypatch):
    from mvssl.evaluation.downstream import Downstream, downstream

    save_encoder(ViT(16, 1, 2, seconds=1.0), tmp_path / "run")
    monkeypatch.setitem(downstream._entries, "clicks_beat", downstream.entry("gtzan_beat"))
    monkeypatch.setattr(Downstream, "source", lambda self, root="": root)
    monkeypatch.setattr(files, "evaluate_beats", partial(evaluate_beats, **QUICK))
    out = tmp_path / "out"
    main(["evaluate", str(tmp_path / "run"), "--task", f"clicks_beat@{clicks}", "--out", str(out)])
    assert "F-measure of beats" in capsys.readouterr().out
    assert (out / "beats.csv").is_file()
    words = ["evaluate", str(tmp_path / "run"), "--task", f"clicks_beat@{clicks}", "--out", str(out)]
    for wrong in (["--protocol", "marble-weighted"], ["--fractions", "0.1"], ["--modes", "finetuned"]):
        with pytest.raises(SystemExit):
            main([*words, *wrong])
        assert "clicks_beat" in capsys.readouterr().err
