from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvssl.data.splitting import random_splits, unusable_tags, warn_about_leaks


def sizes(splits):
    return [splits.count(split) for split in ("train", "valid", "test")]


@pytest.mark.parametrize(
    ("tracks", "expected"), [(100, [70, 10, 20]), (10, [7, 1, 2]), (3, [1, 1, 1]), (1, [1, 0, 0])]
)
def test_sizes_without_groups(tracks, expected):
    assert sizes(random_splits([f"{i}.wav" for i in range(tracks)], None, seed=0)) == expected


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 5))
def test_groups_stay_together_and_order_does_not_matter(numbers, seed):
    paths = [f"{i:03d}.wav" for i in range(len(numbers))]
    groups = [f"artist {number}" if number else "" for number in numbers]
    splits = random_splits(paths, groups, seed)
    sides = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        sides[group].add(split)
    sides.pop("", None)
    assert all(len(found) == 1 for found in sides.values())

    order = np.random.default_rng(seed).permutation(len(paths))
    shuffled = random_splits([paths[i] for i in order], [groups[i] for i in order], seed)
    assert shuffled == [splits[i] for i in order]


@given(st.lists(st.integers(1, 9), min_size=3, max_size=40), st.integers(0, 3))
def test_no_split_is_empty_with_three_groups(group_sizes, seed):
    groups = [f"g{i}" for i, size in enumerate(group_sizes) for _ in range(size)]
    assert min(sizes(random_splits([f"{i}" for i in range(len(groups))], groups, seed))) > 0


def test_sizes_with_many_groups_come_out_right():
    groups = [
        f"g{i}" for i, size in enumerate(np.random.default_rng(0).integers(1, 8, 138)) for _ in range(size)
    ]
    counts = sizes(random_splits([f"{i}" for i in range(len(groups))], groups, seed=0))
    np.testing.assert_allclose(np.array(counts) / len(groups), [0.7, 0.1, 0.2], atol=0.005)


def test_the_seed_decides():
    paths = [f"{i}.wav" for i in range(50)]
    assert random_splits(paths, None, 0) == random_splits(paths, None, 0) != random_splits(paths, None, 1)


def test_leaks_are_named():
    with pytest.warns(UserWarning, match=r"1 of 2 groups .*'Björk' \(test and train\)"):
        warn_about_leaks("corpus", ["train", "test", "train", "valid"], ["Björk", "Björk", "Nina", ""])


def test_ungrouped_tracks_do_not_leak(recwarn):
    warn_about_leaks("corpus", ["train", "test", "train"], ["", "", "Nina"])
    assert not recwarn


SPLITS = np.array(["train"] * 3 + ["valid"] * 2 + ["test"] * 3)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("100 00 100", None),
        ("110 11 011", None),
        ("000 00 000", "on no usable track"),
        ("111 11 111", "on every track"),
        ("000 00 100", "only in the test split"),
        ("000 10 000", "only in the validation split"),
        ("000 10 100", "on no track of the training split"),
        ("100 00 000", "on no track of the test split"),
        ("100 10 000", "on no track of the test split"),
        ("111 00 100", "on every track of the training split"),
        ("110 11 111", "on every track of the test split"),
    ],
)
def test_which_tags_are_unusable(pattern, reason):
    targets = np.array([[mark == "1"] for mark in pattern.replace(" ", "")])
    assert unusable_tags(["tag"], targets, SPLITS).get("tag") == reason
