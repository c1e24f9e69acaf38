from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.seeding import generator
from mvssl.views import (
    Adjacent,
    Crops,
    Gap,
    Group,
    MultiCrop,
    NonOverlapping,
    Same,
    Stem,
    create_sampler,
    samplers,
)

ROUNDING = 1e-9


def draws(sampler, duration, count=2_000):
    rng = generator(0)
    return np.array([sampler.starts(duration, rng) for _ in range(count)])


# The contract of every registered sampler


@st.composite
def sampler_and_duration(draw):
    positions = draw(st.integers(1, 2))
    options = {"length": draw(st.floats(0.01, 20)), "n_views": positions * draw(st.integers(3, 5))}
    sampler = create_sampler(draw(st.sampled_from(samplers.names())), positions=positions, **options)
    if isinstance(sampler, Gap):
        least = draw(st.floats(0, 10))
        sampler = replace(sampler, min_gap=least, max_gap=draw(st.none() | st.floats(least, 30)))
    return sampler, sampler.span + draw(st.just(0.0) | st.floats(0, 200))


@settings(deadline=None)
@given(sampler_and_duration(), st.integers(0, 1000))
def test_crops_lie_inside_the_track(drawn, seed):
    sampler, duration = drawn
    starts = sampler.starts(duration, generator(seed))
    assert len(starts) == len(sampler.seconds) == len(sampler.sources) == sampler.n_views
    assert min(starts) >= 0
    ends = np.array(starts) + sampler.seconds
    assert (ends <= duration + ROUNDING).all()
    assert max(sampler.seconds) == sampler.seconds[0] == sampler.length


@settings(deadline=None)
@given(sampler_and_duration(), st.integers(0, 1000))
def test_the_generator_decides_alone(drawn, seed):
    sampler, duration = drawn
    assert sampler.starts(duration, generator(seed)) == sampler.starts(duration, generator(seed))


@settings(deadline=None)
@given(sampler_and_duration(), st.integers(0, 1000))
def test_every_position_is_chosen_alike_and_anew(drawn, seed):
    sampler, duration = drawn
    each = sampler.n_views // sampler.positions
    single = replace(sampler, n_views=each, positions=1)
    assert sampler.seconds == single.seconds * sampler.positions
    assert sampler.sources == single.sources * sampler.positions
    assert sampler.span == single.span
    starts, rng = sampler.starts(duration, generator(seed)), generator(seed)
    assert starts == sum((single.starts(duration, rng) for _ in range(sampler.positions)), ())


@settings(deadline=None)
@given(sampler_and_duration(), st.floats(1, 4))
def test_longer_crops_are_otherwise_the_same(drawn, factor):
    sampler, _ = drawn
    longer = sampler.longer(factor)
    assert longer.seconds == pytest.approx(np.multiply(sampler.seconds, factor))
    assert replace(longer, length=sampler.length) == sampler


@pytest.mark.parametrize("name", samplers.names())
def test_short_tracks_are_left_out_only_if_they_are_not_lengthened(name):
    for short, least in (("drop", 1.0), ("pad", 0.0), ("loop", 0.0)):
        sampler = create_sampler(name, 2.0, 3, short=short)
        assert sampler.min_seconds == least * sampler.span
        assert sampler.span >= 2.0


@pytest.mark.parametrize("name", samplers.names())
def test_they_are_described(name):
    assert samplers.entry(name).summary.endswith(".")


# Each of them


def test_random_crops_are_uniform_and_independent():
    starts = draws(Crops(2.0, 3), 12.0)
    for view in starts.T:
        np.testing.assert_allclose(np.histogram(view, 5, (0, 10))[0], 400, rtol=0.2)
    np.testing.assert_allclose(np.corrcoef(starts.T), np.eye(3), atol=0.08)
    assert (np.abs(starts[:, 0] - starts[:, 1]) < 2).any()  # they may overlap


def test_the_same_crop_is_anywhere():
    starts = draws(Same(2.0, 3), 12.0)
    assert (starts == starts[:, :1]).all()
    pairs = draws(Same(2.0, 4, positions=2), 12.0, 20)
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert (pairs[:, 2] == pairs[:, 3]).all()
    assert (pairs[:, 1] != pairs[:, 2]).all()
    np.testing.assert_allclose(np.histogram(starts[:, 0], 5, (0, 10))[0], 400, rtol=0.2)


@settings(deadline=None)
@given(sampler_and_duration(), st.integers(0, 1000))
def test_gaps_are_within_their_bounds(drawn, seed):
    sampler, duration = drawn
    if not isinstance(sampler, NonOverlapping):
        sampler = NonOverlapping(sampler.length, sampler.n_views)
        duration += sampler.span
    starts = np.reshape(sampler.starts(duration, generator(seed)), (sampler.positions, -1))
    gaps = np.diff(np.sort(starts, axis=1), axis=1) - sampler.length
    least, greatest = getattr(sampler, "min_gap", 0.0), getattr(sampler, "max_gap", None)
    if greatest is None:
        greatest = least if isinstance(sampler, Adjacent) else np.inf
    assert (gaps >= least - ROUNDING).all()
    assert (gaps <= greatest + ROUNDING).all()


def test_adjacent_crops_are_half_a_second_apart():
    starts = draws(Adjacent(1.0), 12.0)
    np.testing.assert_allclose(np.abs(np.diff(starts)), 1.5, atol=ROUNDING)
    np.testing.assert_allclose(np.histogram(starts.min(1), 5, (0, 9.5))[0], 400, rtol=0.2)


