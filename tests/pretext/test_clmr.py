import pytest
import torch
from torch import nn

from mvssl.functional import nt_xent
from mvssl.pretext import CLMR


def test_the_loss_has_the_published_temperature(encoder, views):
    output = CLMR(encoder)(views)
    torch.testing.assert_close(output.loss, nt_xent(output.projections, 0.5))


def test_the_projector_is_the_published_one(encoder, views):
    pretext = CLMR(encoder)
    assert [type(layer) for layer in pretext.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in pretext.projector.parameters()] == [(16, 16), (64, 16)]
    assert CLMR(encoder, projection_dim=128)(views).projections[0].shape == (12, 128)


def test_the_temperature_must_be_positive(encoder):
    with pytest.raises(ValueError, match="temperature=0 must be positive"):
        CLMR(encoder, temperature=0)
