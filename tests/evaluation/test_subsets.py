import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.evaluation import draw_shots, draw_subsets, load_subsets, save_subsets

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 1.0)


@st.composite
def label_matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    return rng.random(shape) < rng.choice([0.0, 0.03, 0.3, 1.0], shape[1])


@settings(deadline=None, max_examples=60)
@given(label_matrices(), st.integers(0, 1000))
def test_every_tag_is_seen_both_ways_and_repeats_are_nested(targets, seed):
    subsets = draw_subsets(targets, FRACTIONS, repeats=3, seed=seed)
    for subset in subsets:
        seen = targets[subset.indices]
        np.testing.assert_array_equal(seen.any(axis=0), targets.any(axis=0))
        np.testing.assert_array_equal(seen.all(axis=0), targets.all(axis=0))
        assert (np.diff(subset.indices) > 0).all()
        wanted = max(1, int(subset.fraction * len(targets) + 0.5))
        assert len(subset.indices) >= wanted
        assert subset.enlarged == (len(subset.indices) > wanted)
    tracks = {(subset.fraction, subset.repeat): set(subset.indices) for subset in subsets}
    for repeat in range(3):
        chain = [tracks[fraction, repeat if fraction < 1 else 0] for fraction in FRACTIONS]
        assert all(smaller <= larger for smaller, larger in itertools.pairwise(chain))


def test_fractions_and_repeats():
    targets = np.random.default_rng(0).random((400, 5)) < 0.3
    subsets = draw_subsets(targets, FRACTIONS, repeats=4)
    assert [s.fraction for s in subsets] == [0.01] * 4 + [0.05] * 4 + [0.1] * 4 + [0.2] * 4 + [1.0]
    assert [s.repeat for s in subsets] == [0, 1, 2, 3] * 4 + [0]
    assert [len(s.indices) for s in subsets[::4]] == [4, 20, 40, 80, 400]
    assert not any(s.enlarged for s in subsets)


def test_seeded_and_different_between_repeats():
    targets = np.random.default_rng(0).random((400, 5)) < 0.3
    once, again, other = (draw_subsets(targets, FRACTIONS, 4, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a.indices, b.indices) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once[4].indices, other[4].indices)
    assert not np.array_equal(once[4].indices, once[5].indices)


def test_too_small_a_fraction_is_enlarged_and_says_so():
    targets = np.eye(10, dtype=bool).repeat(3, axis=0)
    subsets = draw_subsets(targets, (0.1, 0.5), repeats=2)
    assert [len(s.indices) for s in subsets] == [10, 10, 15, 15]
    assert [s.enlarged for s in subsets] == [True, True, False, False]


def test_a_few_tracks_cover_many_tags():
    rng = np.random.default_rng(0)
    targets = np.concatenate([np.eye(5, dtype=bool)[rng.integers(0, 5, 800)] for _ in range(5)], axis=1)
    assert not any(s.enlarged for s in draw_subsets(targets, (0.01,), repeats=10))


def test_label_proportions_are_kept():
    rng = np.random.default_rng(0)
    targets = rng.random((2000, 20)) < rng.uniform(0.05, 0.5, 20)
    for subset in draw_subsets(targets, (0.2,), repeats=4):
        # Four standard deviations of the share among 400 tracks.
        assert np.abs(targets[subset.indices].mean(axis=0) - targets.mean(axis=0)).max() < 4 * 0.5 / 20


def test_manifest_survives_another_order_of_tracks(tmp_path):
    targets = np.random.default_rng(0).random((50, 4)) < 0.3
    tracks = [f"artist/{row:02}–é.wav" for row in range(50)]
    drawn = draw_subsets(targets, (0.05, 0.2, 1.0), repeats=2)
    save_subsets(tmp_path / "subsets.json", drawn, tracks)
    shuffled = np.random.default_rng(1).permutation(50)
    loaded = load_subsets(tmp_path / "subsets.json", np.array(tracks)[shuffled])
    for before, after in zip(drawn, loaded, strict=True):
        assert (before.fraction, before.repeat) == (after.fraction, after.repeat)
        assert before.enlarged == after.enlarged
        np.testing.assert_array_equal(np.sort(shuffled[after.indices]), before.indices)
        assert (np.diff(after.indices) > 0).all()
        assert after.indices.dtype == np.int64


def test_manifest_of_another_corpus_is_refused(tmp_path):
    drawn = draw_subsets(np.ones((3, 1), bool), (1.0,))
    save_subsets(tmp_path / "subsets.json", drawn, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"subsets\.json: 1 tracks .*'c'"):
        load_subsets(tmp_path / "subsets.json", ["a", "b", "d"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": (0.0, 1.0)}, "fractions"),
        ({"fractions": (1.5,)}, "fractions"),
        ({"fractions": ()}, "fractions"),
        ({"repeats": 0}, "repeats=0"),
        ({"targets": np.ones((0, 3), bool)}, "at least one track"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        draw_subsets(**{"targets": np.ones((3, 1), bool), **change})


@settings(deadline=None, max_examples=60)
@given(label_matrices(), st.integers(0, 1000))
def test_shots_show_every_tag_so_many_times_and_are_nested(targets, seed):
    subsets = draw_shots(targets, (3, 1, 8), repeats=2, seed=seed)
    assert [(subset.amount, subset.repeat) for subset in subsets] == [
        (1, 0), (1, 1), (3, 0), (3, 1), (8, 0), (8, 1)
    ]  # fmt: skip
    for subset in subsets:
        seen = targets[subset.indices]
        assert (seen.sum(axis=0) >= np.minimum(subset.shots, targets.sum(axis=0))).all()
        np.testing.assert_array_equal(seen.all(axis=0), targets.all(axis=0))
        assert (np.diff(subset.indices) > 0).all()
        assert subset.fraction == len(subset.indices) / len(targets)
    for repeat in range(2):
        one, three, eight = (set(subset.indices) for subset in subsets if subset.repeat == repeat)
        assert one <= three <= eight


def test_of_classes_there_are_exactly_so_many():
    labels = np.random.default_rng(0).integers(0, 5, 300)
    targets = np.eye(5, dtype=bool)[labels]
    for subset in draw_shots(targets, (1, 5, 10), repeats=3):
        np.testing.assert_array_equal(targets[subset.indices].sum(axis=0), subset.shots)
    first, second = (draw_shots(targets, (5,), repeats=1, seed=seed)[0].indices for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_numbers_need_no_cover_and_have_no_shots():
    numbers = np.random.default_rng(0).normal(size=(200, 2))
    subsets = draw_subsets(numbers, (0.005, 0.5), repeats=2)
    assert [len(subset.indices) for subset in subsets] == [2, 2, 100, 100]
    with pytest.raises(ValueError, match="use fractions for numbers"):
        draw_shots(numbers, (1,))
    with pytest.raises(ValueError, match="must be at least 1"):
        draw_shots(numbers > 0, (0,))


def test_shots_are_saved_and_loaded(tmp_path):
    targets = np.eye(3, dtype=bool)[np.arange(30) % 3]
    tracks = [f"{number}.wav" for number in range(30)]
    drawn = draw_shots(targets, (2,), repeats=2)
    save_subsets(tmp_path / "subsets.json", drawn, tracks)
    for ours, theirs in zip(load_subsets(tmp_path / "subsets.json", tracks), drawn, strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        assert (ours.amount, ours.repeat) == (theirs.amount, theirs.repeat)
