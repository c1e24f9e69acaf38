import pytest
import torch

from mvssl.encoders import ViT
from mvssl.encoders.vit import interpolated
from mvssl.pretext import MaskedContrastive, MaskedLatent

FRONTEND = {"n_fft": 512, "hop_length": 320, "n_mels": 32}


def micro(**options):
    torch.manual_seed(0)
    return ViT(**{"embed_dim": 16, "depth": 2, "heads": 2, "seconds": 1.0, "frontend": FRONTEND, **options})


@pytest.fixture
def encoder():
    return micro().eval()


@pytest.fixture
def mel():
    return torch.randn(3, 32, 24, generator=torch.Generator().manual_seed(0))


def in_order(batch, patches):
    return torch.arange(patches).expand(batch, -1)


@torch.no_grad()
def test_patches_are_rectangles_row_by_row(encoder, mel):
    tokens = encoder._tokens(mel) - interpolated(encoder.positions, (2, 6)).flatten(1).T
    for row in range(2):
        for column in range(6):
            patch = mel[:, 16 * row : 16 * (row + 1), 4 * column : 4 * (column + 1)]
            expected = torch.einsum("bij,dij->bd", patch, encoder.embed.weight[:, 0]) + encoder.embed.bias
            torch.testing.assert_close(tokens[:, 6 * row + column], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_embedding_is_the_mean_of_all_tokens(encoder, mel):
    tokens = encoder.encode_visible(mel, in_order(3, 12))
    torch.testing.assert_close(encoder(mel), tokens.mean(1))
    torch.testing.assert_close(encoder.frames(mel), tokens.unflatten(1, (2, 6)).mean(1))


@torch.no_grad()
def test_visible_patches_are_encoded_alone_and_in_the_order_asked_for(encoder, mel):
    visible = torch.tensor([[0, 3, 7], [11, 1, 4], [5, 6, 2]])
    found = encoder.encode_visible(mel, visible)
    assert found.shape == (3, 3, 16)
    torch.testing.assert_close(encoder.encode_visible(mel, visible.flip(1)).flip(1), found)
    torch.testing.assert_close(encoder.encode_visible(mel[1:2], visible[1:2]), found[1:2])
    assert not torch.allclose(encoder.encode_visible(mel, in_order(3, 12))[0, 3], found[0, 1], atol=1e-3)


def test_the_last_of_the_hidden_states_is_normalised(encoder, mel):
    first, last = encoder.maps(mel)
    assert last.var(1, correction=0).sub(1).abs().max() < 1e-3
    assert first.var(1, correction=0).sub(1).abs().max() > 0.1


def test_positions_are_interpolated():
    positions = torch.randn(5, 2, 3)
    assert interpolated(positions, (2, 3)) is positions
    longer = interpolated(positions, (2, 6))
    torch.testing.assert_close(longer[:, :, 0], positions[:, :, 0])
    torch.testing.assert_close(longer[:, :, 1], 0.75 * positions[:, :, 0] + 0.25 * positions[:, :, 1])


@pytest.mark.parametrize("samples", [2_000, 15_999, 16_000, 50_123])
def test_any_length_is_embedded(encoder, samples):
    assert encoder(torch.randn(2, samples)).shape == (2, 16)


@torch.no_grad()
def test_what_is_beyond_the_last_patch_is_cut_off(encoder, mel):
    assert torch.equal(encoder(mel[:, :, :23]), encoder(mel[:, :, :20]))


@pytest.mark.parametrize("kind", [MaskedLatent, MaskedContrastive])
def test_it_is_a_dense_encoder(kind, mel):
    encoder = micro()
    pretext = kind(encoder)
    pretext([mel, mel.flip(2)]).loss.backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_arguments_are_checked(encoder):
    with pytest.raises(ValueError, match="embed_dim=16, depth=2, heads=3"):
        micro(heads=3)
    with pytest.raises(ValueError, match=r"patch=\(0, 4\)"):
        micro(patch=(0, 4))
    with pytest.raises(ValueError, match="32 bins × 51 frames is smaller than a patch of 64 × 4"):
        micro(patch=(64, 4))
    with pytest.raises(ValueError, match="32 bins × 3 frames is smaller than a patch of 16 × 4"):
        encoder(torch.randn(1, 32, 3))
