"""What the code published with the 2024 comparison (arXiv:2404.09177) computes, in loops."""

import itertools

import pytest
import torch

from mvssl.functional import barlow_twins, byol, vicreg_terms

BATCH, DIM = 6, 4


def projections(views, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64) for _ in range(views)]


def correlations(a, b):
    """Batch norm divides by the deviation of the whole batch, the product by one less than its size."""
    standard = [(z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (a, b)]
    return [
        [float(sum(x * y for x, y in zip(standard[0][:, i], standard[1][:, j], strict=True))) / (BATCH - 1)
         for j in range(DIM)]
        for i in range(DIM)
    ]  # fmt: skip


def squares(matrix, on_diagonal):
    return [
        (1 - matrix[i][j]) ** 2 if on_diagonal else matrix[i][j] ** 2
        for i, j in itertools.product(range(DIM), repeat=2)
        if (i == j) == on_diagonal
    ]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("views", [2, 3])
def test_byol_sums_over_the_batch(views):
    p, t = projections(views), projections(views, seed=1)
    losses = []
    for i, j in itertools.permutations(range(views), 2):
        a, b = (z / z.norm(dim=1, keepdim=True) for z in (p[i], t[j]))
        losses += [2 - 2 * sum(float(a[n, d] * b[n, d]) for n in range(BATCH)) for d in range(DIM)]
    found = byol(p, t, sum_over="batch")
    assert found.item() == pytest.approx(mean(losses), rel=1e-10)
    torch.testing.assert_close(2 - found, BATCH / DIM * (2 - byol(p, t)))


@pytest.mark.parametrize("views", [2, 3])
def test_barlow_twins_takes_means(views):
    z = projections(views)
    matrices = [correlations(a, b) for a, b in itertools.combinations(z, 2)]
    on = mean([value for matrix in matrices for value in squares(matrix, True)])
    off = mean([value for matrix in matrices for value in squares(matrix, False)])
    assert barlow_twins(z, 1.0, "mean", correction=1).item() == pytest.approx(on + off, rel=1e-10)


@pytest.mark.parametrize("views", [2, 3])
def test_vicreg_takes_the_mean_of_correlations(views):
    z = [0.6 * view for view in projections(views)]
    found = vicreg_terms(z, eps=1e-5, redundancy="correlation")
    off = [value for view in z for value in squares(correlations(view, view), False)]
    assert found[2].item() == pytest.approx(mean(off), rel=1e-10)
    torch.testing.assert_close(found[:2], vicreg_terms(z, eps=1e-5)[:2])


def test_the_correlations_of_vicreg_weigh_less_than_its_covariances():
    z = [view / view.std(0) for view in projections(2)]
    covariance, correlation = vicreg_terms(z)[2], vicreg_terms(z, redundancy="correlation")[2]
    expected = covariance / (2 * (DIM - 1)) * (BATCH / (BATCH - 1)) ** 2
    torch.testing.assert_close(correlation, expected, rtol=1e-4, atol=0)


def test_the_correlations_of_vicreg_do_not_see_sizes():
    z = projections(2)
    first, second = (vicreg_terms([s * view for view in z], redundancy="correlation")[2] for s in (10, 1000))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=0)


def test_unknown_names_are_refused():
    z = projections(2)
    with pytest.raises(ValueError, match="redundancy='rank': use 'covariance' or 'correlation'"):
        vicreg_terms(z, redundancy="rank")
    with pytest.raises(ValueError, match="sum_over='views': use 'features' or 'batch'"):
        byol(z, z, sum_over="views")
