"""What NT-Xent and SupCon offer beyond the published two-view loss, in loops and against lightly."""

import itertools
import math

import pytest
import torch

from mvssl.functional import contrastive, nt_xent, sup_con

BATCH, DIM = 4, 5
# Where negatives are from, places per track, views.
SOURCES = [("batch", 1, 2), ("batch", 1, 3), ("track", 2, 4), ("track", 2, 6), ("both", 2, 4), ("both", 3, 6)]


def projections(views, batch=BATCH, dim=DIM, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, dtype=dtype) for _ in range(views)]


def exponential(a, b, temperature):
    return math.exp(float(a @ b / (a.norm() * b.norm())) / temperature)


def mean(values):
    return sum(values) / len(values)


def naive(views, temperature, reduction, decoupled, negatives, positions, queue):
    """One sample after the other: which others are its positives, and which stand in the denominator."""
    augmentations = len(views) // positions
    samples = [
        (view % augmentations, (view // augmentations, track), row)
        for view, rows in enumerate(views)
        for track, row in enumerate(rows)
    ]

    def loss(samples):
        losses = []
        for anchor in samples:
            others = [sample for sample in samples if sample is not anchor]
            positives = [row for _, instance, row in others if instance == anchor[1]]
            rest = [
                row
                for _, instance, row in others
                if instance != anchor[1] and (negatives != "track" or instance[1] == anchor[1][1])
            ]
            inside = [*rest, *queue, *(() if decoupled else positives)]
            denominator = sum(exponential(anchor[2], row, temperature) for row in inside)
            for positive in positives:
                losses.append(-math.log(exponential(anchor[2], positive, temperature) / denominator))
        return mean(losses)

    if reduction == "multi_positive":
        return loss(samples)
    pairs = itertools.combinations(range(augmentations), 2)
    return mean([loss([sample for sample in samples if sample[0] in pair]) for pair in pairs])


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("reduction", ["pairwise", "multi_positive"])
@pytest.mark.parametrize(("negatives", "positions", "views"), SOURCES)
def test_every_variant_equals_loops(negatives, positions, views, reduction, decoupled):
    z = projections(views)
    queues = [None] if negatives == "track" else [None, projections(1, batch=7, seed=1)[0]]
    for queue in queues:
        found = nt_xent(z, 0.3, reduction, decoupled, negatives, positions, queue)
        rows = () if queue is None else queue
        expected = naive(z, 0.3, reduction, decoupled, negatives, positions, rows)
        assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("reduction", ["pairwise", "multi_positive"])
@pytest.mark.parametrize(("negatives", "positions", "views"), SOURCES)
def test_gradients_of_variants_are_those_of_the_function(negatives, positions, views, reduction, decoupled):
    z = [view.requires_grad_() for view in projections(views, batch=3, dim=3)]
    queue = None if negatives == "track" else projections(1, batch=4, dim=3, seed=1)[0].requires_grad_()

    def loss(*views):
        return nt_xent(views, 0.5, reduction, decoupled, negatives, positions, queue)

    assert torch.autograd.gradcheck(loss, z)
    loss(*z).backward()
    assert queue is None or queue.grad is None


@pytest.mark.parametrize(("negatives", "positions", "views"), SOURCES)
def test_the_order_of_tracks_places_and_augmentations_does_not_matter(negatives, positions, views):
    z = projections(views)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    expected = nt_xent(z, decoupled=True, negatives=negatives, positions=positions)
    for other in ([view[order] for view in z], z[::-1]):
        found = nt_xent(other, decoupled=True, negatives=negatives, positions=positions)
        torch.testing.assert_close(found, expected)
    if positions > 1:  # but which augmentation is of which place does
        mixed = nt_xent([z[-1], *z[:-1]], decoupled=True, negatives=negatives, positions=positions)
        assert not torch.isclose(mixed, expected)


def test_the_order_of_the_queue_does_not_matter():
    z, (queue,) = projections(2), projections(1, batch=6, seed=1)
    torch.testing.assert_close(nt_xent(z, queue=queue.flip(0)), nt_xent(z, queue=queue))
    torch.testing.assert_close(nt_xent(z, queue=3 * queue), nt_xent(z, queue=queue))
    assert nt_xent(z, queue=queue) > nt_xent(z)
    torch.testing.assert_close(nt_xent(z, queue=queue[:0]), nt_xent(z))


def test_chance_is_the_size_of_the_denominator():
    constant = [torch.ones(6, 4)] * 4
    for expected, arguments in [
        (12 - 2, {"decoupled": True}),
        (24 - 4, {"decoupled": True, "reduction": "multi_positive"}),
        (12 - 1 + 9, {"queue": torch.ones(9, 4)}),
        (4 - 1, {"negatives": "track", "positions": 2}),
        (4 - 2, {"negatives": "track", "positions": 2, "decoupled": True}),
        (24 - 1, {"negatives": "both", "positions": 2}),
    ]:
        found = nt_xent(constant, **arguments).item()
        assert found == pytest.approx(math.log(expected), abs=1e-5), arguments


def test_a_decoupled_loss_goes_on_falling_where_the_coupled_one_has_reached_zero():
    apart = torch.eye(6)
    assert nt_xent([apart, apart], 0.05).item() == pytest.approx(0, abs=1e-6)
    expected = math.log(2 * 6 - 2) - 1 / 0.05
    assert nt_xent([apart, apart], 0.05, decoupled=True).item() == pytest.approx(expected, rel=1e-5)


def test_negatives_within_tracks_do_not_see_other_tracks():
    z = projections(4)
    whole = nt_xent(z, negatives="track", positions=2)
    parts = [nt_xent([view[rows] for view in z], negatives="track", positions=2) for rows in ([0, 2], [1, 3])]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    # A track whose places are alike is at chance, whatever the others are.
    alike = nt_xent([z[0]] * 4, negatives="track", positions=2)
    assert alike.item() == pytest.approx(math.log(3))


def test_places_are_tracks_where_all_negatives_count():
    a, b, c, d = projections(4)
    joined = [torch.cat([a, c]), torch.cat([b, d])]
    torch.testing.assert_close(nt_xent([a, b, c, d], negatives="both", positions=2), nt_xent(joined))


def test_decoupled_agrees_with_lightly():
    from lightly.loss import DCLLoss

    a, b = projections(2, batch=12, dim=8, dtype=torch.float32)
    torch.testing.assert_close(nt_xent([a, b], 0.2, decoupled=True), DCLLoss(temperature=0.2)(a, b))


def test_the_queue_agrees_with_lightly_where_the_batch_has_no_close_negatives():
    from lightly.loss import NTXentLoss

    # lightly contrasts with its memory bank only: the other track of this batch lies on the far side.
    torch.manual_seed(0)
    one, noise = torch.randn(1, 8), 0.1 * torch.randn(2, 2, 8)
    a, b = torch.cat([one, -one]) + noise
    theirs = NTXentLoss(temperature=0.1, memory_bank_size=(20, 8))
    queue = theirs.memory_bank.bank.clone()
    expected = (theirs(a, b) + theirs(b, a)) / 2
    assert expected > 1e-3
    torch.testing.assert_close(nt_xent([a, b], 0.1, queue=queue), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(("negatives", "positions", "views"), SOURCES)
def test_blocks_change_nothing(monkeypatch, negatives, positions, views, decoupled):
    z = [view.requires_grad_() for view in projections(views)]
    queue = None if negatives == "track" else projections(1, batch=3, seed=1)[0]
    found = []
    for block in (1024, 3, 1):
        monkeypatch.setattr(contrastive, "_BLOCK", block)
        loss = nt_xent(z, 0.2, "multi_positive", decoupled, negatives, positions, queue)
        found.append((loss, *torch.autograd.grad(loss, z)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-14)


def test_a_large_batch_never_holds_all_similarities(peak_memory):
    z = [view.requires_grad_() for view in projections(2, batch=2048, dim=8, dtype=torch.float32)]
    block, matrix = 4 * 1024 * 4096, 4 * 4096 * 4096  # all at once, the way back needs four of these
    assert block < peak_memory(lambda: nt_xent(z).backward()) < 1.5 * matrix


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"negatives": "tracks"}, "negatives='tracks': use 'batch', 'track' or 'both'"),
        ({"positions": 2}, "positions=2 needs negatives='track' or 'both'"),
        ({"negatives": "both"}, "positions=1: negatives='both' needs at least two places"),
        ({"negatives": "track", "positions": 0}, "positions=0: negatives='track' needs at least two"),
        ({"negatives": "track", "positions": 3}, "4 views are not positions=3 with the same number"),
        ({"negatives": "both", "positions": 4}, "4 views are not positions=4 .* at least two"),
        ({"negatives": "track", "positions": 2, "queue": torch.ones(3, DIM)}, "no use for a queue"),
        ({"queue": torch.ones(3, DIM + 1)}, r"queue must have shape \(samples, 5\), got \(3, 6\)"),
        ({"queue": torch.ones(DIM)}, r"queue must have shape \(samples, 5\), got \(5,\)"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(projections(4), **arguments)


# SupCon


def naive_sup_con(views, groups, temperature):
    """SupCon, eq. 2, with the mean over anchors."""
    rows = [(track, row) for view in views for track, row in enumerate(view)]
    losses = []
    for i, (track, anchor) in enumerate(rows):
        exponentials = [exponential(anchor, row, temperature) for _, row in rows]
        denominator = sum(exponentials) - exponentials[i]
        positives = [
            j
            for j, (other, _) in enumerate(rows)
            if j != i and (other == track or (groups[other] == groups[track] and groups[track] >= 0))
        ]
        losses.append(mean([-math.log(exponentials[j] / denominator) for j in positives]))
    return mean(losses)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0], [3, -1, 3, -1], [5, 9, -2, 9], [-1] * 4])
