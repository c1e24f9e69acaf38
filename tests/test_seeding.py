import tracemalloc

import numpy as np
import pytest

from mvssl.seeding import generator, hash_keys, shuffled, uniform

MASK = 2**64 - 1


def split_mix(columns):
    """SplitMix64's finaliser in Python's unbounded integers."""
    state = 0
    for column in columns:
        state = (state + column + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def test_split_mix_gives_its_published_first_output():
    assert int(hash_keys(0)) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("columns", [(0, 1), (7, 0, 12), (2**64 - 1, 2**63), (5,)])
def test_keys_equal_a_scalar_reference(columns):
    assert int(hash_keys(*columns)) == split_mix(columns)


def test_columns_broadcast_and_their_order_matters():
    items = np.arange(5)
    keys = hash_keys(3, items, 1)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [split_mix((3, item, 1)) for item in range(5)]
    assert hash_keys(3, 1) != hash_keys(1, 3)
    assert hash_keys(items[:, None], items).shape == (5, 5)


def test_keys_do_not_collide():
    grid = np.arange(200)
    assert len(np.unique(hash_keys(grid[:, None, None], grid[:, None], np.arange(4)))) == 160_000


def test_neighbouring_keys_differ_in_about_half_of_their_bits():
    keys = hash_keys(0, np.arange(2_000))
    flipped = np.bitwise_count(keys[1:] ^ keys[:-1])
    assert abs(flipped.mean() - 32) < 0.5


def test_uniform_is_uniform_and_its_streams_are_independent():
    keys = hash_keys(0, np.arange(20_000))
    first, second = uniform(keys, 0), uniform(keys, 1)
    assert first.min() >= 0
    assert first.max() < 1
    np.testing.assert_allclose(np.histogram(first, 10, (0, 1))[0], 2_000, rtol=0.12)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert uniform(keys[:3], 0).tolist() == first[:3].tolist()


def test_generators_depend_on_every_part_of_the_key():
    draws = {key: generator(*key).random() for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2**32 - 1, 0)]}
    assert len(set(draws.values())) == len(draws)
    assert generator(0, 1).random() == draws[0, 1]


def test_generator_refuses_negative_keys():
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1_000, 4_097])
def test_shuffled_is_a_permutation_in_any_pieces(count):
    order = shuffled(np.arange(count), count, 3, 4)
    assert sorted(order.tolist()) == list(range(count))
    places = np.random.default_rng(0).integers(0, count, 50)
    np.testing.assert_array_equal(shuffled(places, count, 3, 4), order[places])


def test_shuffled_orders_look_random():
    count, orders = 30, 600
    found = np.array([shuffled(np.arange(count), count, 7, key) for key in range(orders)])
    # Each number is as often at each place: chi-square with 49 * 49 degrees of freedom.
    seen = np.array([np.bincount(found[:, place], minlength=count) for place in range(count)])
    expected = orders / count
    statistic = ((seen - expected) ** 2 / expected).sum()
    freedom = (count - 1) ** 2
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)
    # Neighbours stay neighbours no more often than by chance (2 in 30), and orders do not repeat.
    close = (np.abs(np.diff(found, axis=1)) == 1).mean()
    assert abs(close - 2 / count) < 0.01
    assert len(np.unique(found, axis=0)) == orders


def test_shuffling_places_of_billions_needs_no_memory():
    tracemalloc.start()
    shuffled(np.arange(64), 10**10, 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000  # bytes
