import math

import numpy as np
import pytest
from scipy import stats

from mvssl.compare.comparison import MethodScores
from mvssl.compare.pairs import contests, holm, p_values, ranking, seed_differences
from mvssl.compare.sampling import Sample
from mvssl.compare.summary import summarise

QUALITY = {"good": (2.0, 2.2), "other": (1.9, 2.1), "random": (0.3, 0.5), "mel_statistics": (1.0, 1.4)}


def sample(seeds, by_seed):
    """One repeat, one scope."""
    values = np.array(by_seed, dtype=float)[:, None, None]
    return Sample(seeds, values, values.mean(axis=(0, 1)), np.zeros((4, 1)))


def test_holm_is_what_its_definition_says():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random(7) ** 3
        ranked = sorted(range(7), key=lambda i: p[i])
        naive = {
            i: min(1, max((7 - k) * p[ranked[k]] for k in range(place + 1))) for place, i in enumerate(ranked)
        }
        assert holm(p) == pytest.approx([naive[i] for i in range(7)])
    assert holm([]).shape == (0,)


def test_p_is_two_sided_and_knows_how_few_units_there_are():
    assert p_values([2.0, -2.0], [1.0, 1.0], 10_000) == pytest.approx([0.0455, 0.0455], abs=1e-4)
    few = p_values([2.0], [1.0], 6)[0]
    assert few == pytest.approx(2 * stats.t.sf(2.0, 5))
    assert p_values([0.3, 0.0], [0.0, 0.0], 50).tolist() == [1.0, 1.0]  # nothing varied: nothing is known


def test_differences_over_seeds_are_paired_t_intervals():
    one, other = sample((0, 1, 2, 7), [0.5, 0.6, 0.4, 9.0]), sample((2, 0, 1), [0.35, 0.4, 0.52])
    (found,) = seed_differences(one, other)
    paired = stats.ttest_rel([0.5, 0.6, 0.4], [0.4, 0.52, 0.35]).confidence_interval()
    assert found.value == pytest.approx(np.mean([0.1, 0.08, 0.05]))
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))
    assert seed_differences(sample((0, 1), [0.5, 0.6]), sample((0, 1), [0.4, 0.4])) is None
    assert seed_differences(one, sample((3, 4, 5), [0.1, 0.1, 0.1])) is None


def test_a_method_without_weights_stands_beside_every_seed():
    (found,) = seed_differences(sample((0, 1, 2), [0.5, 0.6, 0.4]), sample((), [0.3]))
    alone = stats.ttest_1samp([0.2, 0.3, 0.1], 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_every_pair_is_there_in_both_directions(make_comparison):
    comparison = make_comparison(QUALITY)
    table = summarise(comparison, resamples=100).contests[0.1]
    assert len(table) == 4 * 3
    for (one, other), contest in table.items():
        turned = table[other, one]
        assert contest.gain.value == -turned.gain.value
        assert (contest.gain.low, contest.gain.high) == (-turned.gain.high, -turned.gain.low)
        assert contest.adjusted == turned.adjusted >= contest.p
    assert table["good", "random"].outcome == "win"
    assert table["random", "good"].outcome == "loss"
    ranks = ranking(table, comparison.methods)
    assert next(iter(ranks)) in ("good", "other")
    assert ranks["random"] == (0, 3)
    assert sum(won - lost for won, lost in ranks.values()) == 0


def test_pairs_use_the_same_difference_as_the_tables(make_comparison):
    summary = summarise(make_comparison(QUALITY), resamples=50)
    versus = summary.at("good", 0.1).versus["mel_statistics"]
    gain = summary.contests[0.1]["good", "mel_statistics"].gain
    assert (gain.value, gain.low, gain.high) == pytest.approx((versus.value, versus.low, versus.high))


def test_seeds_that_disagree_take_a_win_back(make_comparison):
    comparison = make_comparison(QUALITY, seeds=3)
    certain = summarise(comparison, resamples=100)
    assert certain.at("good", 0.1).versus["random"].above
    weak = tuple(
        MethodScores(e.method, e.seed, -e.scores) if (e.method, e.seed) == ("good", 1) else e
        for e in comparison.scores
    )
    doubtful = summarise(type(comparison)(**vars(comparison) | {"scores": weak}), resamples=100)
    gain = doubtful.at("good", 0.1).versus["random"]
    assert gain.low > 0  # the resamples of the test tracks see nothing
    assert not gain.above
    assert gain.over_seeds.low < 0
    assert doubtful.contests[0.1]["good", "random"].adjusted < 0.05
    assert doubtful.contests[0.1]["good", "random"].outcome == "undecided"


def test_of_equal_methods_few_are_said_to_win():
    """The share of comparisons of five equal methods with any decided pair stays near 5 %."""
    rng = np.random.default_rng(0)
    wrong, trials = 0, 200
    for _ in range(trials):
        hits = 0.3 * rng.normal(size=(60, 1)) + rng.normal(size=(60, 5))
        weights = rng.multinomial(60, np.full(60, 1 / 60), size=300)
        means, resampled = hits.mean(axis=0), weights @ hits / 60
        samples = {
            str(i): Sample((0,), means[i].reshape(1, 1, 1), means[i : i + 1], resampled[:, i : i + 1])
            for i in range(5)
        }
        wrong += any(contest.outcome == "win" for contest in contests(samples, 60).values())
    assert wrong / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)
    assert wrong > 0  # nor is it blind
