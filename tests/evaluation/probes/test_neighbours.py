import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from mvssl.evaluation import Subset, draw_subsets
from mvssl.evaluation.probes import ProbeData, knn_probe, standardise

SPLITS = {"train": np.arange(60), "valid": np.arange(60, 80), "test": np.arange(80, 110)}


def problem(seed=0, tags=4):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(110, 6))
    return features, features @ rng.normal(size=(6, tags)) + rng.normal(size=(110, tags)) > 0.5


def scikit_learn(features, targets, neighbours, asked, rows):
    x = standardise(features, SPLITS["train"])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    model = KNeighborsRegressor(
        min(neighbours, len(rows)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / 0.07),
    )
    return model.fit(x[rows], targets[rows].astype(float)).predict(x[asked])


@pytest.mark.parametrize("neighbours", [1, 5, 40])
def test_scores_are_scikit_learns(neighbours):
    features, targets = problem()
    subsets = draw_subsets(targets[:60], (0.2, 1.0), repeats=2)
    found = knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets, grid=[neighbours])
    for subset, scores in zip(subsets, found.scores, strict=True):
        expected = scikit_learn(features, targets, neighbours, SPLITS["test"], subset.indices)
        np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_the_number_is_chosen_on_validation():
    features, targets = problem()
    subsets = [Subset(1.0, 0, np.arange(60))]
    several = knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets, grid=(30, 1, 5))
    each = [knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets, grid=[k]) for k in (1, 5, 30)]
    assert several.grid == (1, 5, 30)
    np.testing.assert_array_equal(several.valid_values[0], [one.valid_values[0, 0] for one in each])
    best = int(several.valid_values[0].argmax())
    assert several.chosen[0] == several.grid[best]
    np.testing.assert_allclose(several.scores, each[best].scores)


def test_large_problems_are_done_in_parts(monkeypatch):
    features, targets = problem()
    subsets = [Subset(1.0, 0, np.arange(60))]
    whole = knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
    monkeypatch.setattr("mvssl.evaluation.probes.neighbours._AT_ONCE", 1_000)
    np.testing.assert_allclose(
        knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets).scores, whole.scores
    )


def test_what_cannot_be_is_refused():
    features, targets = problem()
    subsets = [Subset(1.0, 0, np.arange(60))]
    with pytest.raises(ValueError, match="numbers of neighbours from 1 on"):
        knn_probe(ProbeData(features, targets, **SPLITS), subsets=subsets, grid=(0, 1))
    leaking = {**SPLITS, "train": np.r_[SPLITS["train"], 80]}
    with pytest.raises(ValueError, match=r"1 tracks are in more than one .* \(first: row 80\)"):
        knn_probe(ProbeData(features, targets, **leaking), subsets=subsets)
