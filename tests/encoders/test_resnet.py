import copy

import pytest
import torch
import torchvision
from torch.nn import functional as F

from mvssl.encoders import ResNet
from mvssl.encoders.resnet import AttentionPool, Bottleneck, MeanMaxPool

FRONTEND = {"n_fft": 512, "hop_length": 320, "n_mels": 32}


def micro(pooling="attention", layers=(1, 1), **options):
    torch.manual_seed(0)
    options = {"embed_dim": 16, "heads": 4, "seconds": 1.0, "frontend": FRONTEND, **options}
    return ResNet(8, layers, pooling=pooling, **options)


@pytest.fixture(params=["attention", "mean_max", "mean_max, normalised"])
def encoder(request):
    return micro(request.param.split(",")[0], normalised="normalised" in request.param).eval()


@pytest.fixture
def audio():
    return 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0))


def test_audio_and_its_log_mel_have_one_embedding(encoder, audio):
    embedding = encoder(audio)
    assert embedding.shape == (3, encoder.embed_dim)
    assert torch.equal(encoder(encoder.frontend(audio)), embedding)
    assert len({tuple(row.tolist()) for row in embedding}) == 3


@pytest.mark.parametrize("samples", [2_000, 15_999, 16_000, 16_001, 50_123])
def test_any_length_is_embedded(encoder, samples):
    assert encoder(torch.randn(2, samples)).shape == (2, 16)


def test_a_clip_does_not_depend_on_its_batch(encoder, audio):
    together = encoder(audio)
    apart = torch.cat([encoder(clip[None]) for clip in audio])
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-4)


def test_every_parameter_is_trained(encoder, audio):
    encoder.train()(audio).square().sum().backward()
    missing = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert missing <= {"pool.k_proj.bias"}  # it shifts all attention scores alike


def test_dimensions_follow_width_and_layers():
    encoder = micro(layers=(1, 2, 1))
    blocks = [block for stage in encoder.stages for block in stage]
    assert [len(stage) for stage in encoder.stages] == [1, 2, 1]
    assert [block.conv3.out_channels for block in blocks] == [32, 64, 64, 128]
    image = torch.randn(1, 1, 32, 64)
    for stage, size in zip([encoder.stem, *encoder.stages], [(8, 16), (8, 16), (4, 8), (2, 4)], strict=True):
        image = stage(image)
        assert image.shape[2:] == size


@pytest.mark.parametrize(("stride", "channels_in"), [(1, 8), (1, 32), (2, 32)])
def test_a_block_is_a_residual_around_a_shortcut(stride, channels_in):
    torch.manual_seed(0)
    block = Bottleneck(channels_in, 8, stride).eval()
    x = torch.randn(2, channels_in, 6, 4)
    found = block(x)
    y = F.relu(block.bn1(F.conv2d(x, block.conv1.weight)))
    y = F.relu(block.bn2(F.conv2d(y, block.conv2.weight, padding=1)))
    if stride == 2:
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    y = block.bn3(F.conv2d(y, block.conv3.weight))
    if channels_in != 32 or stride == 2:
        x = block.downsample[1](F.conv2d(x, block.downsample[0].weight))
    torch.testing.assert_close(found, F.relu(x + y))


def test_attention_pooling_equals_multi_head_attention_of_the_mean():
    torch.manual_seed(0)
    pool = AttentionPool((2, 3), channels=12, embed_dim=5, heads=4)
    x = torch.randn(2, 12, 2, 3)
    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.positional_embedding[:, None]
    expected, _ = F.multi_head_attention_forward(
        tokens[:1], tokens, tokens, 12, 4,
        in_proj_weight=torch.empty(0),
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight, out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight, k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )  # fmt: skip
    torch.testing.assert_close(pool(x), expected[0])


def test_positions_are_those_of_the_nominal_grid_or_interpolated():
    torch.manual_seed(0)
    pool = AttentionPool((2, 3), channels=4, embed_dim=5, heads=2)
    assert pool.positions((2, 3)) is pool.positional_embedding
    longer = pool.positions((2, 6))
    assert longer.shape == (1 + 12, 4)
    assert torch.equal(longer[0], pool.positional_embedding[0])
    nominal, stretched = pool.positional_embedding[1:].reshape(2, 3, 4), longer[1:].reshape(2, 6, 4)
    # Bilinear, corners not aligned: the second of six positions is a quarter of the way to the next of three.
    torch.testing.assert_close(stretched[:, 0], nominal[:, 0])
    torch.testing.assert_close(stretched[:, 1], 0.75 * nominal[:, 0] + 0.25 * nominal[:, 1])


def test_mean_max_pooling_equals_its_definition():
    torch.manual_seed(0)
    pool = MeanMaxPool(3, 4)
    x = torch.randn(2, 3, 5, 7)
    sequence = x.mean(2)
    expected = torch.cat([sequence.mean(2), sequence.max(2).values], 1) @ pool.proj.weight.T + pool.proj.bias
    torch.testing.assert_close(pool(x), expected)


