import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from mvssl.evaluation import (
    ProbeData,
    Subset,
    average_precision,
    bootstrap_metric,
    chance_ap,
    draw_subsets,
    fit_linear_probes,
    interval,
    linear_probe,
    macro,
    resample_weights,
)

GRID = (1e-4, 1e-2, 1.0, 100.0)


def problem(tracks, dim, tags, seed=0):
    """Correlated features and tags that depend on some of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(tracks, dim)) @ rng.normal(size=(dim, dim)) / np.sqrt(dim)
    hidden = features @ rng.normal(size=(dim, tags)) / np.sqrt(dim) + rng.normal(size=(tracks, tags))
    return features, hidden > rng.uniform(0, 1.2, tags)


def everything(features):
    return [Subset(1.0, 0, np.arange(len(features)))]


def probabilities(features, weights, intercepts):
    return expit(features @ weights + intercepts)


def scikit_learn(features, targets, c, evaluated):
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    return model.fit(features, targets).predict_proba(evaluated)[:, 1]


@pytest.mark.parametrize(("tracks", "dim"), [(150, 10), (60, 80)])
def test_probabilities_equal_scikit_learn(tracks, dim):
    features, targets = problem(tracks, dim, tags=3)
    subsets = draw_subsets(targets, (0.1, 0.5, 1.0), repeats=2)
    probes = fit_linear_probes(features, targets, subsets, GRID)
    assert probes.weights.shape == (5, len(GRID), dim, 3)
    for number, subset in enumerate(subsets):
        for step, c in enumerate(GRID):
            ours = probabilities(features, probes.weights[number, step], probes.intercepts[number, step])
            for tag in range(3):
                rows = subset.indices
                theirs = scikit_learn(features[rows], targets[rows, tag], c, features)
                np.testing.assert_allclose(ours[:, tag], theirs, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("tracks", "dim"), [(150, 10), (60, 80)])
def test_classes_equal_scikit_learns_multinomial_regression(tracks, dim):
    features, _ = problem(tracks, dim, tags=4)
    labels = (features[:, :4] + np.random.default_rng(1).normal(size=(tracks, 4))).argmax(axis=1)
    targets = np.eye(4, dtype=bool)[labels]
    subsets = draw_subsets(targets, (0.3, 1.0), repeats=2)
    probes = fit_linear_probes(features, targets, subsets, GRID, "softmax")
    for number, subset in enumerate(subsets):
        for step, c in enumerate(GRID):
            logits = features @ probes.weights[number, step] + probes.intercepts[number, step]
            model = LogisticRegression(C=c, tol=1e-10, max_iter=5000)
            theirs = model.fit(features[subset.indices], labels[subset.indices]).predict_proba(features)
            np.testing.assert_allclose(softmax(logits, axis=1), theirs, atol=1e-4)


def test_a_class_without_a_track_is_the_least_likely():
    features, _ = problem(60, 5, tags=1)
    labels = np.repeat([0, 1, 1], 20)
    targets = np.eye(3, dtype=bool)[labels]
    probes = fit_linear_probes(features, targets, everything(features), GRID, "softmax")
    assert not probes.weights[..., 2].any()
    weak = probes.intercepts[0, 0]
    np.testing.assert_allclose(np.exp(weak - weak[2]) / 2, [20, 40, 0.5], rtol=0.01)


@pytest.mark.parametrize(("tracks", "dim"), [(150, 10), (30, 80)])
def test_numbers_equal_scikit_learns_ridge_regression(tracks, dim):
    features, _ = problem(tracks, dim, tags=1)
    numbers = features[:, :2] * [100.0, 0.01] + [7.0, -3.0]
    numbers += np.random.default_rng(1).normal(size=(tracks, 2)) * [50, 0.005]
    subsets = draw_subsets(numbers, (0.3, 1.0), repeats=2)
    probes = fit_linear_probes(features, numbers, subsets, GRID, "squares")
    for number, subset in enumerate(subsets):
        known = numbers[subset.indices]
        unit = known.std(axis=0)
        for step, c in enumerate(GRID):
            ours = features @ probes.weights[number, step] + probes.intercepts[number, step]
            theirs = Ridge(alpha=1 / c, solver="svd").fit(features[subset.indices], known / unit)
            np.testing.assert_allclose(ours / unit, theirs.predict(features), rtol=1e-7, atol=1e-7)


def test_outliers_and_almost_no_regularisation():
    # Undamped Newton steps diverge here.
    rng = np.random.default_rng(0)
    features = rng.standard_t(1.2, size=(300, 30))
    targets = features @ rng.normal(size=(30, 8)) + rng.normal(size=(300, 8)) > np.linspace(-3, 6, 8)
    weights, intercepts = fit_linear_probes(features, targets, everything(features), grid=(1e3,))
    ours = probabilities(features, weights[0, 0], intercepts[0, 0])
    for tag in range(8):
        theirs = scikit_learn(features, targets[:, tag], 1e3, features)
        np.testing.assert_allclose(ours[:, tag], theirs, atol=1e-5)


def test_path_equals_separate_fits():
    features, targets = problem(80, 20, tags=4)
    path = fit_linear_probes(features, targets, everything(features), GRID)
    for step, c in enumerate(GRID):
        alone = fit_linear_probes(features, targets, everything(features), [c])
        np.testing.assert_allclose(path.weights[:, step], alone.weights[:, 0], atol=1e-6)
        np.testing.assert_allclose(path.intercepts[:, step], alone.intercepts[:, 0], atol=1e-6)


def test_a_tag_with_one_class_gets_the_same_score_for_every_track():
    features, targets = problem(40, 5, tags=3)
    targets[:, 0], targets[:, 1] = False, True
    weights, intercepts = fit_linear_probes(features, targets, everything(features), GRID)
    assert not weights[..., :2].any()
    np.testing.assert_allclose(intercepts[0, :, 0], np.log(0.5 / 40.5))
    np.testing.assert_allclose(intercepts[0, :, 1], np.log(40.5 / 0.5))
    assert weights[..., 2].all()


def test_constant_features_predict_the_prevalence():
    targets = np.arange(20)[:, None] < 5
    weights, intercepts = fit_linear_probes(np.ones((20, 3)), targets, everything(targets), GRID)
    assert not weights.any()
    np.testing.assert_allclose(intercepts, np.log(5 / 15), atol=1e-5)


def splits(tracks):
    return {"train": np.arange(tracks)[: tracks // 2], "valid": np.arange(tracks)[tracks // 2 : -tracks // 4],
            "test": np.arange(tracks)[-tracks // 4 :]}  # fmt: skip


def test_probe_is_standardise_then_choose_then_score():
    features, targets = problem(240, 12, tags=3)
    features = features * np.logspace(-3, 3, 12) + 100
    parts = splits(240)
    subset = Subset(0.3, 0, np.arange(0, 120, 3))
    result = linear_probe(ProbeData(features, targets, **parts), subsets=[subset], grid=GRID)

    scaled = StandardScaler().fit(features[parts["train"]]).transform(features)
    rows = parts["train"][subset.indices]
    logits = {}
    for c in GRID:
        models = OneVsRestClassifier(LogisticRegression(C=c, tol=1e-10, max_iter=5000))
        logits[c] = models.fit(scaled[rows], targets[rows]).decision_function(scaled)
    valid = [macro(average_precision(logits[c][parts["valid"]], targets[parts["valid"]])) for c in GRID]
    np.testing.assert_allclose(result.valid_values[0], valid, atol=1e-9)
    assert result.chosen[0] == GRID[int(np.argmax(valid))]
    np.testing.assert_allclose(result.scores[0], logits[result.chosen[0]][parts["test"]], atol=1e-3)


def test_of_equal_values_the_strongest_regularisation_is_chosen():
    # One feature: every C ranks the tracks alike.
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 1))
    targets = features + rng.normal(size=(80, 1)) > 0
    parts = splits(80)
    subsets = draw_subsets(targets[parts["train"]], (0.5, 1.0), repeats=2)
    result = linear_probe(ProbeData(features, targets, **parts), subsets=subsets, grid=GRID[::-1])
    assert result.grid == GRID
    assert (result.chosen == GRID[0]).all()
    assert result.scores.shape == (3, 20, 1)


def test_constant_and_nearly_constant_columns_change_nothing():
    features, targets = problem(80, 6, tags=2)
    features = features.astype(np.float32)
    noise = 1000 * (1 + 1e-7 * np.random.default_rng(0).normal(size=(80, 3)))
    dead = np.concatenate([np.full((80, 1), 0.1, np.float32), noise.astype(np.float32)], axis=1)
    parts = splits(80)
    subsets = draw_subsets(targets[parts["train"]], (0.5,), repeats=2)
    with_dead, without = (
        linear_probe(ProbeData(x, targets, **parts), subsets=subsets, grid=GRID)
        for x in (np.concatenate([features, dead], axis=1), features)
    )
    np.testing.assert_allclose(with_dead.scores, without.scores, atol=1e-3)


def test_an_embedding_that_knows_the_answer_scores_high():
    rng = np.random.default_rng(0)
    targets = rng.random((400, 8)) < 0.3
    oracle = targets @ rng.normal(size=(8, 64)) + 0.3 * rng.normal(size=(400, 64))
    parts = splits(400)
    subsets = draw_subsets(targets[parts["train"]], (0.1, 1.0), repeats=2)
    result = linear_probe(ProbeData(oracle, targets, **parts), subsets=subsets)
    assert min(macro(average_precision(scores, targets[parts["test"]])) for scores in result.scores) > 0.9


def test_shuffled_labels_score_chance():
    features, targets = problem(600, 32, tags=6)
    parts = splits(600)
    weights = resample_weights(len(parts["test"]), resamples=200)

    def is_chance(labels):
        subsets = draw_subsets(labels[parts["train"]], (0.3,), repeats=1)
        scores = linear_probe(ProbeData(features, labels, **parts), subsets=subsets, grid=GRID).scores
        truth = labels[parts["test"]]
        values = macro(bootstrap_metric(average_precision, scores, truth, weights))[0]
        low, high = interval(values, estimate=macro(average_precision(scores[0], truth)))
        return low < macro(chance_ap(truth)) < high

    rng = np.random.default_rng(0)
    assert sum(is_chance(rng.permutation(targets)) for _ in range(20)) >= 17  # 19 expected
    assert not is_chance(targets)


def test_bad_input_is_named():
    features, targets = problem(40, 4, tags=2)
    parts = splits(40)
    subsets = draw_subsets(targets[parts["train"]], (1.0,))
    broken = features.copy()
    broken[7, 2], broken[9, 0] = np.nan, np.inf
    with pytest.raises(FloatingPointError, match=r"2 of 40 tracks are not finite .*row 7"):
        linear_probe(ProbeData(broken, targets, **parts), subsets=subsets)
    with pytest.raises(ValueError, match=r"\(39, 4\) must be .*\(40, 2\)"):
        linear_probe(ProbeData(features[:-1], targets, **parts), subsets=subsets)
    with pytest.raises(ValueError, match="above 0"):
        linear_probe(ProbeData(features, targets, **parts), subsets=subsets, grid=(0.0, 1.0))
    targets[parts["valid"]] = False
    with pytest.raises(ValueError, match="no tag has a positive in the validation split"):
        linear_probe(ProbeData(features, targets, **parts), subsets=subsets)


def test_no_convergence_is_an_error():
    features, targets = problem(100, 20, tags=2)
    with pytest.raises(FloatingPointError, match="C=1e\\+30"):
        fit_linear_probes(features * 1e6, targets, everything(features), grid=(1e30,))
