import pytest
import torch
from torch.nn import functional as F

from mvssl.encoders import ConvNet5, load_encoder, save_encoder
from mvssl.pretext import MaskedModeling, SimCLR

SMALL = {"channels": (4, 6, 6, 8, 8), "embed_dim": 3}


@pytest.fixture(params=[False, True], ids=["one embedding", "multi-level"])
def encoder(request):
    torch.manual_seed(0)
    return ConvNet5(multi_level=request.param, **SMALL).eval()


@pytest.fixture
def mel():
    return torch.randn(2, 96, 188, generator=torch.Generator().manual_seed(0))


def naive_maps(encoder, mel):
    x = mel[:, None]
    for (convolution, norm, *_), pool in zip(
        encoder.layers, [(2, 2), (2, 2), (2, 2), (4, 4), (3, 5)], strict=True
    ):
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=2)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
        x = F.max_pool2d(x, pool)
        yield x


@torch.no_grad()
def test_three_seconds_become_one_cell(encoder, mel):
    assert encoder.frontend(torch.zeros(1, 48_000)).shape == (1, 96, 188)
    maps = list(naive_maps(encoder, mel))
    assert [tuple(x.shape[2:]) for x in maps] == [(48, 94), (24, 47), (12, 23), (3, 5), (1, 1)]
    for found, expected in zip(encoder.maps(mel), maps, strict=True):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_embedding_is_a_linear_layer_behind_the_last(mel):
    encoder = ConvNet5(**SMALL).eval()
    *_, last = naive_maps(encoder, mel)
    linear = encoder.pool[-1]
    torch.testing.assert_close(encoder(mel), last[:, :, 0, 0] @ linear.weight.T + linear.bias)
    with pytest.raises(ValueError, match="make it with multi_level=True"):
        encoder.levels(mel)


@torch.no_grad()
def test_levels_are_maxima_over_time(mel):
    encoder = ConvNet5(multi_level=True, **SMALL).eval()
    levels = encoder.levels(mel)
    assert encoder.embed_dim == 15
    for level, x, head in zip(levels, naive_maps(encoder, mel), encoder.heads, strict=True):
        flat = x.max(3).values.reshape(2, -1)
        torch.testing.assert_close(level, flat @ head.weight.T + head.bias)
    assert torch.equal(encoder(mel), torch.cat(levels, 1))


def test_either_is_trained_and_kept(encoder, mel, tmp_path):
    pretext = SimCLR(encoder.train(), projection_dim=4)
    pretext([mel, mel.flip(2)]).loss.backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    save_encoder(encoder, tmp_path)
    assert torch.equal(load_encoder(tmp_path)(mel), encoder.eval()(mel))


def test_dense_pretexts_take_the_one_with_a_pooled_map(mel):
    pretext = MaskedModeling(ConvNet5(**SMALL), hidden_dim=4)
    assert pretext([mel]).loss.isfinite()
    with pytest.raises(TypeError, match="ConvNet5 lacks pool"):
        MaskedModeling(ConvNet5(multi_level=True, **SMALL))


def test_what_vanishes_in_the_poolings_is_refused(encoder):
    assert encoder(torch.randn(1, 96, 160)).isfinite().all()
    with pytest.raises(ValueError, match="96 bins × 159 frames is too small for ConvNet5: at least 96 × 160"):
        encoder(torch.randn(1, 96, 159))
    with pytest.raises(ValueError, match="64 bins × 376 frames is too small"):
        ConvNet5(frontend={"n_fft": 512, "hop_length": 128, "n_mels": 64})


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"channels=\[4, 4\], embed_dim=128: give 5 channels"):
        ConvNet5((4, 4))
