import pytest
import torch

from mvssl.functional import nt_xent
from mvssl.pretext import SimCLR


@pytest.mark.parametrize("reduction", ["pairwise", "multi_positive"])
def test_the_loss_is_nt_xent_of_the_projections(encoder, views, reduction):
    pretext = SimCLR(encoder, temperature=0.3, reduction=reduction)
    output = pretext([*views, views[0].flip(2)])
    torch.testing.assert_close(output.loss, nt_xent(output.projections, 0.3, reduction))
    assert not torch.isclose(output.loss, nt_xent(output.projections, 0.1, reduction))


def test_projections_are_the_head_of_the_embeddings(encoder, views):
    pretext = SimCLR(encoder, projection_dim=9).eval()
    output = pretext(views)
    for view, embedding, projection in zip(views, output.embeddings, output.projections, strict=True):
        torch.testing.assert_close(embedding, encoder(view))
        torch.testing.assert_close(projection, pretext.projector(embedding))
        assert projection.shape == (12, 9)


def test_the_hidden_layer_is_as_wide_as_the_embedding_unless_told(encoder):
    assert SimCLR(encoder).projector[0].out_features == 16
    assert SimCLR(encoder, hidden_dim=5).projector[0].out_features == 5


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_the_temperature_must_be_positive(encoder, temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} must be positive"):
        SimCLR(encoder, temperature=temperature)


def test_an_unknown_reduction_is_refused(encoder, views):
    with pytest.raises(ValueError, match="reduction='sum'"):
        SimCLR(encoder, reduction="sum")(views)
