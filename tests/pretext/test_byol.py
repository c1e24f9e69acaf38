import copy
import math

import pytest
import torch

from mvssl.functional import byol
from mvssl.pretext import BYOL


@pytest.fixture
def pretext(encoder):
    return BYOL(encoder, hidden_dim=24, projection_dim=8, momentum=0.9)


def online(pretext):
    return [*pretext.encoder.parameters(), *pretext.projector.parameters()]


def disturbed(pretext):
    """Moves the online network away from its target; returns copies of both."""
    with torch.no_grad():
        for parameter in online(pretext):
            parameter.add_(torch.randn_like(parameter))
    return copy.deepcopy(online(pretext)), copy.deepcopy(list(pretext.target.parameters()))


def momentum_of(pretext, *arguments):
    """The decay that a call of after_step applies."""
    new, old = disturbed(pretext)
    pretext.after_step(*arguments)
    kept = [(now - n) / (o - n) for now, n, o in zip(pretext.target.parameters(), new, old, strict=True)]
    kept = torch.cat([share.flatten() for share in kept])
    return kept.median().item()


def test_the_loss_compares_predictions_with_targets_of_the_other_view(pretext, views):
    target, predictor = copy.deepcopy(pretext.target), copy.deepcopy(pretext.predictor)
    output = pretext(views)
    with torch.no_grad():
        targets = target(torch.cat(views)).chunk(2)
    predictions = predictor(torch.cat(list(output.projections))).chunk(2)
    torch.testing.assert_close(output.loss, byol(predictions, targets))


def test_projections_are_normalised_over_the_batch_unless_as_in_the_paper(encoder, views):
    normalised = torch.cat(list(BYOL(encoder)(views).projections))
    torch.testing.assert_close(normalised.mean(0), torch.zeros(256), atol=1e-5, rtol=0)
    plain = BYOL(encoder, projection_norm=False)
    assert [type(layer).__name__ for layer in plain.projector] == ["Linear", "BatchNorm", "ReLU", "Linear"]
    assert torch.cat(list(plain(views).projections)).mean(0).abs().max() > 0.01


def test_the_target_starts_as_a_copy_of_its_own(pretext):
    for parameter, copied in zip(online(pretext), pretext.target.parameters(), strict=True):
        assert torch.equal(parameter, copied)
        assert parameter.data_ptr() != copied.data_ptr()


def test_neither_gradients_nor_the_optimiser_reach_the_target(pretext, views):
    before = copy.deepcopy(list(pretext.target.parameters()))
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=0.1, weight_decay=0.5)
    pretext(views).loss.backward()
    optimiser.step()
    assert all(p.grad is None and not p.requires_grad for p in pretext.target.parameters())
    assert all(map(torch.equal, pretext.target.parameters(), before))
    assert all(p.grad is not None for p in [*online(pretext), *pretext.predictor.parameters()])


def test_the_target_moves_by_the_formula(pretext):
    new, old = disturbed(pretext)
    pretext.after_step()
    for now, n, o in zip(pretext.target.parameters(), new, old, strict=True):
        torch.testing.assert_close(now, 0.9 * o + 0.1 * n)
    assert all(map(torch.equal, online(pretext), new))


@pytest.mark.parametrize(
    ("arguments", "momentum"),
    [
        ((), 0.9),
        ((7, None), 0.9),
        ((0, 100), 0.9),
        ((25, 100), 1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2),
        ((50, 100), 0.95),
        ((100, 100), 1.0),
        ((150, 100), 1.0),  # a run that goes on stays at its end
    ],
)
def test_the_momentum_rises_to_one(pretext, arguments, momentum):
    assert momentum_of(pretext, *arguments) == pytest.approx(momentum, abs=1e-4)


def test_extreme_momenta_keep_or_replace_the_target(encoder):
    assert momentum_of(BYOL(encoder, momentum=1.0)) == pytest.approx(1)
    assert momentum_of(BYOL(encoder, momentum=0.0)) == pytest.approx(0, abs=1e-6)


def test_batch_norms_of_the_target_keep_statistics_of_their_own(pretext, views):
    online_norm, target_norm = pretext.encoder.stem[1], pretext.target.network[0].stem[1]
    for _ in range(3):
        disturbed(pretext)
        pretext(views)
    assert target_norm.num_batches_tracked == 3
    assert not torch.allclose(target_norm.running_mean, online_norm.running_mean)
    statistics = target_norm.running_mean.clone()
    pretext.after_step()
    assert torch.equal(target_norm.running_mean, statistics)
    assert not target_norm.weight.requires_grad


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_the_momentum_must_be_a_share(encoder, momentum):
    with pytest.raises(ValueError, match=rf"momentum={momentum} must lie in \[0, 1\]"):
        BYOL(encoder, momentum=momentum)
