"""Equations against loops written from the formulas of the papers, and against lightly."""

import itertools
import math

import pytest
import torch

from mvssl.functional import (
    barlow_twins,
    byol,
    cola,
    dino,
    effective_rank,
    nt_xent,
    swav,
    vicreg,
    vicreg_terms,
)


def projections(views, batch=5, dim=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, dtype=dtype) for _ in range(views)]


def rolled(views):
    """Targets that go with the projections: their dimensions, one further."""
    return [torch.roll(view, 1, 1) for view in views]


def bilinear(views):
    """A weight for COLA that is the same at any precision."""
    dim = views[0].shape[1]
    weight = torch.randn(dim, dim, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return weight if views[0].dtype == torch.float64 else weight.float()


LOSSES = {
    "nt_xent": nt_xent,
    "multi_positive": lambda z: nt_xent(z, reduction="multi_positive"),
    "byol": lambda z: byol(z, rolled(z)),
    "vicreg": vicreg,
    "barlow_twins": barlow_twins,
    "cola": lambda z: cola(z, bilinear(z)),
    "dino": lambda z: dino(z, rolled(z), torch.zeros(z[0].shape[1])),
    "swav": swav,
}
TARGETS = {"byol": byol, "dino": lambda z, t: dino(z, t, torch.ones(4))}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


# References


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def naive_nt_xent(views, temperature):
    """SimCLR, eq. 1, for every ordered pair of two views, then the mean over pairs of views."""
    losses = []
    for first, second in itertools.combinations(views, 2):
        rows = [*first, *second]
        batch = len(first)
        for i, row in enumerate(rows):
            positive = (i + batch) % (2 * batch)
            others = sum(math.exp(cosine(row, rows[k]) / temperature) for k in range(2 * batch) if k != i)
            losses.append(-math.log(math.exp(cosine(row, rows[positive]) / temperature) / others))
    return sum(losses) / len(losses)


def naive_multi_positive(views, temperature):
    """Every other view of the track is a positive; everything but the anchor is in the denominator."""
    rows = [(track, row) for view in views for track, row in enumerate(view)]
    losses = []
    for i, (track, anchor) in enumerate(rows):
        exponentials = [math.exp(cosine(anchor, row) / temperature) for _, row in rows]
        denominator = sum(exponentials) - exponentials[i]
        for j, (other, _) in enumerate(rows):
            if other == track and j != i:
                losses.append(-math.log(exponentials[j] / denominator))
    return sum(losses) / len(losses)


def naive_byol(predictions, targets):
    """BYOL, eq. 2, averaged over ordered pairs of different views."""
    distances = []
    for i, j in itertools.permutations(range(len(predictions)), 2):
        for p, t in zip(predictions[i], targets[j], strict=True):
            distances.append(float(((p / p.norm() - t / t.norm()) ** 2).sum()))
    return sum(distances) / len(distances)


def naive_vicreg_terms(views, eps=1e-4):
    """VICReg's pseudocode (algorithm 1), element by element."""
    batch, dim = views[0].shape
    squares = []
    for a, b in itertools.combinations(views, 2):
        squares += [float((a[i, d] - b[i, d]) ** 2) for i in range(batch) for d in range(dim)]
    hinges, sums = [], []
    for z in views:
        means = [sum(float(z[i, d]) for i in range(batch)) / batch for d in range(dim)]
        total = 0.0
        for d, e in itertools.product(range(dim), repeat=2):
            products = [(float(z[i, d]) - means[d]) * (float(z[i, e]) - means[e]) for i in range(batch)]
            covariance = sum(products) / (batch - 1)
            if d == e:
                hinges.append(max(0.0, 1 - math.sqrt(covariance + eps)))
            else:
                total += covariance**2
        sums.append(total / dim)
    return sum(squares) / len(squares), sum(hinges) / len(hinges), 2 * sum(sums) / len(sums)


@pytest.mark.parametrize("temperature", [0.1, 0.7])
@pytest.mark.parametrize("views", [2, 3])
def test_nt_xent_equals_loops(views, temperature):
    z = projections(views)
    assert nt_xent(z, temperature).item() == pytest.approx(naive_nt_xent(z, temperature), rel=1e-10)
    multi = nt_xent(z, temperature, "multi_positive").item()
    assert multi == pytest.approx(naive_multi_positive(z, temperature), rel=1e-10)


def test_reductions_agree_for_two_views_only():
    two, three = projections(2), projections(3)
    torch.testing.assert_close(nt_xent(two), nt_xent(two, reduction="multi_positive"))
    assert not torch.isclose(nt_xent(three), nt_xent(three, reduction="multi_positive"))


@pytest.mark.parametrize("views", [2, 3])
def test_byol_equals_loops(views):
    p, t = projections(views), projections(views, seed=1)
    assert byol(p, t).item() == pytest.approx(naive_byol(p, t), rel=1e-10)


def naive_cola(views, weight):
    """COLA, eqs. 1 and 2: the other view of the anchor's track among those of the batch."""
    losses = []
    for anchors, positives in itertools.permutations(views, 2):
        for i, anchor in enumerate(anchors):
            similarities = [math.exp(float(anchor @ weight @ other)) for other in positives]
            losses.append(-math.log(similarities[i] / sum(similarities)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [2, 3])
def test_cola_equals_loops(views):
    z = projections(views)
    weight = bilinear(z)
    assert cola(z, weight).item() == pytest.approx(naive_cola(z, weight), rel=1e-10)


@pytest.mark.parametrize("views", [2, 3])
def test_vicreg_equals_loops(views):
    z = [0.6 * view for view in projections(views)]
    expected = naive_vicreg_terms(z)
    assert [term.item() for term in vicreg_terms(z)] == pytest.approx(expected, rel=1e-10)
    weighted = 3 * expected[0] + 5 * expected[1] + 7 * expected[2]
    assert vicreg(z, 3, 5, 7).item() == pytest.approx(weighted, rel=1e-10)
    assert vicreg(z).item() == pytest.approx(25 * expected[0] + 25 * expected[1] + expected[2], rel=1e-10)


def test_two_views_agree_with_lightly():
    from lightly.loss import NegativeCosineSimilarity, NTXentLoss, VICRegLoss

    a, b = projections(2, batch=12, dtype=torch.float32)
    c, d = projections(2, batch=12, seed=1, dtype=torch.float32)
    torch.testing.assert_close(nt_xent([a, b], 0.2), NTXentLoss(temperature=0.2)(a, b))
    torch.testing.assert_close(vicreg([a, b]), VICRegLoss()(a, b))
    negative_cosine = NegativeCosineSimilarity()
    expected = 2 + (2 * negative_cosine(a, d) + 2 * negative_cosine(b, c)) / 2
    torch.testing.assert_close(byol([a, b], [c, d]), expected)


# Limit cases and invariances


@pytest.mark.parametrize("batch", [2, 9])
def test_constant_output_is_chance_for_nt_xent(batch):
    constant = torch.ones(batch, 4)
    chance = pytest.approx(math.log(2 * batch - 1), abs=1e-5)
    assert nt_xent([constant, constant]).item() == chance
    assert nt_xent([constant] * 3).item() == chance
    three = nt_xent([constant] * 3, reduction="multi_positive").item()
    assert three == pytest.approx(math.log(3 * batch - 1), abs=1e-5)


def test_perfect_alignment_leaves_no_loss():
    apart = torch.eye(6)
    assert nt_xent([apart, 3 * apart], temperature=0.05).item() < 1e-6
    assert byol([apart, apart], [2 * apart, 5 * apart]).item() == pytest.approx(0, abs=1e-6)
    assert byol([apart, apart], [-apart, -apart]).item() == pytest.approx(4, abs=1e-6)
    assert cola([apart, apart], 20 * apart).item() < 1e-6
    # Rows of a Hadamard matrix: deviations above one, no covariance.
    spread = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert vicreg([spread, spread]).item() == pytest.approx(0, abs=1e-6)


def test_constant_output_costs_vicreg_its_variance():
    constant = torch.full((8, 4), 3.0)
    invariance, variance, covariance = vicreg_terms([constant, constant])
    assert invariance == 0
    assert variance.item() == pytest.approx(1 - 0.01)
    assert covariance == 0


def test_constant_output_is_chance_for_cola():
    constant = torch.ones(9, 4)
    assert cola([constant, constant], torch.randn(4, 4)).item() == pytest.approx(math.log(9), abs=1e-5)


@each_loss
@pytest.mark.parametrize("views", [2, 3])
def test_neither_the_order_of_tracks_nor_of_views_matters(loss, views):
    z = projections(views)
    order = torch.randperm(len(z[0]), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss([view[order] for view in z]), loss(z))
    torch.testing.assert_close(loss(z[::-1]), loss(z))


@pytest.mark.parametrize("loss", [LOSSES["nt_xent"], LOSSES["multi_positive"], LOSSES["byol"]])
def test_lengths_of_projections_do_not_matter_to_cosines(loss):
    a, b = projections(2)
    torch.testing.assert_close(loss([10 * a, 0.1 * b]), loss([a, b]))


# Gradients and precision


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - TARGETS.keys() - {"swav"}))
@pytest.mark.parametrize("views", [2, 3])
def test_gradients_are_those_of_the_function(name, views):
    z = [view.requires_grad_() for view in projections(views, batch=3, dim=4)]
    assert torch.autograd.gradcheck(lambda *views: LOSSES[name](views), z)