GAPPED = [
    NonOverlapping(1.0), Gap(1.0, min_gap=1.0, max_gap=2.0), Gap(1.0, max_gap=0.0), Adjacent(1.0),
]  # fmt: skip


@pytest.mark.parametrize("sampler", GAPPED)
@pytest.mark.parametrize("views", [2, 3])
def test_gapped_crops_reach_the_whole_track_and_every_view_alike(views, sampler):
    starts = draws(replace(sampler, n_views=views), 12.0)
    assert starts.min() < 0.3
    assert starts.max() > 10.7
    centre = 11 / 2
    np.testing.assert_allclose(starts.mean(0), centre, atol=0.3)
    ordered = np.sort(starts, axis=1)
    np.testing.assert_allclose((ordered + ordered[:, ::-1]).mean(0) / 2, centre, atol=0.3)


@pytest.mark.parametrize("sampler", GAPPED)
def test_which_view_comes_first_is_a_fair_coin(sampler):
    starts = draws(sampler, 12.0)
    assert abs((starts[:, 0] < starts[:, 1]).mean() - 0.5) < 0.04  # 3.6 standard deviations


def test_all_gaps_have_one_distribution():
    gaps = np.diff(np.sort(draws(Gap(1.0, 4, min_gap=0.5), 20.0), axis=1)) - 1.0
    assert np.ptp(gaps.mean(0)) < 0.15 * gaps.mean()
    assert gaps.min() < 0.6


def test_a_bounded_gap_uses_its_whole_range():
    gaps = np.diff(np.sort(draws(Gap(1.0, min_gap=1.0, max_gap=3.0), 30.0), axis=1))[:, 0] - 1.0
    np.testing.assert_allclose(np.histogram(gaps, 4, (1, 3))[0], 500, rtol=0.15)


def test_multi_crop_has_long_and_short_ones_anywhere():
    sampler = MultiCrop(2.0)
    assert sampler.seconds == (2.0, 2.0, 1.0, 1.0, 1.0, 1.0)
    assert sampler.span == 2.0
    starts = draws(sampler, 12.0)
    for view, seconds in zip(starts.T, sampler.seconds, strict=True):
        np.testing.assert_allclose(np.histogram(view, 5, (0, 12 - seconds))[0], 400, rtol=0.2)
    np.testing.assert_allclose(np.corrcoef(starts.T), np.eye(6), atol=0.08)


@pytest.mark.parametrize(("kind", "partners"), [(Group, "group"), (Stem, "stems")])
def test_partners_give_the_views_behind_the_first(kind, partners):
    assert kind.partners == partners
    assert kind(n_views=3).sources == (0, 1, 2)
    assert kind(n_views=4, positions=2).sources == (0, 1, 0, 1)
    assert Crops(n_views=3).sources == (0, 0, 0)
    np.testing.assert_array_equal(draws(kind(1.0), 9.0, 20), draws(Crops(1.0), 9.0, 20))


@pytest.mark.parametrize(
    ("sampler", "shortest"),
    [
        (Crops(0.1, 3), 0.1),  # exactly: a track of one crop is long enough
        (Same(3.0, 4), 3.0),
        (NonOverlapping(3.0, 3), 9.0),
        (NonOverlapping(3.0, 4, positions=2), 6.0),
        (Gap(3.0, 1, min_gap=5.0), 3.0),
        (Gap(3.0, min_gap=1.0), 7.0),
        (Gap(3.0, 3, max_gap=1.0), 9.0),
        (Adjacent(3.0, 3), 10.0),
        (MultiCrop(3.0), 3.0),
    ],
)
def test_the_shortest_track(sampler, shortest):
    assert sampler.span == sampler.min_seconds == shortest
    ends = np.array(sampler.starts(shortest, generator(0))) + sampler.seconds
    assert ends.max() <= shortest + ROUNDING


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Crops, {"length": 0.0}, "length=0.0"),
        (Crops, {"length": -1.0}, "length=-1.0"),
        (Crops, {"n_views": 0}, "n_views=0"),
        (Crops, {"n_views": 3, "positions": 2}, "n_views=3 must be a multiple of positions=2"),
        (Crops, {"positions": 0}, "n_views=2 must be a multiple of positions=0"),
        (Stem, {"short": "wrap"}, "short='wrap': use drop, pad or loop"),
        (Gap, {"min_gap": -1.0}, "min_gap=-1.0"),
        (Gap, {"min_gap": 2.0, "max_gap": 1.0}, "min_gap=2.0, max_gap=1.0"),
        (Gap, {"max_gap": -0.5}, "max_gap=-0.5"),
        (Adjacent, {"max_gap": 0.1}, "min_gap=0.5, max_gap=0.1"),
        (MultiCrop, {"n_views": 2}, "n_views=2, global_views=2"),
        (MultiCrop, {"local_share": 1.0}, "local_share=1.0"),
    ],
)
def test_impossible_arguments_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


# By name


def test_names_make_samplers():
    assert create_sampler("random", 2.0, 3, min_gap=None, short="pad") == Crops(2.0, 3, short="pad")
    assert create_sampler("gap", min_gap=1.0, max_gap=2.0) == Gap(min_gap=1.0, max_gap=2.0)


def test_what_does_not_go_together_is_named():
    with pytest.raises(ValueError, match=r"no sampler named 'adjacant'; did you mean 'adjacent'\?"):
        create_sampler("adjacant")
    with pytest.raises(
        ValueError, match=r"max_gap=1.0: sampler 'same' takes no max_gap; gap and adjacent would"
    ):
        create_sampler("same", max_gap=1.0)
    with pytest.raises(ValueError, match=r"pitch=1: sampler 'same' takes no pitch; none would"):
        create_sampler("same", pitch=1)
