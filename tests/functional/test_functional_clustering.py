"""Sinkhorn, SwAV and DINO against loops written from their formulas, and against lightly."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from mvssl.functional import dino, sinkhorn, swav


def scores(views, batch=5, prototypes=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(batch, prototypes, generator=generator, dtype=dtype) * 2 - 1 for _ in range(views)]


def shares(row, temperature):
    exponentials = [math.exp(float(value) / temperature) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def cross_entropy(target, row, temperature):
    found = shares(row, temperature)
    return -sum(float(q) * math.log(p) for q, p in zip(target, found, strict=True))


# Sinkhorn


def naive_sinkhorn(matrix, epsilon, iterations):
    """Rescales exp(scores / ε): prototypes to 1/K in total, then samples to 1/B, and so on; rows of ones."""
    q = [[math.exp(float(value) / epsilon) for value in row] for row in matrix]
    samples, prototypes = range(len(q)), range(len(q[0]))
    for _ in range(iterations):
        totals = [sum(q[b][k] for b in samples) for k in prototypes]
        q = [[q[b][k] / totals[k] / len(prototypes) for k in prototypes] for b in samples]
        q = [[value / sum(row) / len(samples) for value in row] for row in q]
    return torch.tensor([[value / sum(row) for value in row] for row in q], dtype=torch.float64)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_sinkhorn_equals_loops(iterations):
    (matrix,) = scores(1)
    expected = naive_sinkhorn(matrix, 0.2, iterations)
    torch.testing.assert_close(sinkhorn(matrix, 0.2, iterations), expected, rtol=1e-10, atol=0)


def test_sinkhorn_agrees_with_lightly():
    from lightly.loss.swav_loss import sinkhorn as theirs

    (matrix,) = scores(1, batch=16, prototypes=6, dtype=torch.float32)
    torch.testing.assert_close(sinkhorn(matrix), theirs(matrix))


def test_sinkhorn_shares_the_batch_equally():
    codes = sinkhorn(scores(1, batch=12, prototypes=4)[0], 0.5, iterations=50)
    torch.testing.assert_close(codes.sum(1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 3.0, dtype=torch.float64))


def test_sinkhorn_spreads_even_a_constant():
    torch.testing.assert_close(sinkhorn(torch.ones(6, 3)), torch.full((6, 3), 1 / 3))


def test_sinkhorn_survives_large_scores():
    codes = sinkhorn(1e4 * scores(1, dtype=torch.float32)[0])
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(5))


def test_a_favourite_of_all_is_shared_all_the_same():
    matrix = torch.zeros(8, 2)
    matrix[:, 0] = torch.linspace(0.5, 1, 8)
    assert sinkhorn(matrix, 0.05, 20).argmax(1).tolist() == [1] * 4 + [0] * 4


# SwAV


def naive_swav(views, codes, temperature=0.1):
    """Eqs. 1 and 2: the code of one view is predicted from each other view."""
    losses = []
    for i, j in itertools.product(range(len(codes)), range(len(views))):
        if i != j:
            losses += [cross_entropy(q, z, temperature) for q, z in zip(codes[i], views[j], strict=True)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("views", "with_codes"), [(2, 2), (3, 3), (4, 2), (3, 1)])
def test_swav_equals_loops(views, with_codes):
    z = scores(views)
    codes = [naive_sinkhorn(view, 0.05, 3) for view in z[:with_codes]]
    assert swav(z, with_codes).item() == pytest.approx(naive_swav(z, codes), rel=1e-10)


def test_swav_equals_loops_with_other_settings_and_a_queue():
    z, queued = scores(2), scores(2, batch=7, seed=1)
    codes = [naive_sinkhorn(torch.cat(pair), 0.3, 5)[:5] for pair in zip(z, queued, strict=True)]
    found = swav(z, queued=queued, temperature=0.4, epsilon=0.3, iterations=5)
    assert found.item() == pytest.approx(naive_swav(z, codes, 0.4), rel=1e-10)


def test_swav_agrees_with_lightly():
    from lightly.loss import SwaVLoss

    z = scores(4, batch=16, prototypes=6, dtype=torch.float32)
    queued = scores(2, batch=9, prototypes=6, seed=1, dtype=torch.float32)
    torch.testing.assert_close(swav(z[:2]), SwaVLoss()(z[:2], []).squeeze())
    torch.testing.assert_close(swav(z, 2), SwaVLoss()(z[:2], z[2:]).squeeze())
    torch.testing.assert_close(swav(z, 2, queued), SwaVLoss()(z[:2], z[2:], queued).squeeze())


def test_lightlys_swav_fails_in_half_precision_where_ours_does_not():
    from lightly.loss import SwaVLoss

    z = [view.half() for view in scores(2, batch=16, prototypes=6)]
    assert not SwaVLoss()(z, []).isfinite()
    assert swav(z).isfinite()


def test_the_gradient_of_swav_takes_codes_as_given():
    z = [view.requires_grad_() for view in scores(2)]
    codes = [sinkhorn(view) for view in z]
    found = torch.autograd.grad(swav(z), z)
    pairs = [F.cross_entropy(z[1] / 0.1, codes[0]), F.cross_entropy(z[0] / 0.1, codes[1])]
    expected = torch.autograd.grad(sum(pairs) / 2, z)
    assert all(map(torch.allclose, found, expected))


@pytest.mark.parametrize("prototypes", [3, 40])
def test_a_constant_output_is_chance(prototypes):
    constant = torch.full((8, prototypes), 0.3)
    chance = pytest.approx(math.log(prototypes), rel=1e-5)
    assert swav([constant, constant]).item() == chance
    assert dino([constant, constant], [constant, constant], torch.zeros(prototypes)).item() == chance


def test_one_prototype_per_track_costs_nothing():
    apart = 20 * torch.eye(6)
    assert swav([apart, apart]).item() < 1e-6
    assert dino([apart, apart], [apart, apart], torch.zeros(6)).item() < 1e-6


@pytest.mark.parametrize(("with_codes", "queues"), [(0, 0), (3, 0), (2, 1), (1, 2)])
def test_impossible_codes_and_queues_are_refused(with_codes, queues):
    with pytest.raises(ValueError, match=rf"{with_codes} views with codes and {queues} queues do not fit 2"):
        swav(scores(2), with_codes, scores(queues, batch=3))


# DINO


def naive_dino(students, teachers, center, student_temperature, teacher_temperature):
    """Eqs. 1 to 3: each view of the teacher with each other view of the student."""
    losses = []
    for i, j in itertools.product(range(len(teachers)), range(len(students))):
        if i != j:
            for teacher, student in zip(teachers[i], students[j], strict=True):
                target = shares(teacher - center, teacher_temperature)
                losses.append(cross_entropy(target, student, student_temperature))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("views", "seen"), [(2, 2), (3, 3), (4, 2), (2, 1)])
def test_dino_equals_loops(views, seen):
    students, teachers = scores(views), scores(seen, seed=1)
    center = torch.tensor([0.3, -0.2, 0.0, 0.1], dtype=torch.float64)
    expected = naive_dino(students, teachers, center, 0.2, 0.05)
    assert dino(students, teachers, center, 0.2, 0.05).item() == pytest.approx(expected, rel=1e-10)
    tensor = torch.tensor(0.05, dtype=torch.float64)
    assert dino(students, teachers, center, 0.2, tensor).item() == pytest.approx(expected, rel=1e-10)


def test_dino_agrees_with_lightly():
    from lightly.loss import DINOLoss

    students = scores(3, batch=16, prototypes=6, dtype=torch.float32)
    teachers = scores(2, batch=16, prototypes=6, seed=1, dtype=torch.float32)
    theirs = DINOLoss(output_dim=6)
    for _ in range(2):  # its centre moves in between
        center = theirs.center.clone().flatten()
        torch.testing.assert_close(dino(students, teachers, center), theirs(teachers, students))


def test_what_all_tracks_share_is_centred_away():
    students, teachers = scores(2), scores(2, seed=1)
    bias = torch.tensor([3.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    shifted = [view + bias for view in teachers]
    torch.testing.assert_close(dino(students, shifted, bias), dino(students, teachers, torch.zeros(4)))


def test_impossible_teachers_and_centers_are_refused():
    z = scores(2)
    for teachers in ([], scores(3)):
        with pytest.raises(ValueError, match=rf"teachers for some of them, got 2 and {len(teachers)}"):
            dino(z, teachers, torch.zeros(4))
    with pytest.raises(ValueError, match=r"center \(3,\) must be a row of \(5, 4\)"):
        dino(z, z, torch.zeros(3))