@pytest.mark.parametrize("loss", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("views", [2, 3])
def test_gradients_are_those_of_the_function_for_given_targets(loss, views):
    z = [view.requires_grad_() for view in projections(views, batch=3, dim=4)]
    t = [view.requires_grad_() for view in projections(views, batch=3, dim=4, seed=1)]
    assert torch.autograd.gradcheck(lambda *views: loss(views, t), z)
    loss(z, t).backward()
    assert all(view.grad is not None for view in z)
    assert all(view.grad is None for view in t)


def test_colas_weight_has_a_gradient():
    z, weight = projections(2, dim=4), torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: cola(z, w), weight)


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(loss, dtype):
    z = projections(2, batch=16, dim=32, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        inside = loss(z)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(z))


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_projections_are_computed_in_fp32(loss, dtype):
    # Large enough that squares summed over dimensions overflow fp16.
    z = [(40 * view).to(dtype) for view in projections(2, batch=16, dim=64)]
    value = loss(z)
    assert value.dtype == torch.float32
    assert value.isfinite()
    torch.testing.assert_close(value, loss([view.float() for view in z]))


def test_double_precision_is_kept():
    assert all(loss(projections(2)).dtype == torch.float64 for loss in LOSSES.values())


@each_loss
def test_zero_projections_have_finite_losses_and_gradients(loss):
    z = [torch.zeros(4, 3, requires_grad=True) for _ in range(2)]
    value = loss(z)
    value.backward()
    assert value.isfinite()
    assert all(view.grad.isfinite().all() for view in z)


