from functools import partial

import pytest
import torch

import mvssl.functional
from mvssl.pretext import SwAV

swav = partial(mvssl.functional.swav, epsilon=0.02)


@pytest.fixture
def pretext(encoder):
    return SwAV(encoder, hidden_dim=24, projection_dim=8, prototypes=6)


def lengths(tensor):
    return tensor.norm(dim=1)


def test_the_loss_is_swav_of_cosines_with_the_prototypes(pretext, views):
    output = pretext(views)
    torch.testing.assert_close(lengths(output.projections[0]), torch.ones(12))
    torch.testing.assert_close(lengths(pretext.prototypes.weight), torch.ones(6))
    scores = [z @ pretext.prototypes.weight.T for z in output.projections]
    torch.testing.assert_close(output.loss, swav(scores))


def test_further_views_only_predict(pretext, views):
    output = pretext([*views, views[0][:, :, :12], views[1][:, :, :12]])
    scores = [pretext.prototypes(z) for z in output.projections]
    torch.testing.assert_close(output.loss, swav(scores, code_views=2))
    assert not torch.isclose(output.loss, swav(scores))


def test_prototypes_return_to_the_unit_sphere_after_a_step(pretext):
    with torch.no_grad():
        pretext.prototypes.weight.mul_(3)
    pretext.after_step()
    torch.testing.assert_close(lengths(pretext.prototypes.weight), torch.ones(6))


def test_a_full_queue_takes_part_in_the_assignment(encoder, views):
    pretext = SwAV(encoder, projection_dim=8, prototypes=6, queue_size=20)
    first, second = pretext(views), pretext(views)
    for output in (first, second):  # 12 of 20 places are filled, not all
        torch.testing.assert_close(output.loss, swav([pretext.prototypes(z) for z in output.projections]))
    for i in range(2):
        newest = torch.cat([second.projections[i], first.projections[i]])[:20]
        torch.testing.assert_close(pretext.queue.rows[i], newest.detach())
    queued = [pretext.prototypes(view) for view in pretext.queue.rows]
    third = pretext(views)
    scores = [pretext.prototypes(z) for z in third.projections]
    torch.testing.assert_close(third.loss, swav(scores, queued=queued))
    assert not torch.isclose(third.loss, swav(scores))
    third.loss.backward()


def test_a_batch_may_be_larger_than_the_queue(encoder, views):
    pretext = SwAV(encoder, projection_dim=8, prototypes=6, queue_size=5)
    output = pretext(views)
    torch.testing.assert_close(pretext.queue.rows[1], output.projections[1][:5].detach())
    assert pretext(views).loss.isfinite()


def test_the_queue_stands_in_the_state(encoder, views):
    pretext = SwAV(encoder, projection_dim=8, prototypes=6, queue_size=12)
    pretext(views)
    other = SwAV(encoder, projection_dim=8, prototypes=6, queue_size=12)
    other.load_state_dict(pretext.state_dict())
    assert torch.equal(other(views).loss, pretext(views).loss)


def test_evaluation_does_not_fill_the_queue(encoder, views):
    pretext = SwAV(encoder, projection_dim=8, prototypes=6, queue_size=12).eval()
    pretext(views)
    assert pretext.queue.filled == 0


def test_the_use_of_prototypes_is_logged(pretext, views):
    terms = pretext(views).terms
    assert terms.keys() == {"prototype_entropy", "assignment_entropy"}
    assert 0 < terms["assignment_entropy"] < terms["prototype_entropy"] <= 1
    with torch.no_grad():
        pretext.prototypes.weight.copy_(torch.ones(6, 8))
    assert pretext(views).terms["assignment_entropy"].item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["temperature", "epsilon", "iterations", "code_views"])
def test_numbers_must_be_positive(encoder, name):
    with pytest.raises(ValueError, match=rf"{name}=0.* must be positive"):
        SwAV(encoder, **{name: 0})
    with pytest.raises(ValueError, match=r"queue_size=-1 must not be negative"):
        SwAV(encoder, queue_size=-1)
