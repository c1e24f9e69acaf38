import pytest
import torch
from torch import nn

from mvssl.encoders import create_encoder
from mvssl.pretext import Pretext, PretextOutput
from mvssl.pretext.dense import DENSE, DenseEncoder, PatchDecoder


def test_a_resnet_is_its_parts(encoder):
    encoder.eval()
    audio = 0.1 * torch.randn(3, 8_000, generator=torch.Generator().manual_seed(0))
    image = encoder.normalise(encoder.frontend(audio))
    assert torch.equal(encoder.pool(encoder.feature_map(image)), encoder(audio))


def test_the_contract_names_what_the_protocol_has():
    members = {name for name in vars(DenseEncoder) if not name.startswith("_")}
    assert members | set(DenseEncoder.__annotations__) == {*DENSE, "embed_dim"}


@pytest.mark.parametrize("frames", [31, 94, 100])
def test_maps_have_the_channels_and_strides_they_say(frames):
    encoder = create_encoder("tiny").eval()
    assert encoder.map_strides == ((4, 4), (8, 8), (16, 16), (32, 32))
    image = torch.randn(1, 64, frames)
    for stage, (channels, (stride, _)) in enumerate(
        zip(encoder.map_channels, encoder.map_strides, strict=True)
    ):
        expected = (1, channels, 64 // stride, -(-frames // 2) // (stride // 2))
        assert encoder.feature_map(image, stage).shape == expected
    assert torch.equal(encoder.feature_map(image, 3), encoder.feature_map(image))
    with pytest.raises(ValueError, match="too small for 4 stages"):
        encoder(torch.randn(1, 64, encoder.min_frames - 1))


def test_stages_behind_the_one_asked_for_are_not_computed(encoder):
    passed = []
    encoder.stages[1].register_forward_hook(lambda *_: passed.append(1))
    encoder.feature_map(torch.randn(2, 32, 24), 0)
    assert not passed


class Dense(Pretext):
    """Needs a map."""

    requires = DENSE

    def forward(self, views):
        return PretextOutput(torch.zeros(()))


def test_what_an_encoder_lacks_is_said(encoder):
    assert Dense(encoder).encoder is encoder
    plain = nn.Linear(4, 4)
    plain.embed_dim, plain.frontend = 4, nn.Identity()
    with pytest.raises(
        TypeError,
        match=r"Dense needs an encoder with frontend, normalise, feature_map, .*: "
        r"Linear lacks normalise, feature_map, pool, map_channels, map_strides$",
    ):
        Dense(plain)


@pytest.mark.parametrize("patch", [(2, 4), (16, 8), (8, 8)])
@pytest.mark.parametrize("grid", [(4, 3), (2, 3), (5, 11)])
def test_every_patch_gets_a_prediction(encoder, patch, grid):
    decoder = PatchDecoder(encoder, patch, hidden_dim=12, size=7)
    features = torch.randn(2, 64, 4, 3, requires_grad=True)
    embeddings = torch.randn(2, 16, requires_grad=True)
    predictions = decoder(features, embeddings, grid)
    assert predictions.shape == (2, grid[0] * grid[1], 7)
    predictions.square().sum().backward()
    assert features.grad.abs().sum() > 0
    assert embeddings.grad.abs().sum() > 0


def test_smaller_cells_lie_within_their_cell(encoder):
    """With a stride of 8 and patches of 4 × 2, a cell is two rows of four columns."""
    decoder = PatchDecoder(encoder, (4, 2), hidden_dim=3, size=3)
    decoder.mix = nn.Identity()
    features, embeddings = torch.randn(2, 64, 2, 2), torch.randn(2, 16)
    found = decoder(features, embeddings, (4, 8)).unflatten(1, (4, 8))
    weight = decoder.expand.weight.flatten(1).unflatten(0, (3, 2, 4))
    bias = decoder.expand.bias.unflatten(0, (3, 2, 4))
    for row in range(4):
        for column in range(8):
            cell = torch.cat([features[:, :, row // 2, column // 4], embeddings], 1)
            place = (slice(None), row % 2, column % 4)
            torch.testing.assert_close(found[:, row, column], cell @ weight[place].T + bias[place])


def test_the_decoder_must_have_a_size(encoder):
    with pytest.raises(ValueError, match="hidden_dim=0: sizes must be all positive"):
        PatchDecoder(encoder, (16, 8), 0, 4)
