"""Barlow Twins against loops written from its formula, and against lightly."""

import itertools

import pytest
import torch

from mvssl.functional import barlow_twins

# Columns of a Hadamard matrix: no mean, variance one, orthogonal.
HADAMARD = torch.tensor([[1.0]])
for _ in range(3):
    HADAMARD = torch.cat([torch.cat([HADAMARD, HADAMARD], 1), torch.cat([HADAMARD, -HADAMARD], 1)])
COLUMNS = HADAMARD[:, 1:]


def projections(views, batch=6, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, dtype=torch.float64) for _ in range(views)]


def naive_correlation(a, b, i, j, eps):
    """Eq. 2 for one element, with ``eps`` on both variances."""
    batch = len(a)
    mean_a, mean_b = sum(a[:, i]) / batch, sum(b[:, j]) / batch
    variance_a = sum((x - mean_a) ** 2 for x in a[:, i]) / batch + eps
    variance_b = sum((y - mean_b) ** 2 for y in b[:, j]) / batch + eps
    products = [(x - mean_a) * (y - mean_b) for x, y in zip(a[:, i], b[:, j], strict=True)]
    return float(sum(products) / batch / (variance_a * variance_b) ** 0.5)


def naive_barlow_twins(views, lambda_, eps):
    """Eq. 1, for every pair of views."""
    losses = []
    for a, b in itertools.combinations(views, 2):
        loss = 0.0
        for i, j in itertools.product(range(a.shape[1]), repeat=2):
            c = naive_correlation(a, b, i, j, eps)
            loss += (1 - c) ** 2 if i == j else lambda_ * c**2
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [2, 3])
def test_it_equals_loops(views):
    z = projections(views)
    assert barlow_twins(z).item() == pytest.approx(naive_barlow_twins(z, 5e-3, 1e-5), rel=1e-10)
    large = [1e4 * view for view in z]
    assert barlow_twins(large, 0.3).item() == pytest.approx(naive_barlow_twins(z, 0.3, 0), rel=1e-9)


def test_two_views_agree_with_lightly():
    from lightly.loss import BarlowTwinsLoss

    a, b = (view.float() for view in projections(2, batch=12, dim=9))
    torch.testing.assert_close(barlow_twins([a, b]), BarlowTwinsLoss()(a, b))
    torch.testing.assert_close(barlow_twins([a, b], 0.7), BarlowTwinsLoss(lambda_param=0.7)(a, b))


def test_mean_with_a_weight_of_one_weighs_as_one_over_the_other_dimensions():
    z, dim = projections(2), 4
    torch.testing.assert_close(dim * barlow_twins(z, 1.0, "mean"), barlow_twins(z, 1 / (dim - 1)))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_equal_and_uncorrelated_dimensions_cost_nothing(reduction):
    assert barlow_twins([COLUMNS, COLUMNS], reduction=reduction).item() == pytest.approx(0, abs=1e-6)
    assert barlow_twins([COLUMNS, 3 * COLUMNS + 1], reduction=reduction).item() == pytest.approx(0, abs=1e-6)


def test_dividing_by_one_less_than_the_batch_never_reaches_zero():
    assert barlow_twins([COLUMNS, COLUMNS], correction=1).item() == pytest.approx(7 / 7**2, rel=1e-3)


@pytest.mark.parametrize("dim", [1, 3])
def test_a_constant_output_costs_its_dimensions(dim):
    constant = torch.full((8, dim), 0.7)
    assert barlow_twins([constant, constant]).item() == pytest.approx(dim, rel=1e-4)
    assert barlow_twins([constant, constant], reduction="mean").item() == pytest.approx(1, rel=1e-4)


def test_views_without_anything_in_common_cost_their_dimensions():
    assert barlow_twins([COLUMNS[:, :3], COLUMNS[:, 3:6]]).item() == pytest.approx(3, rel=1e-4)


def test_one_dimension_copied_costs_every_pair_of_copies():
    copies = COLUMNS[:, :1].expand(-1, 5)
    assert barlow_twins([copies, copies]).item() == pytest.approx(5e-3 * 5 * 4, rel=1e-3)


def test_scales_and_shifts_of_dimensions_do_not_matter():
    a, b = projections(2)
    scales = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    torch.testing.assert_close(barlow_twins([scales * a + 5, b]), barlow_twins([a, b]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e3])
def test_gradients_of_constant_dimensions_are_finite(constant):
    z = [torch.randn(6, 3, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    z = [torch.cat([view, torch.full((6, 1), constant)], 1).requires_grad_() for view in z]
    barlow_twins(z).backward()
    assert all(view.grad.isfinite().all() for view in z)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction='max': use 'sum' or 'mean'"):
        barlow_twins(projections(2), reduction="max")
