import pytest
import torch

from mvssl.functional import sup_con
from mvssl.pretext import SupCon


def test_the_loss_is_that_of_projections_and_groups(encoder, views):
    pretext = SupCon(encoder, projection_dim=9, temperature=0.3)
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, -1, -1, -1, -1])
    output = pretext(views, groups=groups)
    assert output.projections[0].shape == (12, 9)
    torch.testing.assert_close(output.loss, sup_con(output.projections, groups, 0.3))
    assert not torch.isclose(output.loss, sup_con(output.projections, None, 0.3))
    assert torch.equal(pretext(views, groups).loss, pretext(views, groups=groups).loss)


def test_without_groups_each_track_is_alone(encoder, views):
    output = SupCon(encoder)(views)
    torch.testing.assert_close(output.loss, sup_con(output.projections))


def test_training_gathers_a_group(encoder, views):
    torch.manual_seed(0)
    pretext = SupCon(encoder, projection_dim=16)
    groups = torch.arange(12) % 3
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        pretext(views, groups).loss.backward()
        optimiser.step()
    z = torch.nn.functional.normalize(pretext(views).projections[0].detach(), dim=1)
    cosines, together = z @ z.T, groups[:, None] == groups
    assert cosines[together].mean() > cosines[~together].mean() + 0.5


def test_the_hidden_layer_is_as_wide_as_the_embedding_unless_told(encoder):
    assert SupCon(encoder).projector[0].out_features == 16
    assert SupCon(encoder, hidden_dim=5).projector[0].out_features == 5


def test_the_temperature_must_be_positive(encoder):
    with pytest.raises(ValueError, match=r"temperature=0.0 must be positive"):
        SupCon(encoder, temperature=0.0)
