import copy
import math

import pytest
import torch

from mvssl.encoders import ViT, create_encoder
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


@pytest.fixture
def transformer(encoder):
    """MAE around a transformer, with a mask ratio of 3/4."""
    vit = ViT(16, depth=2, heads=2, seconds=1.0, frontend=encoder.config["frontend"])
    return MaskedModeling(vit, mask_ratio=0.75, hidden_dim=24)


def attend(block, x):
    """A block on the tokens (tokens, width) of one clip, written out."""
    attention, width = block.self_attn, x.shape[1]
    y = block.norm1(x)
    q, k, v = (y @ attention.in_proj_weight.T + attention.in_proj_bias).split(width, 1)
    heads = [
        (q[:, h] @ k[:, h].T / len(h) ** 0.5).softmax(1) @ v[:, h]
        for h in torch.arange(width).chunk(attention.num_heads)
    ]
    x = x + attention.out_proj(torch.cat(heads, 1))
    return x + block.linear2(torch.nn.functional.gelu(block.linear1(block.norm2(x))))


@torch.no_grad()
def test_a_transformer_never_sees_masked_patches(transformer, views):
    """Against masked autoencoding written clip by clip, patch by patch."""
    masked = copy.deepcopy(transformer.masking)(transformer.encoder, views)
    vit, decoder = transformer.encoder, transformer.decoder
    losses = []
    for view in masked:
        for image, mask in zip(view.image, view.mask, strict=True):
            assert mask.sum() == 9
            patches = [image[r : r + 16, c : c + 4] for r in (0, 16) for c in range(0, 24, 4)]
            places = [(r, c) for r in range(2) for c in range(6)]
            positions = torch.nn.functional.interpolate(vit.positions[None], (2, 6), mode="bilinear")[0]
            tokens = [
                (vit.embed.weight[:, 0] * patch).sum((1, 2)) + vit.embed.bias + positions[:, r, c]
                for patch, (r, c), hidden in zip(patches, places, mask, strict=True)
                if not hidden
            ]
            x = torch.stack(tokens)
            for block in vit.blocks:
                x = attend(block, x)
            known = iter(decoder.embed(vit.norm(x)))
            rates = [10_000 ** (-i / 6) for i in range(6)]
            rows = []
            for hidden, place in zip(mask, places, strict=True):
                wave = [f(p * rate) for p in place for f in (math.sin, math.cos) for rate in rates]
                rows.append((decoder.token if hidden else next(known)) + torch.tensor(wave))
            x = torch.stack(rows)
            for block in decoder.blocks:
                x = attend(block, x)
            prediction = decoder.predict(x)
            for patch, row, hidden in zip(patches, prediction, mask, strict=True):
                if hidden:
                    target = (patch - patch.mean()) / (patch.var(correction=0) + 1e-6).sqrt()
                    losses.append((row - target.flatten()).square().mean())
    torch.testing.assert_close(transformer(views).loss, torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)


def test_masked_patches_are_not_computed(transformer, views):
    seen = []
    transformer.encoder.blocks[0].register_forward_hook(lambda _, inputs, output: seen.append(output.shape))
    output = transformer(views)
    assert seen == [(12, 3, 16)] * 2
    assert [embedding.shape for embedding in output.embeddings] == [(12, 16)] * 2
    changed = [view.clone() for view in views]
    masks = [view.mask for view in copy.deepcopy(transformer.masking)(transformer.encoder, views)]
    assert not [name for name, _ in transformer.masking.named_parameters()]
    for view, mask in zip(changed, masks, strict=True):
        for clip, hidden in zip(view, mask.unflatten(1, (2, 6)), strict=True):
            clip[hidden.repeat_interleave(16, 0).repeat_interleave(4, 1)] = 7.0
    vit = transformer.encoder
    for view, other, mask in zip(views, changed, masks, strict=True):
        visible = mask.int().argsort(dim=1, stable=True)[:, :3]
        assert torch.equal(vit.encode_visible(view, visible), vit.encode_visible(other, visible))


def test_a_transformer_has_its_own_patches(encoder):
    vit = ViT(16, depth=1, heads=2, patch=(8, 4), seconds=1.0, frontend=encoder.config["frontend"])
    with pytest.raises(ValueError, match=r"patch=\(16, 4\): the encoder's own patches are \(8, 4\)"):
        MaskedModeling(vit, patch=(16, 4))
    assert MaskedModeling(vit).masking.patch == (8, 4)
    with pytest.raises(ValueError, match=r"hidden_dim=6: .* a multiple of 4"):
        MaskedModeling(vit, patch=(8, 4), hidden_dim=6)


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
