import numpy as np
import pytest
import torch

from mvssl import seeding
from mvssl.patches import draw_masks, hash_keys


def test_keys_are_those_of_the_numpy_hash():
    rng = np.random.default_rng(0)
    columns = rng.integers(-(2**63), 2**63, (3, 50), dtype=np.int64)
    expected = seeding.hash_keys(*columns).view(np.int64)
    assert np.array_equal(hash_keys(*map(torch.from_numpy, columns)).numpy(), expected)
    expected = seeding.hash_keys(columns[0], 5, columns[1][:, None]).view(np.int64)
    found = hash_keys(torch.from_numpy(columns[0]), 5, torch.from_numpy(columns[1])[:, None])
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("places", "masked"), [(2, 1), (7, 5), (44, 33), (300, 1)])
def test_every_row_has_exactly_as_many_masked_places(places, masked):
    masks = draw_masks(torch.arange(200), places, masked)
    assert masks.shape == (200, places)
    assert (masks.sum(1) == masked).all()


def test_places_are_masked_alike_often_and_independently():
    count, places, masked = 20_000, 12, 5
    masks = draw_masks(torch.arange(count), places, masked).double()
    share = masked / places
    error = 5 * (share * (1 - share) / count) ** 0.5
    assert (masks.mean(0) - share).abs().max() < error
    together = masks.T @ masks / count
    both = share * (masked - 1) / (places - 1)
    off_diagonal = ~torch.eye(places, dtype=torch.bool)
    assert (together[off_diagonal] - both).abs().max() < 5 * (both * (1 - both) / count) ** 0.5
    successive = (masks[1:] * masks[:-1]).mean(0)  # of keys that differ by one
    assert (successive - share**2).abs().max() < 5 * (share**2 / count) ** 0.5


def test_rows_of_equal_keys_are_equal_and_others_are_not():
    masks = draw_masks(torch.tensor([7, 8, 7, -7]), 40, 20)
    assert torch.equal(masks[0], masks[2])
    assert len({tuple(row.tolist()) for row in masks}) == 3
