import json

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from mvssl.data import CorpusError, open_corpus
from mvssl.data.reading import AudioReader
from mvssl.evaluation import evaluate, layer_probes, standardise
from mvssl.evaluation.layers import PooledLayers, _layers

CROP = {"seconds": 1.0, "sample_rate": 16_000}


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music)


def naive(encoder, corpus):
    """Features (tracks, dim) of each layer."""
    encoder.eval()
    layers = [[] for _ in encoder.map_channels]
    for track in range(len(corpus)):
        with AudioReader(corpus.path(track)) as reader, torch.inference_mode():
            states = encoder.hidden_states(torch.from_numpy(reader.read()[:32_000].reshape(2, -1)))
        for layer, state in zip(layers, states, strict=True):
            layer.append(state.mean(1).half().float().mean(0).numpy())
    return [np.stack(layer) for layer in layers]


def test_every_layer_scores_as_if_it_were_alone(encoder, corpus):
    found = layer_probes(encoder, corpus, fractions=(0.3, 1.0), repeats=2)
    layers = naive(encoder, corpus)
    for name, features in [*enumerate(layers), ("all", np.concatenate(layers, 1))]:
        alone = evaluate(features, corpus, fractions=(0.3, 1.0), repeats=2)
        scores = {score.fraction: score for score in found.scores if score.layer == str(name)}
        for fraction, mean in alone.mean().items():
            assert scores[fraction].test.value == pytest.approx(mean, abs=0.01)
            assert scores[fraction].test.low == pytest.approx(alone.interval()[fraction].low, abs=0.02)
            assert scores[fraction].dim == features.shape[1]
    assert "mean" not in {score.layer for score in found.scores}  # layers of different sizes


class Layers(nn.Module):
    """Layers of noise and one that hears what the tracks are named by; notes how often it is asked."""

    def __init__(self, oracle, count=3, scale=1e-3):
        super().__init__()
        self.oracle, self.count, self.scale, self.calls = oracle, count, scale, 0

    def hidden_states(self, audio):
        self.calls += len(audio)
        generator = torch.Generator().manual_seed(len(audio) + self.calls)
        noise = [torch.randn(len(audio), 2 + n, 4, generator=generator) for n in range(self.count)]
        level = audio.square().mean(1).clamp_min(1e-9).log()
        heard = torch.stack([level, level.square(), level.sin(), level.cos()], 1)
        noise[self.oracle] = self.scale * heard[:, None].expand(-1, 5, -1)
        return tuple(noise)


@pytest.fixture(scope="module")
def loud(corpus, tmp_path_factory):
    """A corpus whose only tag is on loud tracks."""
    folder, rng = tmp_path_factory.mktemp("loud"), np.random.default_rng(0)
    lines = []
    for track in range(60):
        level = 0.1 if track % 2 else 0.01
        soundfile.write(folder / f"{track:02}.wav", level * rng.normal(size=32_000), 16_000)
        split = ("train", "train", "valid", "test")[track // 2 % 4]
        lines.append(
            json.dumps({"audio_path": f"{track:02}.wav", "tags": ["loud"] * (track % 2), "split": split})
        )
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return open_corpus(folder)


@pytest.mark.parametrize("oracle", [0, 2])
def test_the_layer_that_knows_is_chosen_on_validation(oracle, loud):
    encoder = Layers(oracle)
    found = layer_probes(encoder, loud, **CROP)
    assert found.best[1.0].layer == str(oracle)
    assert found.best[1.0].test.value == 1
    others = [score for score in found.scores if score.layer in {"0", "1", "2"} - {str(oracle)}]
    assert len(others) == 2
    assert all(score.test.low < 0.7 for score in others)
    # Standardised, what the small layer says is not drowned.
    both = {score.layer: score.test.value for score in found.scores if score.layer in ("all", "mean")}
    assert both["all"] > 0.9
    assert both["mean"] > 0.9
    # Two crops of each track, once for all layers, and one to look at the sizes.
    assert encoder.calls == 2 * len(loud) + 1


def test_the_mean_is_of_standardised_layers(loud):
    encoder = Layers(0, count=2)
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(len(loud), 4)) * scale + 3 for scale in (1, 100)]
    train = loud.indices("train")
    found = _layers(np.concatenate(parts, 1), (4, 4), train)
    expected = (standardise(parts[0], train) + standardise(parts[1], train)) / 2
    np.testing.assert_allclose(found["mean"], expected)
    assert list(found) == ["0", "1", "all", "mean"]
    assert list(_layers(parts[0], (4,), train)) == ["0"]
    assert PooledLayers(encoder, 16_000).dims == (4, 4)


def test_rows_table_and_choice_agree(encoder, corpus):
    found = layer_probes(encoder, corpus, fractions=(0.5, 1.0), repeats=2)
    rows = list(found.rows())
    assert len(rows) == 2 * (len(found.scores) + 2)
    for fraction, best in found.best.items():
        layers = [each for each in found.scores if each.fraction == fraction and each.layer.isdigit()]
        assert best.valid == max(each.valid for each in layers)
        chosen = [row for row in rows if (row["name"], row["level"]) == ("layer_best", fraction)]
        assert [row["value"] for row in chosen] == [best.test.value, best.valid]
    assert str(found).count("chosen") == 2


def test_layers_are_kept_on_disk_where_they_can_be_told_apart(encoder, corpus, tmp_path, monkeypatch):
    first = layer_probes(encoder, corpus, cache=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert layer_probes(encoder, corpus, cache=tmp_path).scores == first.scores
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    assert layer_probes(encoder, corpus, cache=tmp_path).scores != first.scores

    class Plain:
        hidden_states = Layers(0).hidden_states

    with pytest.raises(ValueError, match="only modules can be told apart"):
        layer_probes(Plain(), corpus, **CROP, cache=tmp_path)


def test_what_has_no_layers_is_refused(corpus):
    with pytest.raises(ValueError, match="Identity has no method hidden_states"):
        layer_probes(nn.Identity(), corpus, **CROP)
    flat = nn.Identity()
    flat.hidden_states = lambda audio: (audio,)
    with pytest.raises(ValueError, match=r"\[\(1, 16000\)\] for one crop"):
        layer_probes(flat, corpus, **CROP)
    with pytest.raises(CorpusError):
        layer_probes(Layers(0), "no such corpus", **CROP)
