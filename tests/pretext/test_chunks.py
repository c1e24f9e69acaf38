"""Batches whose encoder runs in chunks: the gradient of the whole, the memory of a part."""

import copy

import pytest
import torch
from torch import nn

from mvssl.pretext import (
    BYOL,
    COLA,
    BarlowTwins,
    Hybrid,
    Pretext,
    PretextOutput,
    SimCLR,
    SupCon,
    SwAV,
    VICReg,
    forward_in_chunks,
)


class Encoder(nn.Module):
    """Takes each track for itself, unless it gets layers that do not."""

    embed_dim = 6

    def __init__(self, *layers, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, width), *layers, nn.Tanh(), nn.Linear(width, 6))

    def forward(self, view):
        return self.layers(view)


def encoder_of(*layers, **sizes):
    torch.manual_seed(0)
    return Encoder(*layers, **sizes).double()


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    tracks = torch.randn(11, 20, generator=generator, dtype=torch.float64)
    return [tracks + torch.randn(11, 20, generator=generator, dtype=torch.float64) for _ in range(3)]


PRETEXTS = {
    "simclr": lambda encoder: SimCLR(encoder, queue_size=40),
    "vicreg": lambda encoder: VICReg(encoder, 12, 10),
    "barlow_twins": lambda encoder: BarlowTwins(encoder, 12, 10),
    "cola": COLA,
    "swav": lambda encoder: SwAV(encoder, 12, 10, prototypes=5),
    "byol": lambda encoder: BYOL(encoder, 12, 10, predictor_dim=8),
    "supcon": SupCon,
    "hybrid": lambda encoder: Hybrid(encoder, (SimCLR(encoder), VICReg(encoder, 12, 10))),
}


def gradients(pretext):
    return {name: value.grad for name, value in pretext.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("chunk", [1, 4, 10, 11, 50])
@pytest.mark.parametrize("name", PRETEXTS)
def test_loss_and_gradients_are_those_of_the_whole_batch(name, chunk, views):
    pretext = PRETEXTS[name](encoder_of()).double()
    whole = copy.deepcopy(pretext)
    for _ in range(2):  # the second time with a full queue
        expected, found = whole(views), forward_in_chunks(pretext, views, chunk)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(list(found.embeddings), list(expected.embeddings), rtol=1e-10, atol=1e-10)
    expected.loss.backward()
    found.loss.backward()
    assert any(name.startswith("encoder") for name in gradients(pretext))
    assert len(gradients(pretext)) > len(list(pretext.encoder.parameters()))
    torch.testing.assert_close(gradients(pretext), gradients(whole), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pretext.state_dict(), whole.state_dict(), rtol=1e-10, atol=1e-10)


def in_parts(pretext, views, chunk):
    """What chunks must equal where the encoder is random or sees its batch: all graphs kept."""
    parts = -(-len(views[0]) // chunk)
    embeddings = [
        pretext.encoder(torch.cat(part)).chunk(len(views))
        for part in zip(*(view.tensor_split(parts) for view in views), strict=True)
    ]
    return pretext.from_embeddings([torch.cat(view) for view in zip(*embeddings, strict=True)], views)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Dropout(0.4)],
        lambda: [nn.BatchNorm1d(16)],
        lambda: [nn.BatchNorm1d(16, momentum=None), nn.Dropout(0.4)],
        lambda: [nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16))],
    ],
    ids=["dropout", "batch norm", "both", "spectral norm"],
)
def test_the_second_pass_repeats_the_first(layers, views):
    pretext = SimCLR(encoder_of(*layers())).double()
    other = copy.deepcopy(pretext)
    torch.manual_seed(3)
    expected = in_parts(other, views, 4)
    after_forward = torch.get_rng_state()
    expected.loss.backward()
    torch.manual_seed(3)
    found = forward_in_chunks(pretext, views, 4)
    assert torch.equal(torch.get_rng_state(), after_forward)
    found.loss.backward()
    assert torch.equal(torch.get_rng_state(), after_forward)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(pretext), gradients(other), rtol=1e-10, atol=1e-10)
    # Running statistics have moved once per chunk, not twice.
    torch.testing.assert_close(pretext.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-10)
    counts = [value for key, value in pretext.encoder.state_dict().items() if key.endswith("batches_tracked")]
    assert all(count == 3 for count in counts)


def test_groups_are_handed_on(views):
    pretext = SupCon(encoder_of()).double()
    groups = torch.arange(11) % 3
    expected = pretext(views, groups).loss
    torch.testing.assert_close(forward_in_chunks(pretext, views, 4, groups=groups).loss, expected)
    torch.testing.assert_close(forward_in_chunks(pretext, views, 4, groups).loss, expected)


def test_views_of_different_lengths(encoder):
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(7, 32, frames, generator=generator) for frames in (24, 12)]
    pretext = SimCLR(encoder).eval()
    expected = pretext(views).loss
    torch.testing.assert_close(forward_in_chunks(pretext, views, 3).loss, expected)


def test_without_gradients_nothing_is_kept(views):
    pretext = SimCLR(encoder_of()).double()
    with torch.no_grad():
        output = forward_in_chunks(pretext, views, 4)
    assert not output.loss.requires_grad
    torch.testing.assert_close(output.loss, pretext(views).loss)


def test_autocast_is_repeated_too(encoder):
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(8, 32, 24, generator=generator) for _ in range(2)]
    pretext = SimCLR(encoder).eval()
    found = []
    for compute in (pretext, lambda views: forward_in_chunks(pretext, views, 4)):
        pretext.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = compute(views).loss
        loss.backward()
        found.append(gradients(pretext)["projector.0.weight"].clone())
    torch.testing.assert_close(found[0], found[1], rtol=0.05, atol=1e-3)


def test_activations_exist_for_one_chunk_at_a_time(peak_memory):
    # 64 tracks × 2 views × 4096 × 4 bytes: 2 MiB per layer.
    encoder = encoder_of(*[nn.Tanh()] * 8, width=4096).float()
    pretext, views = SimCLR(encoder), [torch.randn(64, 20) for _ in range(2)]
    pretext(views).loss.backward()  # gradients exist from here on
    whole = peak_memory(lambda: pretext(views).loss.backward())
    chunked = peak_memory(lambda: forward_in_chunks(pretext, views, 8).loss.backward())
    assert whole > 9 * 2**21
    assert chunked < whole / 4


class Alone(Pretext):
    def forward(self, views):
        return PretextOutput(self.encoder(views[0]).sum())


def test_what_cannot_be_done_in_chunks_is_refused(views):
    pretext = SimCLR(encoder_of()).double()
    with pytest.raises(ValueError, match="chunk=0 must be positive"):
        forward_in_chunks(pretext, views, 0)
    with pytest.raises(ValueError, match=r"at least 2 views .*\[\(11, 20\)\]"):
        forward_in_chunks(pretext, views[:1], 4)
    with pytest.raises(ValueError, match=r"same batch size .*\(11, 20\), \(10, 20\)"):
        forward_in_chunks(pretext, [views[0], views[1][1:]], 4)
    with pytest.raises(TypeError, match=r"Alone makes passes of its own .* chunk=4"):
        forward_in_chunks(Alone(encoder_of()), views, 4)
