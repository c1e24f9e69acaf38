import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from mvssl.evaluation.metrics import r2


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(2, 20), st.sampled_from([0.0, 1.0, 1e4]))
def test_it_is_scikit_learns(seed, tracks, offset):
    rng = np.random.default_rng(seed)
    targets = offset + rng.normal(size=(tracks, 2))
    predicted = targets + rng.normal(size=(tracks, 2)) * [0.1, 3]
    theirs = r2_score(targets, predicted, multioutput="raw_values")
    np.testing.assert_allclose(r2(predicted, targets), theirs, rtol=1e-6, atol=1e-9)
    weights = rng.integers(1, 4, (3, tracks))
    for found, weight in zip(r2(predicted, targets, weights), weights, strict=True):
        theirs = r2_score(targets, predicted, sample_weight=weight, multioutput="raw_values")
        np.testing.assert_allclose(found, theirs, rtol=1e-6, atol=1e-9)


def test_what_does_not_vary_has_none():
    targets = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])
    found = r2(targets, targets)
    assert np.isnan(found[0])
    assert found[1] == 1
    assert np.isnan(r2(targets, targets, [[0, 2, 0], [0, 0, 0]])).all()


@pytest.mark.parametrize(
    ("predicted", "targets", "message"),
    [(np.zeros(3), np.zeros(3), "same shape"), (np.full((2, 1), np.nan), np.zeros((2, 1)), "finite")],
)
def test_bad_input_is_named(predicted, targets, message):
    with pytest.raises(ValueError, match=message):
        r2(predicted, targets)
