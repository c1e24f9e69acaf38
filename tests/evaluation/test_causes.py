from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from mvssl.data import CorpusError, synthetic
from mvssl.evaluation.causes import GRID, causes_kept, ridge_r2

ROWS = {"train": np.arange(60), "valid": np.arange(60, 90), "test": np.arange(90, 150)}


def test_r2_equals_scikit_learn():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 20)) * rng.uniform(0.1, 10, 20) + 3
    targets = features @ rng.normal(size=(20, 4)) + rng.normal(size=(150, 4)) * [1, 30, 100, 1000]
    found = ridge_r2(features, targets, **ROWS)
    x = StandardScaler().fit(features[:60]).transform(features)
    for target in range(4):
        y = targets[:, target]
        models = [Ridge(alpha=1 / c).fit(x[:60], y[:60]) for c in GRID]
        best = max(models, key=lambda model: r2_score(y[60:90], model.predict(x[60:90])))
        assert found[target] == pytest.approx(r2_score(y[90:], best.predict(x[90:])), abs=1e-9)


def test_what_is_there_is_found_and_what_is_not_is_not():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 5))
    r2 = ridge_r2(features, np.c_[features[:, 0] * 7 - 2, rng.normal(size=150)], **ROWS)
    assert r2[0] > 0.99
    assert r2[1] < 0.1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVSSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield synthetic(tracks=120, seconds=1.0, seed=5)


def test_an_encoder_of_levels_keeps_the_level_alone(corpus):
    def level(audio):
        return audio.square().mean(1, keepdim=True).clamp_min(1e-9).log10()

    loud = replace(corpus, factors={"bpm": corpus.factors["bpm"], "level_db": corpus.factors["level_db"]})
    kept = causes_kept(level, loud, seconds=1.0, sample_rate=16_000)
    assert list(kept) == [*corpus.tag_groups, "production"]
    assert kept["production"] > 0.7
    nothing = causes_kept(lambda audio: torch.ones(len(audio), 2), corpus, seconds=1.0, sample_rate=16_000)
    assert all(abs(value) < 0.15 for value in nothing.values())


def test_a_corpus_without_causes_is_refused(corpus):
    with pytest.raises(CorpusError, match="names no causes"):
        causes_kept(torch.nn.Identity(), replace(corpus, factors={}), seconds=1.0, sample_rate=16_000)
