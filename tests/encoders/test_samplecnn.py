import pytest
import torch
from torch.nn import functional as F

from mvssl.encoders import SampleCNN
from mvssl.frontends import Waveform
from mvssl.pretext import CPC, MaskedModeling


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SampleCNN((4, 4, 6), embed_dim=5, sample_rate=8_000).eval()


def test_it_is_laid_out_as_clmr_s():
    encoder = SampleCNN()
    names = {name.rsplit(".", 1)[0] for name in encoder.state_dict()}
    assert names == {f"sequential.{layer}.{part}" for layer in range(11) for part in (0, 1)}
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 2_368_512
    assert encoder.min_frames == 59_049
    assert encoder.seconds == pytest.approx(2.678, abs=1e-3)
    assert round(encoder.seconds * encoder.sample_rate) == 59_049
    assert isinstance(encoder.frontend, Waveform)


@torch.no_grad()
def test_it_equals_its_definition(encoder):
    audio = torch.randn(2, 27 * 4 + 5)
    x = audio[:, None]
    for place, (convolution, norm, *_) in enumerate(encoder.sequential):
        x = F.conv1d(x, convolution.weight, convolution.bias, stride=1 if place else 3, padding=min(place, 1))
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
        if place in (1, 2):
            x = F.max_pool1d(x, 3)
    assert x.shape == (2, 5, 4)
    torch.testing.assert_close(encoder(audio), x.mean(2))
    torch.testing.assert_close(encoder.frames(audio), x.transpose(1, 2))


@torch.no_grad()
def test_hidden_states_are_those_of_each_layer(encoder):
    states = encoder.hidden_states(torch.randn(2, 81))
    assert [tuple(state.shape) for state in states] == [(2, 27, 4), (2, 9, 4), (2, 3, 6), (2, 3, 5)]


def test_what_is_no_audio_or_too_short_is_refused(encoder):
    assert encoder(torch.randn(2, 27)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"at least 27 samples, got shape \(2, 26\)"):
        encoder(torch.randn(2, 26))
    with pytest.raises(ValueError, match=r"takes audio .* got shape \(2, 64, 30\)"):
        encoder(torch.randn(2, 64, 30))


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"channels=\[4, 0\], embed_dim=512, sample_rate=22050 must be all"):
        SampleCNN((4, 0))


def test_pretexts_that_need_no_log_mel_take_it(encoder):
    out = CPC(encoder.train(), segments=3, steps=1, context_dim=4)([torch.randn(4, 60)])
    out.loss.backward()
    assert encoder.sequential[0][0].weight.grad.abs().sum() > 0
    with pytest.raises(TypeError, match="SampleCNN lacks normalise, feature_map, pool"):
        MaskedModeling(encoder)
