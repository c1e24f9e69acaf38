"""What every registered probe promises."""

import numpy as np
import pytest

from mvssl.evaluation import average_precision, chance_ap, draw_subsets, macro
from mvssl.evaluation.probes import ProbeData, probes

SPLITS = {"train": np.arange(120), "valid": np.arange(120, 170), "test": np.arange(170, 250)}


@pytest.fixture(params=probes.names())
def probe(request):
    return probes.entry(request.param).target


@pytest.fixture
def problem():
    """Tags behind noise."""
    rng = np.random.default_rng(0)
    targets = rng.random((250, 3)) < 0.4
    return targets @ rng.normal(size=(3, 8)) + rng.normal(0, 0.3, (250, 8)), targets


@pytest.fixture
def subsets(problem):
    return draw_subsets(problem[1][:120], (0.2, 1.0), repeats=2)


def quality(scores, targets):
    return macro(average_precision(scores, targets[SPLITS["test"]]))


def test_an_oracle_is_found(probe, problem, subsets):
    features, targets = problem
    found = probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
    assert found.scores.shape == (3, 80, 3)
    assert found.valid_scores.shape == (3, 50, 3)
    assert found.valid_values.shape == (3, len(found.grid))
    assert set(found.chosen) <= set(found.grid)
    assert quality(found.scores[-1], targets) > 0.9
    chosen = [macro(average_precision(scores, targets[SPLITS["valid"]])) for scores in found.valid_scores]
    np.testing.assert_allclose(chosen, found.valid_values.max(axis=1), atol=1e-6)


def test_shuffled_labels_score_chance(probe, problem, subsets):
    features, targets = problem
    rng = np.random.default_rng(1)
    values = []
    for _ in range(4):
        shuffled = targets[rng.permutation(250)]
        found = probe(ProbeData(features, shuffled, **SPLITS), subsets=subsets[-1:])
        values.append(quality(found.scores[0], shuffled) - macro(chance_ap(shuffled[SPLITS["test"]])))
    assert abs(np.mean(values)) < 0.05


def test_the_test_split_teaches_nothing(probe, problem, subsets):
    features, targets = problem
    found = probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
    others, lies = features.copy(), targets.copy()
    others[SPLITS["test"][1:]] += 5
    lies[SPLITS["test"]] = ~lies[SPLITS["test"]]
    again = probe(ProbeData(others, lies, **SPLITS), subsets=subsets)
    np.testing.assert_allclose(again.scores[:, 0], found.scores[:, 0], atol=1e-5)
    np.testing.assert_array_equal(again.chosen, found.chosen)


def test_labels_beyond_the_subset_teach_nothing(probe, problem, subsets):
    features, targets = problem
    small = subsets[:1]
    lies = targets.copy()
    hidden = np.setdiff1d(SPLITS["train"], small[0].indices)
    lies[hidden] = ~lies[hidden]
    found, again = (probe(ProbeData(features, labels, **SPLITS), subsets=small) for labels in (targets, lies))
    np.testing.assert_array_equal(found.scores, again.scores)


def test_the_same_again_and_beside_others(probe, problem, subsets):
    features, targets = problem
    together = probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
    np.testing.assert_array_equal(
        probe(ProbeData(features, targets, **SPLITS), subsets=subsets).scores, together.scores
    )
    for number, subset in enumerate(subsets):
        alone = probe(ProbeData(features, targets, **SPLITS), subsets=[subset])
        np.testing.assert_allclose(alone.scores[0], together.scores[number], atol=1e-3)


def test_features_may_have_any_scale(probe, problem, subsets):
    features, targets = problem
    found = probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
    scaled = probe(ProbeData(features * 2.0**10 - 2.0**9, targets, **SPLITS), subsets=subsets)
    np.testing.assert_allclose(scaled.scores, found.scores, atol=1e-3)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_track_on_two_sides_is_refused(probe, problem, subsets, split):
    features, targets = problem
    leaking = {**SPLITS, split: np.r_[SPLITS[split], 7]}
    with pytest.raises(ValueError, match=r"1 tracks are in more than one .* \(first: row 7\)"):
        probe(ProbeData(features, targets, **leaking), subsets=subsets)


def test_what_is_not_finite_is_refused(probe, problem, subsets):
    features, targets = problem
    features[3, 2] = np.nan
    with pytest.raises(FloatingPointError, match="first: row 3"):
        probe(ProbeData(features, targets, **SPLITS), subsets=subsets)
