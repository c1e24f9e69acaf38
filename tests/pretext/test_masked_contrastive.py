import copy

import pytest
import torch

from mvssl.functional import nt_xent
from mvssl.pretext import MaskedContrastive


@pytest.fixture
def pretext(encoder):
    return MaskedContrastive(encoder, projection_dim=8)


def test_it_is_nt_xent_of_masked_views(pretext, views):
    other = copy.deepcopy(pretext)
    hidden = torch.cat([view.hidden for view in other.masking(other.encoder, views)])
    expected = nt_xent(other.projector(other.encoder(hidden)).chunk(2))
    output = pretext(views)
    torch.testing.assert_close(output.loss, expected)
    assert output.projections[0].shape == (12, 8)


def test_a_single_view_is_masked_twice(pretext, views):
    one, two = pretext.eval()(views[:1]), pretext([views[0], views[0]])
    assert len(one.embeddings) == 2
    assert not torch.equal(*one.embeddings)
    assert torch.equal(one.loss, two.loss)
    one.loss.backward()


def test_half_of_the_patches_is_masked_unless_told(encoder, views):
    for arguments, masked in (({}, 3), ({"mask_ratio": 0.9}, 5), ({"patch": (8, 4), "mask_ratio": 0.75}, 18)):
        pretext = MaskedContrastive(encoder, **arguments)
        assert {int(mask.sum()) for mask in pretext.masking(encoder, views)[0].mask} == {masked}


def test_arguments_are_checked(encoder):
    with pytest.raises(ValueError, match="temperature=0 must be positive"):
        MaskedContrastive(encoder, temperature=0)
    with pytest.raises(ValueError, match="mask_ratio=1 must lie between 0 and 1"):
        MaskedContrastive(encoder, mask_ratio=1)
