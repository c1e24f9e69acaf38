import copy

import pytest
import torch

from mvssl.encoders import create_encoder
from mvssl.functional import masked_reconstruction
from mvssl.pretext import MaskedModeling
from mvssl.pretext.masks import to_patches


@pytest.fixture
def pretext(encoder):
    return MaskedModeling(encoder, patch=(16, 4), mask_ratio=0.5, hidden_dim=24)


def test_the_loss_is_that_of_the_masked_patches(pretext, views):
    masked = copy.deepcopy(pretext.masking)(pretext.encoder, views)
    output = pretext(views)
    predictions = [projection.unflatten(1, (12, 64)) for projection in output.projections]
    targets = [to_patches(view, (16, 4)) for view in views]
    expected = masked_reconstruction(predictions, targets, [view.mask for view in masked])
    torch.testing.assert_close(output.loss, expected)


def test_the_encoder_sees_nothing_of_masked_patches(pretext, views):
    """What stands in them changes neither embeddings nor predictions."""
    masks = [view.mask for view in copy.deepcopy(pretext.masking)(pretext.encoder, views)]
    seen = []
    pretext.encoder.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pretext(views)
    for image, mask in zip(seen[0].squeeze(1).chunk(2), masks, strict=True):
        patches = to_patches(image, (16, 4))
        token = pretext.masking.token.flatten()
        assert torch.equal(patches[mask], token.expand(int(mask.sum()), -1))
        assert (patches[~mask] != token).any(1).all()


def test_one_view_is_enough(pretext, views):
    output = pretext(views[:1])
    assert output.embeddings[0].shape == (12, 16)
    output.loss.backward()
    assert pretext.masking.token.grad.abs().sum() > 0
    assert pretext.encoder.pool.proj.weight.grad.abs().sum() > 0


def test_several_views_are_averaged(pretext, views):
    pretext.eval()
    together = pretext([views[0], views[0][:, :, :16]]).loss
    assert together.isfinite()
    pretext.masking._mask = lambda encoder, mel, place, mask=pretext.masking._mask: mask(encoder, mel, 0)
    single = [pretext([view]).loss for view in views]
    torch.testing.assert_close(pretext(views).loss, torch.stack(single).mean())


def test_a_constant_prediction_costs_about_one(pretext, views):
    torch.nn.init.zeros_(pretext.decoder.mix[-1].weight)
    torch.nn.init.zeros_(pretext.decoder.mix[-1].bias)
    assert pretext(views).loss.item() == pytest.approx(1, abs=1e-3)


def test_the_default_sizes_suit_the_default_encoder():
    pretext = MaskedModeling(create_encoder("tiny"))
    output = pretext([0.1 * torch.randn(2, 48_000)])
    assert output.projections[0].shape == (2, 4 * 11 * 16 * 8)
    encoder, decoder = (
        sum(p.numel() for p in part.parameters()) for part in (pretext.encoder, pretext.decoder)
    )
    assert decoder < 2 * encoder


@pytest.mark.parametrize("ratio", [0, 1, 1.5])
def test_the_ratio_is_checked(encoder, ratio):
    with pytest.raises(ValueError, match=f"mask_ratio={ratio} must lie between 0 and 1"):
        MaskedModeling(encoder, mask_ratio=ratio)
