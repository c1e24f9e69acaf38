import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from mvssl.data import AudioFileError, open_corpus
from mvssl.evaluation import embeddings, extract_embeddings
from mvssl.evaluation.embeddings import crops_of, extract_variants, fingerprint, pool
from mvssl.frontends import LogMel

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
    assert result.crops.dtype == np.float16
    assert result.problems == ()
    np.testing.assert_allclose(result.pooled(), naive(encoder, corpus), atol=1e-3)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 1), (5, 3), (100, 2)])
def test_batches_are_full_and_do_not_matter(corpus, batch_size, workers):
    encoder = Encoder()
    crops = sum(int(seconds / CROP["seconds"]) for seconds in SECONDS)
    result = extract_embeddings(encoder, corpus, **CROP, batch_size=batch_size, workers=workers)
    np.testing.assert_allclose(result.pooled(), naive(encoder, corpus), atol=1e-3)
    assert set(encoder.batches[:-1]) <= {batch_size}
    assert sum(encoder.batches) == crops


def test_each_track_is_read_once_and_few_are_read_ahead(corpus, monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(corpus), "path", lambda self, track: asked.append(track) or self.root / f"{track}.wav"
    )
    for finished, _ in enumerate(embeddings.track_crops(corpus, RATE, RATE, workers=2)):
        assert len(asked) - finished <= 3
    assert asked == list(range(len(SECONDS)))


def test_any_callable_will_do(corpus):
    loudness = extract_embeddings(lambda audio: audio.abs().mean(1, keepdim=True).bfloat16(), corpus, **CROP)
    np.testing.assert_allclose(loudness.pooled(), 0.25, atol=0.01)


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
    values = dict(zip(corpus.paths, result.pooled()[:, 0], strict=True))
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


def same(one, other):
    return np.array_equal(one.crops, other.crops) and np.array_equal(one.tracks, other.tracks)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(embeddings, "PART", 4)


def test_what_is_kept_is_not_computed_again(corpus, tmp_path, small_parts):
    encoder = Encoder()
    first = extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept")
    assert same(first, extract_embeddings(encoder, corpus, **CROP))
    encoder.batches.clear()
    assert same(extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept"), first)
    assert not encoder.batches


def test_after_a_kill_it_goes_on_where_it_stopped(corpus, tmp_path, small_parts, monkeypatch):
    encoder = Encoder()
    whole = extract_embeddings(encoder, corpus, **CROP)
    monkeypatch.setattr(type(corpus), "read", lambda self, track, rate: _read_until("5", self.path(track)))
    with pytest.raises(KeyboardInterrupt):
        extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept")
    monkeypatch.undo()
    monkeypatch.setattr(embeddings, "PART", 4)
    encoder.batches.clear()
    assert same(extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept"), whole)
    assert sum(encoder.batches) == sum(int(seconds / CROP["seconds"]) for seconds in SECONDS[4:])


def _read_until(last, path):
    if path.stem == last:
        raise KeyboardInterrupt
    return soundfile.read(path, dtype="float32")[0]


@pytest.mark.parametrize("change", ["weights", "length", "track", "order", "kind"])
def test_what_would_differ_is_computed(change, corpus, tmp_path):
    encoder = Encoder()
    extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept")
    crop = dict(CROP)
    if change == "weights":
        with torch.no_grad():
            encoder.linear.bias[0] += 1
    elif change == "length":
        encoder.linear = nn.Linear(2_000, 5)
        crop["seconds"] = 0.25
    elif change == "track":
        soundfile.write(corpus.path(0), np.zeros(6_000), RATE, subtype="FLOAT")
        corpus = open_corpus(corpus.root)
    elif change == "order":
        corpus = corpus.take(np.arange(len(corpus))[::-1])
    else:
        encoder = nn.Sequential(encoder, nn.Tanh())
    kept = extract_embeddings(encoder, corpus, **crop, cache=tmp_path / "kept")
    assert same(kept, extract_embeddings(encoder, corpus, **crop))


def test_settings_without_weights_tell_modules_apart(corpus):
    one, other = (
        fingerprint(nn.Sequential(LogMel(sample_rate=RATE, hop_length=hop)), corpus, 0.5, RATE)
        for hop in (160, 320)
    )
    assert one != other


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"?" * 99]
)
def test_what_is_damaged_is_computed_and_said(damage, corpus, tmp_path, small_parts, caplog):
    encoder = Encoder()
    first = extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept")
    file = sorted((tmp_path / "kept").rglob("*.npz"))[1]
    file.write_bytes(damage(file.read_bytes()))
    assert same(extract_embeddings(encoder, corpus, **CROP, cache=tmp_path / "kept"), first)
    assert f"{file} is damaged" in caplog.text


