import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.seeding import generator
from mvssl.views import Crops

ROUNDING = 1e-9


@st.composite
def crops_and_duration(draw):
    length = draw(st.floats(0.01, 20))
    views = draw(st.integers(1, 5))
    min_gap = draw(st.none() | st.floats(0, 10))
    max_gap = draw(st.none() | st.floats(min_gap or 0, 30))
    sampler = Crops(length, views, min_gap, max_gap)
    return sampler, sampler.min_seconds + draw(st.just(0.0) | st.floats(0, 200))


@settings(deadline=None)
@given(crops_and_duration(), st.integers(0, 1000))
def test_crops_lie_inside_the_track_with_the_asked_gaps(drawn, seed):
    sampler, duration = drawn
    starts = sampler.starts(duration, generator(seed))
    assert len(starts) == len(sampler.seconds) == sampler.n_views
    assert set(sampler.seconds) == {sampler.length}
    assert min(starts) >= 0
    assert max(starts) + sampler.length <= duration + ROUNDING
    if sampler.min_gap is not None or sampler.max_gap is not None:
        gaps = np.diff(sorted(starts)) - sampler.length
        assert (gaps >= (sampler.min_gap or 0) - ROUNDING).all()
        assert (gaps <= (np.inf if sampler.max_gap is None else sampler.max_gap) + ROUNDING).all()


@settings(deadline=None)
@given(crops_and_duration(), st.integers(0, 1000))
def test_the_generator_decides_alone(drawn, seed):
    sampler, duration = drawn
    assert sampler.starts(duration, generator(seed)) == sampler.starts(duration, generator(seed))


def draws(sampler, duration, count=2_000):
    rng = generator(0)
    return np.array([sampler.starts(duration, rng) for _ in range(count)])


def test_crops_without_gaps_are_uniform_and_independent():
    starts = draws(Crops(2.0, 3), 12.0)
    for view in starts.T:
        np.testing.assert_allclose(np.histogram(view, 5, (0, 10))[0], 400, rtol=0.2)
    np.testing.assert_allclose(np.corrcoef(starts.T), np.eye(3), atol=0.08)
    assert (np.abs(starts[:, 0] - starts[:, 1]) < 2).any()  # they may overlap


@pytest.mark.parametrize("gaps", [(0.0, None), (1.0, 2.0), (None, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("views", [2, 3])
def test_gapped_crops_reach_the_whole_track_and_every_view_alike(views, gaps):
    starts = draws(Crops(1.0, views, *gaps), 12.0)
    assert starts.min() < 0.3
    assert starts.max() > 10.7
    centre = 11 / 2
    np.testing.assert_allclose(starts.mean(0), centre, atol=0.3)
    ordered = np.sort(starts, axis=1)
    np.testing.assert_allclose((ordered + ordered[:, ::-1]).mean(0) / 2, centre, atol=0.3)


def test_all_gaps_have_one_distribution():
    gaps = np.diff(np.sort(draws(Crops(1.0, 4, min_gap=0.5), 20.0), axis=1)) - 1.0
    assert np.ptp(gaps.mean(0)) < 0.15 * gaps.mean()
    assert gaps.min() < 0.6


def test_a_bounded_gap_uses_its_whole_range():
    gaps = np.diff(np.sort(draws(Crops(1.0, 2, 1.0, 3.0), 30.0), axis=1))[:, 0] - 1.0
    np.testing.assert_allclose(np.histogram(gaps, 4, (1, 3))[0], 500, rtol=0.15)


def test_which_view_comes_first_is_random():
    starts = draws(Crops(1.0, 2, min_gap=0.0), 12.0)
    assert abs((starts[:, 0] < starts[:, 1]).mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("sampler", "shortest"),
    [
        (Crops(0.1, 3), 0.1),  # exactly: a track of one crop is long enough
        (Crops(3.0, 1, min_gap=5.0), 3.0),
        (Crops(3.0, 2, min_gap=1.0), 7.0),
        (Crops(3.0, 3, max_gap=1.0), 9.0),
        (Crops(3.0, 4, repeats=2), 3.0),
    ],
)
def test_the_shortest_track(sampler, shortest):
    assert sampler.min_seconds == shortest
    starts = sorted(sampler.starts(shortest, generator(0)))
    expected = [i * (sampler.length + (sampler.min_gap or 0)) for i in range(sampler.n_views)]
    assert starts == pytest.approx(expected if len(set(starts)) > 1 else [0] * sampler.n_views)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0.0}, "length=0.0"),
        ({"length": -1.0}, "length=-1.0"),
        ({"n_views": 0}, "n_views=0"),
        ({"min_gap": -1.0}, "min_gap=-1.0"),
        ({"min_gap": 2.0, "max_gap": 1.0}, "min_gap=2.0, max_gap=1.0"),
        ({"max_gap": -0.5}, "max_gap=-0.5"),
        ({"n_views": 3, "repeats": 2}, "n_views=3 must be a multiple of repeats=2"),
        ({"repeats": 0}, "n_views=2 must be a multiple of repeats=0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Crops(**arguments)


@pytest.mark.parametrize("gaps", [(None, None), (0.5, 2.0)])
def test_repeated_crops_are_the_same_ones_in_a_row(gaps):
    repeated, once = Crops(1.0, 6, *gaps, repeats=3), Crops(1.0, 2, *gaps)
    assert repeated.seconds == (1.0,) * 6
    assert repeated.min_seconds == once.min_seconds
    starts = draws(repeated, 12.0, count=20)
    np.testing.assert_array_equal(starts, np.repeat(draws(once, 12.0, count=20), 3, axis=1))
    assert len(np.unique(starts)) == 40
