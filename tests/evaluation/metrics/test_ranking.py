import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from mvssl.evaluation import average_precision, chance_ap, macro, roc_auc


@st.composite
def rankings(draw):
    """Scores with many ties, targets with missing classes, weights with zeros."""
    tracks, tags, resamples = draw(st.integers(1, 12)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.integers(1, 6))  # 1: constant scores
    scores = rng.integers(0, levels, (tracks, tags)) * draw(st.sampled_from([1.0, 1e-12, -1e9]))
    targets = rng.random((tracks, tags)) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    return scores, targets, rng.integers(0, 4, (resamples, tracks))


def naive_average_precision(scores, targets, weights):
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        hits = weights[chosen & targets].sum()
        if hits:
            before, recall = recall, hits / weights[targets].sum()
            area += (recall - before) * hits / weights[chosen].sum()
    return area


def naive_roc_auc(scores, targets, weights):
    won = pairs = 0.0
    for positive, negative in itertools.product(np.flatnonzero(targets), np.flatnonzero(~targets)):
        weight = weights[positive] * weights[negative]
        pairs += weight
        won += weight * (np.sign(scores[positive] - scores[negative]) + 1) / 2
    return won / pairs


@pytest.mark.parametrize(
    ("metric", "naive", "reference"),
    [
        (average_precision, naive_average_precision, average_precision_score),
        (roc_auc, naive_roc_auc, roc_auc_score),
    ],
)
@settings(deadline=None, max_examples=150)
@given(rankings())
def test_equals_definition_and_scikit_learn(metric, naive, reference, ranking):
    scores, targets, weights = ranking
    weighted = metric(scores, targets, weights)
    everyone = metric(scores, targets)
    assert weighted.shape == (len(weights), targets.shape[1])
    for tag in range(targets.shape[1]):
        column, truth = scores[:, tag], targets[:, tag]
        values = [everyone[tag], *weighted[:, tag]]
        for value, weight in zip(values, [np.ones(len(truth)), *weights], strict=True):
            positives, negatives = weight[truth].sum(), weight[~truth].sum()
            if positives == 0 or (metric is roc_auc and negatives == 0):
                assert np.isnan(value)
                continue
            assert value == pytest.approx(naive(column, truth, weight), abs=1e-9)
            assert value == pytest.approx(reference(truth, column, sample_weight=weight), abs=1e-9)


def test_many_tracks_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 4)) < [0.02, 0.1, 0.5, 0.9]
    scores = (rng.normal(size=targets.shape) + targets).round(1)
    weights = rng.multinomial(500, np.full(500, 1 / 500), size=5)
    for metric, reference in [(average_precision, average_precision_score), (roc_auc, roc_auc_score)]:
        expected = [reference(targets, scores, average=None, sample_weight=weight) for weight in weights]
        np.testing.assert_allclose(metric(scores, targets, weights), expected, atol=1e-9)


@pytest.mark.parametrize("metric", [average_precision, roc_auc])
def test_a_weight_is_a_number_of_copies(metric):
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=(40, 2)), rng.random((40, 2)) < 0.3
    drawn = rng.integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[None]
    np.testing.assert_allclose(metric(scores, targets, weights)[0], metric(scores[drawn], targets[drawn]))


def test_constant_scores_give_prevalence_and_one_half():
    targets = np.arange(10)[:, None] < 3
    assert average_precision(np.zeros((10, 1)), targets) == pytest.approx([0.3])
    assert roc_auc(np.zeros((10, 1)), targets) == pytest.approx([0.5])


@pytest.mark.parametrize("metric", [average_precision, roc_auc])
@pytest.mark.parametrize(
    ("scores", "weights", "message"),
    [
        (np.zeros((3, 1)), None, "same shape"),
        (np.full((3, 2), np.nan), None, "row 0 are not finite"),
        (np.zeros((3, 2)), np.ones((5, 4)), "3 tracks"),
        (np.zeros((3, 2)), -np.ones((5, 3)), "negative"),
    ],
)
def test_bad_input_is_named(metric, scores, weights, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, np.ones((3, 2), bool), weights)


@pytest.mark.parametrize(("tracks", "positives"), [(1, 1), (5, 1), (5, 2), (6, 3), (4, 4)])
def test_chance_ap_is_the_mean_over_all_orders(tracks, positives):
    orders = list(itertools.permutations(range(tracks)))
    targets = np.arange(tracks)[:, None] < positives
    mean = np.mean([average_precision(np.array(order)[:, None], targets) for order in orders])
    assert chance_ap(targets) == pytest.approx([mean])


def test_chance_ap_agrees_with_simulation():
    rng = np.random.default_rng(2)
    targets = np.arange(100)[:, None] < [1, 10, 40]
    simulated = np.array([average_precision(rng.random(targets.shape), targets) for _ in range(4000)])
    error = simulated.std(axis=0) / np.sqrt(len(simulated))
    assert (np.abs(simulated.mean(axis=0) - chance_ap(targets)) < 3.5 * error).all()


def test_macro_leaves_out_undefined_tags():
    targets = np.array([[True, False], [False, False]])
    values = average_precision(np.array([[1.0, 0.0], [0.0, 1.0]]), targets)
    assert np.isnan(values[1])
    assert np.isnan(chance_ap(targets)[1])
    assert macro(values) == 1.0
    assert np.isnan(macro([np.nan, np.nan]))
    np.testing.assert_array_equal(macro([[1.0, 3.0], [np.nan, 5.0]]), [2.0, 5.0])
