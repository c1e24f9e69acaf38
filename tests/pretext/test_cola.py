import pytest
import torch
from torch import nn

from mvssl.functional import cola
from mvssl.pretext import COLA


def test_the_loss_is_that_of_the_projections_and_the_weight(encoder, views):
    pretext = COLA(encoder, projection_dim=20)
    output = pretext([*views, views[0].flip(2)])
    torch.testing.assert_close(output.loss, cola(output.projections, pretext.weight))
    assert output.projections[0].shape == (12, 20)


def test_the_projector_is_the_published_one(encoder, views):
    pretext = COLA(encoder)
    assert [type(layer) for layer in pretext.projector] == [nn.Linear, nn.LayerNorm, nn.Tanh]
    projection = pretext(views).projections[0]
    assert projection.shape == (12, 512)
    assert projection.abs().max() < 1
    assert pretext.weight.std().item() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("std", [0.0, -0.1])
def test_the_deviation_must_be_positive(encoder, std):
    with pytest.raises(ValueError, match=f"init_std={std} must be all positive"):
        COLA(encoder, init_std=std)
