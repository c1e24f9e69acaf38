import numpy as np
import pytest
import torch

from mvssl.evaluation.objective import Objective
from mvssl.evaluation.tasks import tasks


@pytest.fixture
def outputs():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def test_tags_are_judged_one_by_one(outputs):
    truth = np.random.default_rng(0).random((6, 3)) < 0.5
    objective = Objective(tasks.entry("tagging").target, truth)
    chance = 1 / (1 + np.exp(-outputs.numpy().astype(float)))
    expected = -np.where(truth, np.log(chance), np.log(1 - chance)).mean()
    found = objective.loss(outputs, objective.standardised(truth))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(objective.scores(outputs.numpy()), outputs.numpy())


@pytest.mark.parametrize("kind", ["classification", "key"])
def test_classes_share_a_softmax(kind, outputs):
    truth = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    objective = Objective(tasks.entry(kind).target, truth)
    shares = np.exp(outputs.numpy().astype(float))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = -np.log(shares[truth.astype(bool)]).mean()
    found = objective.loss(outputs, objective.standardised(truth))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_numbers_are_standardised_by_the_labelled_tracks_and_given_back(outputs):
    labelled = np.array([[1000.0, 0.1, 7.0], [3000.0, 0.3, 7.0]])
    objective = Objective(tasks.entry("regression").target, labelled)
    standardised = objective.standardised(labelled)
    np.testing.assert_allclose(standardised, [[-1, -1, 0], [1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(objective.scores(standardised.numpy()), labelled, rtol=1e-6)
    found = objective.loss(outputs[:2], standardised)
    assert float(found) == pytest.approx(float(((outputs[:2] - standardised) ** 2).mean()))
    assert objective.value(labelled, labelled) == 1.0


def test_the_leading_metric_chooses():
    truth = np.eye(24)[[0, 7, 9, 3]]
    objective = Objective(tasks.entry("key").target, truth)
    fifth_above = np.eye(24)[[7, 2, 4, 10]]
    assert objective.value(truth, truth) == 1.0
    assert objective.value(fifth_above, truth) == pytest.approx(0.5)
