import pytest
import torch

from mvssl.functional import barlow_twins
from mvssl.pretext import BarlowTwins


def test_the_loss_is_that_of_the_projections(encoder, views):
    output = BarlowTwins(encoder, 24, 20)([*views, views[0].flip(2)])
    torch.testing.assert_close(output.loss, barlow_twins(output.projections))
    output = BarlowTwins(encoder, 24, 20, lambda_=0.3, reduction="mean", correction=1)(views)
    torch.testing.assert_close(output.loss, barlow_twins(output.projections, 0.3, "mean", 1))


def test_the_projector_has_two_hidden_layers_and_no_last_bias(encoder, views):
    pretext = BarlowTwins(encoder, hidden_dim=10, projection_dim=20)
    sizes = [tuple(p.shape) for p in pretext.projector.parameters() if p.ndim == 2]
    assert sizes == [(10, 16), (10, 10), (20, 10)]
    assert pretext.projector[-1].bias is None
    assert pretext(views).projections[0].shape == (12, 20)


def test_the_weight_can_be_zero_but_not_negative(encoder, views):
    assert BarlowTwins(encoder, lambda_=0.0)(views).loss.isfinite()
    with pytest.raises(ValueError, match=r"lambda_=-1.0 must not be negative"):
        BarlowTwins(encoder, lambda_=-1.0)
