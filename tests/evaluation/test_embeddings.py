import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from mvssl.data import AudioFileError, open_corpus
from mvssl.evaluation import embeddings, extract_embeddings

RATE = 8_000
CROP = {"seconds": 0.5, "sample_rate": RATE, "progress": False}
SECONDS = (0.5, 1.7, 2.0, 0.9, 3.2, 1.0)


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    for number, seconds in enumerate(SECONDS):
        audio = rng.uniform(-0.5, 0.5, round(seconds * RATE))
        soundfile.write(tmp_path / f"{number}.wav", audio, RATE, subtype="FLOAT")
    return open_corpus(tmp_path)


class Encoder(nn.Module):
    """Notes the size of each batch and the mode it is run in."""

    def __init__(self, dim=5):
        super().__init__()
        self.linear = nn.Linear(round(CROP["seconds"] * RATE), dim)
        self.dropout = nn.Dropout(0.5)
        self.batches = []

    def forward(self, audio):
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(audio))
        return self.dropout(self.linear(audio)).relu()


def naive(encoder, corpus):
    rows = []
    for track in range(len(corpus)):
        audio, _ = soundfile.read(corpus.path(track), dtype="float32")
        size = round(CROP["seconds"] * RATE)
        crops = [audio[start : start + size] for start in range(0, len(audio), size)]
        crops = torch.tensor(np.stack([crop for crop in crops if len(crop) == size]))
        rows.append(encoder.linear(crops).relu().mean(dim=0).detach().numpy())
    return np.stack(rows)


def test_equals_the_mean_over_whole_crops(corpus):
    encoder = Encoder()
    result = extract_embeddings(encoder, corpus, **CROP)
    assert result.values.dtype == np.float32
    assert result.problems == ()
    np.testing.assert_allclose(result.values, naive(encoder, corpus), atol=1e-6)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 1), (5, 3), (100, 2)])
def test_batches_are_full_and_do_not_matter(corpus, batch_size, workers):
    encoder = Encoder()
    crops = sum(int(seconds / CROP["seconds"]) for seconds in SECONDS)
    result = extract_embeddings(encoder, corpus, **CROP, batch_size=batch_size, workers=workers)
    np.testing.assert_allclose(result.values, naive(encoder, corpus), atol=1e-6)
    assert set(encoder.batches[:-1]) <= {batch_size}
    assert sum(encoder.batches) == crops


def test_each_track_is_read_once_and_few_are_read_ahead(corpus, monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(corpus), "path", lambda self, track: asked.append(track) or self.root / f"{track}.wav"
    )
    for finished, _ in enumerate(embeddings._read_ahead(corpus, RATE, workers=2)):
        assert len(asked) - finished <= 3
    assert asked == list(range(len(SECONDS)))


def test_any_callable_will_do(corpus):
    loudness = extract_embeddings(lambda audio: audio.abs().mean(1, keepdim=True).bfloat16(), corpus, **CROP)
    np.testing.assert_allclose(loudness.values, 0.25, atol=0.01)


@pytest.mark.parametrize("fails", [False, True])
def test_every_part_gets_its_mode_back(corpus, fails):
    encoder = Encoder()
    encoder.train()
    encoder.dropout.eval()
    if fails:
        encoder.forward = lambda audio: 1 / 0
        with pytest.raises(ZeroDivisionError):
            extract_embeddings(encoder, corpus, **CROP)
    else:
        extract_embeddings(encoder, corpus, **CROP)
    assert encoder.training
    assert encoder.linear.training
    assert not encoder.dropout.training


def test_resampled_and_shorter_than_a_crop(tmp_path):
    audio = np.full(11_025, 0.5)
    soundfile.write(tmp_path / "fits.wav", audio[:5_510], 11_025)  # two samples short of 0.5 s
    soundfile.write(tmp_path / "short.wav", audio[: 11_025 // 4], 11_025)
    soundfile.write(tmp_path / "whole.wav", audio, 11_025)
    corpus = open_corpus(tmp_path)
    result = extract_embeddings(lambda crops: crops.mean(dim=1, keepdim=True), corpus, **CROP)
    values = dict(zip(corpus.paths, result.values[:, 0], strict=True))
    assert values["whole.wav"] == pytest.approx(0.5, abs=0.01)
    assert values["fits.wav"] == pytest.approx(0.5, abs=0.01)
    assert values["short.wav"] == pytest.approx(0.25, abs=0.01)
    assert [problem.path for problem in result.problems] == ["short.wav"]
    assert "0.25 s" in result.problems[0].reason


def test_a_track_that_vanished_is_named(corpus):
    corpus.path(2).unlink()
    with pytest.raises(AudioFileError, match=corpus.path(2).name):
        extract_embeddings(Encoder(), corpus, **CROP)


def test_an_encoder_of_the_wrong_shape_is_refused(corpus):
    with pytest.raises(ValueError, match=r"must be \(batch, dim\)"):
        extract_embeddings(lambda audio: audio.mean(), corpus, **CROP)