# Errors


@each_loss
def test_wrong_shapes_are_refused(loss):
    with pytest.raises(ValueError, match=r"at least two views .*1"):
        loss([torch.ones(4, 3)])
    with pytest.raises(ValueError, match=r"one shape .*\(4, 3\), \(5, 3\)"):
        loss([torch.ones(4, 3), torch.ones(5, 3)])
    with pytest.raises(ValueError, match=r"one shape \(batch, dim\)"):
        loss([torch.ones(4, 3, 2)] * 2)
    with pytest.raises(ValueError, match=r"at least two samples per batch .* got 1"):
        loss([torch.ones(1, 3)] * 2)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction='mean': use 'pairwise' or 'multi_positive'"):
        nt_xent(projections(2), reduction="mean")


def test_colas_weight_must_be_square():
    with pytest.raises(ValueError, match=r"weight must have shape \(7, 7\), got \(7, 6\)"):
        cola(projections(2), torch.ones(7, 6))


def test_byol_needs_one_target_per_prediction():
    z = projections(3)
    with pytest.raises(ValueError, match="got 3 and 2"):
        byol(z, z[:2])
    with pytest.raises(ValueError, match=r"one shape"):
        byol(z, [view[:, :3] for view in z])


# Effective rank


def test_effective_rank_counts_equal_directions():
    rows = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    assert effective_rank(rows).item() == pytest.approx(6, rel=1e-4)
    assert effective_rank(rows[:, :3]).item() == pytest.approx(3, rel=1e-4)
    assert effective_rank(100 * rows).item() == pytest.approx(6, rel=1e-4)


def test_effective_rank_of_one_direction_is_one():
    direction = torch.outer(torch.arange(1.0, 9.0), torch.ones(5))
    assert effective_rank(direction).item() == pytest.approx(1, rel=1e-3)


def test_effective_rank_of_nothing_is_finite():
    assert effective_rank(torch.zeros(4, 3)).isfinite()


def test_effective_rank_equals_its_definition():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7.0)
    values = torch.linalg.svdvals(z.double())
    share = values / values.sum()
    assert effective_rank(z).item() == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-4)


def test_views_are_not_changed():
    z = projections(2)
    copies = [view.clone() for view in z]
    for loss in LOSSES.values():
        loss(z)
    assert all(map(torch.equal, z, copies))