def test_the_configuration_makes_it_again(encoder, audio):
    again = ResNet(**encoder.config)
    again.load_state_dict(encoder.state_dict())
    assert again.config == encoder.config
    assert torch.equal(again.eval()(audio), encoder(audio))
    assert torch.equal(copy.deepcopy(encoder)(audio), encoder(audio))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="pooling='max': use 'attention' or 'mean_max'"):
        micro("max")
    with pytest.raises(ValueError, match="heads=3 must divide the 64 channels"):
        micro(heads=3)
    with pytest.raises(ValueError, match=r"width=7, layers=\[1\]"):
        ResNet(7, (1,))
    with pytest.raises(ValueError, match=r"layers=\[1, 0\]"):
        micro(layers=(1, 0))
    with pytest.raises(ValueError, match=r"32 bins × 6 frames is too small for 2 stages: at least 7 "):
        micro(seconds=0.1)
    with pytest.raises(ValueError, match="5 stages: at least 63"):
        micro("mean_max", layers=(1, 1, 1, 1, 1))


def test_clips_that_vanish_in_the_poolings_are_refused(encoder):
    assert encoder(torch.randn(2, 32, 7)).shape == (2, 16)
    with pytest.raises(ValueError, match="32 bins × 6 frames is too small for 2 stages: at least 7 of each"):
        encoder(torch.randn(2, 32, 6))


def test_a_normalised_log_mel_keeps_nothing_of_gain_and_equaliser(audio):
    plain, normalised = micro("mean_max").eval(), micro("mean_max", normalised=True).eval()
    mel = plain.frontend(audio)
    equalised = mel + torch.linspace(-0.5, 0.5, 32)[:, None]
    moved = [(encoder(equalised) - encoder(mel)).abs().max() for encoder in (plain, normalised)]
    assert moved[1] < 0.01 * moved[0]


def test_a_normalised_encoder_stands_silence():
    encoder = micro("mean_max", normalised=True)
    silence = torch.zeros(2, 16_000, requires_grad=True)
    embedding = encoder(silence)
    embedding.sum().backward()
    assert embedding.isfinite().all()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_170_240), ("resnet34", 21_278_400)])
def test_torchvision_bodies_are_torchvision_s(name, parameters):
    """Up to the first convolution, which sums the channels of torchvision's."""
    torch.manual_seed(0)
    encoder = ResNet(name, pooling="mean_max", embed_dim=8, frontend=FRONTEND).eval()
    body = torchvision.models.get_model(name).eval()
    with torch.no_grad():
        body.conv1.weight.copy_(encoder.stem[0].weight.repeat(1, 3, 1, 1) / 3)
    parts = [encoder.stem[1], *encoder.stages]
    for own, other in zip(parts, [body.bn1, body.layer1, body.layer2, body.layer3, body.layer4], strict=True):
        other.load_state_dict(own.state_dict())
    body.avgpool, body.fc = torch.nn.Identity(), torch.nn.Identity()
    mel = torch.randn(2, 32, 50)
    with torch.no_grad():
        found, expected = encoder.feature_map(mel), body(mel[:, None].repeat(1, 3, 1, 1))
    assert found.shape == (2, 512, 1, 2)
    torch.testing.assert_close(found.flatten(1), expected, atol=1e-4, rtol=1e-4)
    own = sum(p.numel() for part in (encoder.stem, encoder.stages) for p in part.parameters())
    assert own == parameters


def test_torchvision_bodies_take_any_size_and_either_pooling():
    encoder = ResNet("resnet18", embed_dim=8, seconds=1.0, frontend=FRONTEND).eval()
    assert encoder.map_channels == (64, 128, 256, 512)
    assert encoder.config["layers"] == [2, 2, 2, 2]
    assert encoder(torch.randn(2, 32, 1)).shape == (2, 8)
    assert encoder(torch.randn(2, 20_000)).shape == (2, 8)
    assert ResNet(**encoder.config).config == encoder.config


def test_bodies_are_checked():
    with pytest.raises(
        ValueError, match="no torchvision body 'resnet17': known are resnet18, resnet34, resnet50"
    ):
        ResNet("resnet17")
    with pytest.raises(ValueError, match=r"resnet18 has layers=\[2, 2, 2, 2\], not \[1, 1\]: leave them out"):
        ResNet("resnet18", (1, 1))


def test_the_front_end_may_be_named_or_another(audio):
    for frontend in ("byola", {"class": "CQT", "n_bins": 36, "f_min": 440.0}):
        encoder = micro("mean_max", frontend=frontend).eval()
        again = ResNet(**encoder.config)
        again.load_state_dict(encoder.state_dict())
        assert again.frontend.config == encoder.frontend.config
        assert torch.equal(again.eval()(audio), encoder(audio))
