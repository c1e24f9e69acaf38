import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from mvssl.evaluation import bootstrap_metric, resample_weights
from mvssl.evaluation.metrics import (
    KEYS,
    accuracy,
    average_precision,
    best_thresholds,
    confusion_matrix,
    f1,
    micro,
    roc_auc,
    weighted_key_score,
)

seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=150)
@given(seeds, st.integers(1, 12), st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_f1_and_its_threshold(seed, tracks, levels, share):
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, levels, (tracks, 3)) / 7, rng.random((tracks, 3)) < share
    weights = rng.integers(0, 3, (4, tracks))
    thresholds = best_thresholds(scores, targets)
    found = f1(scores >= thresholds, targets, weights)
    for tag in range(3):
        truth = targets[:, tag]
        if not truth.any():
            assert thresholds[tag] == np.inf
        else:
            tried = sorted(set(scores[:, tag]), reverse=True)
            values = [sklearn.f1_score(truth, scores[:, tag] >= threshold) for threshold in tried]
            assert f1(scores >= thresholds, targets)[tag] == pytest.approx(max(values), abs=1e-12)
            assert thresholds[tag] == tried[int(np.argmax(values))]
        for value, weight in zip(found[:, tag], weights, strict=True):
            if weight[truth].sum() == 0:
                assert np.isnan(value)
            else:
                theirs = sklearn.f1_score(truth, scores[:, tag] >= thresholds[tag], sample_weight=weight)
                assert value == pytest.approx(theirs, abs=1e-12)


@pytest.mark.filterwarnings("ignore:'k' :sklearn.exceptions.UndefinedMetricWarning")
@settings(deadline=None, max_examples=100)
@given(seeds, st.integers(1, 20), st.integers(3, 6), st.integers(1, 4), st.integers(1, 3))
def test_accuracy_is_scikit_learns_with_ties_too(seed, tracks, classes, levels, k):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels, (tracks, classes)) / 3, rng.integers(0, classes, tracks)
    weights = rng.integers(0, 3, (4, tracks))
    theirs = sklearn.top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
    assert accuracy(scores, labels, k) == pytest.approx(theirs, abs=1e-12)
    for value, weight in zip(accuracy(scores, labels, k, weights), weights, strict=True):
        if weight.sum() == 0:
            assert np.isnan(value)
        else:
            copies = np.repeat(np.arange(tracks), weight)
            assert value == pytest.approx(float(accuracy(scores[copies], labels[copies], k)), abs=1e-12)


def test_the_confusion_matrix_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (2, 50))
    found = confusion_matrix(predicted, labels, 5)  # of a class that does not occur
    np.testing.assert_array_equal(found, sklearn.confusion_matrix(labels, predicted, labels=range(5)))


def test_key_scores_are_mir_evals():
    from mir_eval.key import weighted_score

    assert len(set(KEYS)) == 24
    for truth, right in enumerate(KEYS):
        for guess, said in enumerate(KEYS):
            assert weighted_key_score([guess], [truth]) == weighted_score(right, said), (right, said)
    weights = resample_weights(24, 7)
    several = weighted_key_score(np.arange(24), np.roll(np.arange(24), 7), weights)
    each = [weighted_key_score([key], [(key - 7) % 24]) for key in range(24)]
    np.testing.assert_allclose(several, weights @ np.array(each) / 24)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [(average_precision, sklearn.average_precision_score), (roc_auc, sklearn.roc_auc_score)],
)
def test_micro_is_scikit_learns(metric, reference):
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(30, 4)).round(1), rng.random((30, 4)) < 0.3
    assert micro(metric, scores, targets) == pytest.approx(reference(targets, scores, average="micro"))
    weights = resample_weights(30, 5)
    found = micro(metric, scores, targets, weights)
    expected = [reference(targets, scores, average="micro", sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_bootstrap_takes_them():
    rng = np.random.default_rng(0)
    targets = rng.random((40, 3)) < 0.4
    cells = rng.random((2, 40, 3)) < 0.5
    assert bootstrap_metric(f1, cells, targets, resample_weights(40, 11)).shape == (2, 11, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: f1(np.ones((2, 3)), np.ones((2, 2))), "same shape"),
        (lambda: f1(np.ones((2, 3)), np.ones((2, 3)), -np.ones((1, 2))), "must not be negative"),
        (lambda: accuracy(np.zeros((2, 3)), [0, 3]), "labels of track row 1 is 3, and there are 3 classes"),
        (lambda: accuracy(np.zeros((2, 3)), [0.5, 1]), "whole numbers"),
        (lambda: accuracy(np.zeros((2, 3)), [0]), "one for each of 2 tracks"),
        (lambda: accuracy(np.full((2, 3), np.nan), [0, 1]), "finite"),
        (lambda: accuracy(np.zeros((2, 3)), [0, 1], k=4), "between 1 and the number of classes, 3"),
        (lambda: confusion_matrix([0, -1], [0, 1], 2), "predicted of track row 1 is -1"),
        (lambda: weighted_key_score([24], [0]), "there are 24 classes"),
        (lambda: best_thresholds(np.full((1, 1), np.inf), [[True]]), "row 0 are not finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
