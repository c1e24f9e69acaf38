import copy

import pytest
import torch
from torchaudio.models import wav2vec2_model
from waves import wave_encoder

from mvssl.encoders import WaveTransformer, create_encoder
from mvssl.encoders.wave_transformer import CONVOLUTIONS

OURS = (
    ("feature_extractor.conv_layers.", "feature_extractor."),
    ("encoder.feature_projection.layer_norm.", "projection.0."),
    ("encoder.feature_projection.projection.", "projection.1."),
    ("encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0", "positions.scale"),
    ("encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1", "positions.direction"),
    ("encoder.transformer.pos_conv_embed.conv.bias", "positions.bias"),
    ("encoder.transformer.layer_norm.", "norm.0."),
    ("encoder.transformer.layers.", "layers."),
)
"""What weights are called in torchaudio, and here."""


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return wave_encoder()


@pytest.fixture
def audio():
    return 0.1 * torch.randn(3, 4_000, generator=torch.Generator().manual_seed(0))


def renamed(name, norm_first=False):
    for theirs, mine in OURS:
        name = name.replace(theirs, mine)
    return name.replace("norm.0.", "end.") if norm_first and name.startswith("norm.0.") else name


@pytest.mark.parametrize("norm_first", [False, True])
def test_it_is_torchaudios_for_the_same_weights(audio, norm_first):
    sizes = [(16, 10, 5), (16, 3, 2), (16, 8, 8)]
    theirs = wav2vec2_model(
        extractor_mode="layer_norm" if norm_first else "group_norm", extractor_conv_layer_config=sizes,
        extractor_conv_bias=norm_first, encoder_embed_dim=32, encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=128, encoder_pos_conv_groups=16, encoder_num_layers=3, encoder_num_heads=4,
        encoder_attention_dropout=0.0, encoder_ff_interm_features=128, encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0, encoder_layer_norm_first=norm_first, encoder_layer_drop=0.0, aux_num_out=None,
    ).eval()  # fmt: skip
    ours = WaveTransformer(32, 3, 8, sizes, normalised=False, norm_first=norm_first).eval()
    state = {renamed(name, norm_first): value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    with torch.no_grad():
        expected, _ = theirs.extract_features(audio)
        last, _ = theirs(audio)
        states = ours.hidden_states(audio)
    assert len(states) == 4
    for state, layer in zip(states[1:], [*expected[:-1], last], strict=True):
        torch.testing.assert_close(state, layer, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", ["hubert", "data2vec"])
def test_positions_reach_as_far_as_told(positions):
    torch.manual_seed(0)
    encoder = WaveTransformer(16, 1, 8, ((8, 20, 10), (8, 8, 8)), positions=positions, position_frames=4)
    with torch.no_grad():
        frames = torch.randn(1, 60, 16)
        changed = frames.clone()
        changed[:, 30] += 1
        difference = (encoder.place(changed) - encoder.place(frames))[0].abs().amax(1)
    assert difference.shape == (60,)
    reached = difference.nonzero()[:, 0]
    rounds = 1 if positions == "hubert" else 5
    assert 30 - 2 * rounds <= reached.min() < 30 < reached.max() <= 30 + 2 * rounds


def test_base_sizes_are_the_published_ones():
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in create_encoder(name).parameters()) for name in ("wave_base", "music2vec")
        ]
    assert counts == [94_370_944, 93_157_376]


def test_a_frame_of_the_base_is_25_ms_every_20():
    with torch.device("meta"):
        base = WaveTransformer(depth=1)
    assert (base.stride, base.min_frames) == (320, 400)
    assert base.config["convolutions"] == [list(layer) for layer in CONVOLUTIONS]


def test_level_and_offset_are_normalised_away(encoder, audio):
    torch.testing.assert_close(encoder(5 * audio + 0.1), encoder(audio), atol=1e-3, rtol=1e-2)


def test_the_embedding_is_a_mean_over_time_of_the_last_layer_or_of_all(encoder, audio):
    states = encoder.hidden_states(audio)
    torch.testing.assert_close(encoder(audio), states[-1].mean(1))
    encoder.pooling = "mean"
    torch.testing.assert_close(encoder(audio), sum(state.mean(1) for state in states) / 3)


def test_checkpointing_changes_no_gradient(audio):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = WaveTransformer(16, 2, 8, ((8, 20, 10), (8, 8, 8)), checkpointing=checkpointing)
        encoder(audio).square().sum().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(*gradients)


def test_dropped_layers_leave_as_many_states_and_every_gradient(audio):
    torch.manual_seed(0)
    encoder = WaveTransformer(16, 3, 8, ((8, 20, 10), (8, 8, 8)), layer_drop=0.99999)
    states = encoder.hidden_states(audio)
    assert torch.equal(states[0], states[-1])
    states[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not torch.equal(*[encoder.eval().hidden_states(audio)[n] for n in (0, -1)])


def test_dropout_is_for_training_only(audio):
    encoder = WaveTransformer(16, 2, 8, ((8, 20, 10), (8, 8, 8)), dropout=0.3)
    assert not torch.equal(encoder(audio), encoder(audio))
    assert torch.equal(encoder.eval()(audio), encoder(audio))


def test_positions_tell_the_order_of_frames(encoder):
    torch.manual_seed(0)
    with_five = WaveTransformer(16, 2, 8, ((8, 20, 10), (8, 8, 8)), positions="data2vec")
    frames = torch.randn(1, 12, 16)
    for made in (encoder, with_five):
        assert made.place(frames).shape == frames.shape
        there = made.contextualise(frames)[-1]
        back = made.contextualise(frames.flip(1))[-1].flip(1)
        assert not torch.allclose(there, back, atol=1e-3)


def test_a_copy_in_training_mode_is_independent(encoder, audio):
    other = copy.deepcopy(encoder)
    other(audio).sum().backward()
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth=0"),
        ({"embed_dim": 20, "head_dim": 6}, "heads divide embed_dim"),
        ({"convolutions": ()}, r"convolutions=\[\]"),
        ({"positions": "sines"}, "positions='sines'.*use 'hubert' or 'data2vec'"),
        ({"pooling": "first"}, "pooling='first'"),
        ({"layer_drop": 1.0}, r"layer_drop=1.0 must lie in \[0, 1\)"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WaveTransformer(**{"embed_dim": 16, "depth": 1, "head_dim": 8, **arguments})


def test_what_is_no_audio_is_refused(encoder):
    with pytest.raises(ValueError, match=r"at least 330 samples, got shape \(2, 64, 9\)"):
        encoder(torch.zeros(2, 64, 9))
