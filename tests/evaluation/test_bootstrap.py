import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mvssl.evaluation import (
    average_precision,
    bootstrap,
    bootstrap_metric,
    chance_ap,
    interval,
    macro,
    resample_weights,
    roc_auc,
)


def test_weights_are_counts_of_draws():
    weights = resample_weights(50, resamples=2000)
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all()
    # Multinomial: mean 1 and variance 1 − 1/n.
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.12)
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.03)


def test_weights_are_seeded():
    np.testing.assert_array_equal(resample_weights(9, 5, seed=1), resample_weights(9, 5, seed=1))
    assert (resample_weights(9, 5, seed=1) != resample_weights(9, 5, seed=2)).any()


def test_groups_are_drawn_whole():
    groups = np.array(["b", "", "a", "b", "", "a", "b"])
    weights = resample_weights(7, resamples=300, groups=groups)
    for name in ("a", "b"):
        members = weights[:, groups == name]
        assert (members == members[:, :1]).all()
    first_of_each = weights[:, [0, 1, 2, 4]]  # a track without a group is one of its own
    assert (first_of_each.sum(axis=1) == 4).all()
    assert np.abs(np.corrcoef(first_of_each.T) - np.eye(4)).max() < 0.5


def test_a_single_group_gives_no_interval():
    weights = resample_weights(6, resamples=20, groups=["artist"] * 6)
    targets = np.array([[1], [0], [1], [0], [0], [1]], bool)
    values = bootstrap_metric(average_precision, np.arange(6.0).reshape(1, 6, 1), targets, weights)[0]
    low, high = interval(macro(values), estimate=0.5)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("arguments", [{"tracks": 0}, {"tracks": 3, "groups": ["a", "b"]}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="one group for each"):
        resample_weights(**arguments)


def test_interval_of_a_mean_is_the_analytic_one():
    values = np.random.default_rng(0).normal(size=400)
    means = resample_weights(400, resamples=4000) @ values / 400
    low, high = interval(means)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    weights = resample_weights(80, resamples=500)
    samples = rng.exponential(size=(400, 80))
    low, high = interval(weights @ samples.T / 80, level=0.9)
    covered = ((low <= 1) & (high >= 1)).mean()
    assert 0.85 < covered < 0.94


def test_average_precision_is_covered_after_removing_the_bias():
    rng = np.random.default_rng(0)
    weights = resample_weights(150, resamples=200)
    targets = rng.random((150, 20)) < 0.15
    truth = macro(chance_ap(targets))
    covered = {"moved": 0, "as it is": 0}
    for _ in range(100):
        scores = rng.normal(size=targets.shape)
        values = macro(average_precision(scores, targets, weights))
        low, high = interval(values, estimate=macro(average_precision(scores, targets)))
        covered["moved"] += low < truth < high
        low, high = interval(values)
        covered["as it is"] += low < truth < high
    assert covered["moved"] >= 90
    assert covered["as it is"] <= 85


def test_interval_is_wider_when_tracks_of_a_group_are_alike():
    values = np.random.default_rng(0).normal(size=50).repeat(4)
    groups = np.arange(50).repeat(4).astype(str)
    spread = {}
    for name, by in (("tracks", None), ("groups", groups)):
        weights = resample_weights(200, resamples=2000, groups=by)
        spread[name] = (weights @ values / 200).std()
    assert spread["groups"] / spread["tracks"] == pytest.approx(2, rel=0.1)  # √4


def test_interval_along_an_axis_without_undefined_values():
    values = np.arange(101.0)[:, None] * [1.0, 2.0] + np.array([0.0, 5.0])
    values = np.concatenate([values, np.full((3, 2), np.nan)])
    values = np.concatenate([values, np.full((104, 1), np.nan)], axis=1)
    low, high = interval(values.T, level=0.8, axis=1)
    np.testing.assert_allclose(low, [10, 25, np.nan])
    np.testing.assert_allclose(high, [90, 185, np.nan])
    with pytest.raises(ValueError, match="level=95"):
        interval(values, level=95)


def test_metric_equals_resampling_the_rows():
    rng = np.random.default_rng(0)
    targets = rng.random((60, 2)) < 0.4
    scores = rng.normal(size=(3, 60, 2)) + targets
    weights = resample_weights(60, resamples=7)
    values = bootstrap_metric(average_precision, scores, targets, weights)
    assert values.shape == (3, 7, 2)
    for cell, resample, tag in np.ndindex(values.shape):
        rows = np.arange(60).repeat(weights[resample])
        expected = average_precision_score(targets[rows, tag], scores[cell, rows, tag])
        assert values[cell, resample, tag] == pytest.approx(expected)


def test_metric_does_not_depend_on_the_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(2, 30, 3)), rng.random((30, 3)) < 0.5
    weights = resample_weights(30, resamples=11)
    whole = bootstrap_metric(roc_auc, scores, targets, weights)
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    np.testing.assert_array_equal(bootstrap_metric(roc_auc, scores, targets, weights), whole)