@pytest.mark.parametrize("views", [2, 3])
def test_sup_con_equals_loops(views, groups):
    z = projections(views)
    found = sup_con(z, torch.tensor(groups), 0.3)
    assert found.item() == pytest.approx(naive_sup_con(z, groups, 0.3), rel=1e-10)


def test_sup_con_without_groups_is_nt_xent():
    z = projections(3)
    expected = nt_xent(z, 0.2, "multi_positive")
    for groups in (None, torch.arange(4), torch.full((4,), -1)):
        torch.testing.assert_close(sup_con(z, groups, 0.2), expected)


def test_neither_order_nor_numbers_of_groups_matter():
    z, groups = projections(2), torch.tensor([2, 7, -1, 2])
    expected, order = sup_con(z, groups), torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(sup_con([view[order] for view in z], groups[order]), expected)
    torch.testing.assert_close(sup_con(z, torch.tensor([0, 1, -5, 0])), expected)
    assert not torch.isclose(sup_con(z, torch.tensor([0, 1, 0, 1])), expected)


def test_one_point_per_group_is_the_best_there_is():
    # Three tracks in one place, one far away: each anchor shares its denominator among its positives.
    z = torch.eye(2)[[0, 0, 0, 1]]
    found = sup_con([z, z], torch.tensor([4, 4, 4, -1]), 0.02)
    assert found.item() == pytest.approx(0.75 * math.log(5), abs=1e-5)


def test_gradients_of_sup_con_are_those_of_the_function():
    z = [view.requires_grad_() for view in projections(2, dim=3)]
    groups = torch.tensor([1, 1, -1, 0])
    assert torch.autograd.gradcheck(lambda *views: sup_con(views, groups, 0.5), z)


@pytest.mark.parametrize("groups", [torch.arange(5), torch.zeros(4), torch.zeros(4, 1).long()])
def test_groups_are_one_integer_per_track(groups):
    with pytest.raises(ValueError, match=r"groups must be int64 of shape \(4,\), got torch\.\w+ \([145]"):
        sup_con(projections(2), groups)