def test_short_tracks_are_remembered(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(2_000, 0.5), RATE)
    corpus = open_corpus(tmp_path)
    for _ in range(2):
        found = extract_embeddings(Encoder(), corpus, **CROP, cache=tmp_path / "kept")
        assert [problem.path for problem in found.problems] == ["short.wav"]


def test_a_function_cannot_be_kept_apart(corpus, tmp_path):
    with pytest.raises(ValueError, match="only modules can be told apart"):
        extract_embeddings(lambda audio: audio, corpus, **CROP, cache=tmp_path / "kept")


def test_what_16_bits_do_not_hold_is_refused(corpus):
    with pytest.raises(FloatingPointError, match="more than 16 bits hold"):
        extract_embeddings(lambda audio: 1e5 * torch.ones(len(audio), 2), corpus, **CROP)


def test_crops_are_pooled_by_mean_or_maximum():
    values, tracks = np.array([[1.0, 5.0], [3.0, 4.0], [7.0, 7.0]]), np.array([0, 0, 1])
    np.testing.assert_array_equal(pool(values, tracks), [[2.0, 4.5], [7.0, 7.0]])
    np.testing.assert_array_equal(pool(values, tracks, "max"), [[3.0, 5.0], [7.0, 7.0]])
    np.testing.assert_array_equal(pool(values[:, 0], tracks), [2.0, 7.0])
    with pytest.raises(ValueError, match="use 'mean' or 'max'"):
        pool(values, tracks, "median")
    with pytest.raises(ValueError, match="must follow each other"):
        pool(values, np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="must follow each other"):
        pool(values, np.array([0, 0, 2]))


def test_variants_are_those_of_every_track(corpus):
    encoder = Encoder()
    plain = extract_embeddings(encoder, corpus, **CROP).pooled()
    variants = [lambda crops, keys: crops, lambda crops, keys: 0.5 * crops, lambda crops, keys: crops.flip(0)]
    found = extract_variants(encoder, corpus, variants, **CROP, batch_size=5)
    assert found.shape == (len(corpus), 3, 5)
    np.testing.assert_allclose(found[:, 0], plain, atol=1e-3)
    np.testing.assert_allclose(found[:, 2], plain, atol=1e-3)
    with torch.no_grad():
        encoder.linear.bias.mul_(2)
    np.testing.assert_allclose(
        found[:, 1], extract_embeddings(encoder, corpus, **CROP).pooled() / 2, atol=1e-3
    )
    with pytest.raises(ValueError, match="6 tracks in 0 variants"):
        extract_variants(encoder, corpus, [], **CROP)


def test_variants_draw_from_a_key_per_crop(corpus):
    seen = []
    extract_variants(Encoder(), corpus, [lambda crops, keys: seen.append(keys) or crops] * 2, **CROP)
    crops = [int(seconds / CROP["seconds"]) for seconds in SECONDS]
    assert [len(keys) for keys in seen] == np.repeat(crops, 2).tolist()
    for one, two in zip(seen[::2], seen[1::2], strict=True):
        np.testing.assert_array_equal(one, two)
    every = np.concatenate(seen[::2])
    assert len(np.unique(every)) == len(every)


def test_crops_of_some_tracks_are_numbered_among_them(corpus):
    embeddings = extract_embeddings(Encoder(), corpus, **CROP)
    rows = np.array([1, 4])
    crops, owners = crops_of(embeddings, corpus, rows)
    np.testing.assert_array_equal(
        crops, np.concatenate([embeddings.crops[embeddings.tracks == r] for r in rows])
    )
    assert owners.tolist() == [0] * 3 + [1] * 6
