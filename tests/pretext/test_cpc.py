import copy

import pytest
import torch
from torch import nn

from mvssl.encoders import create_encoder
from mvssl.functional import cpc
from mvssl.pretext import CPC
from mvssl.pretext.cpc import cut_segments, mirrored


@pytest.fixture
def pretext(encoder):
    return CPC(encoder, context_dim=10)


def test_the_loss_predicts_segments_from_a_recurrent_context(pretext, views):
    other = copy.deepcopy(pretext).eval()
    pretext.eval()
    z = torch.stack([other.encoder(mirrored(cut, 7)) for cut in cut_segments(views[0], 4, 1).unbind(1)], 1)
    state, contexts = torch.zeros(1, 12, 10), []
    for segment in z.unbind(1):
        out, state = other.context(segment[:, None], state)
        contexts.append(out[:, 0])
    c = torch.stack(contexts, 1)
    first, second = other.predictors
    output = pretext(views[:1])
    torch.testing.assert_close(output.loss, cpc([first(c[:, :3]), second(c[:, :2])], z))
    torch.testing.assert_close(output.embeddings[0], z.mean(1))
    torch.testing.assert_close(output.projections[0], c[:, -1])


@pytest.mark.parametrize("negatives", ["batch", "track", "both"])
def test_negatives_are_those_asked_for(encoder, views, negatives):
    pretext = CPC(encoder, negatives=negatives).eval()
    output = pretext(views)
    pretext.negatives = "batch"
    assert torch.equal(pretext(views).loss, output.loss) == (negatives == "batch")
    output.loss.backward()


def test_views_are_averaged(pretext, views):
    pretext.eval()
    single = torch.stack([pretext([view]).loss for view in views])
    torch.testing.assert_close(pretext(views).loss, single.mean())


def test_no_segment_hears_another(encoder):
    """A change of samples in the middle of one segment's frames reaches no other segment."""
    pretext, hop = CPC(encoder).eval(), 320
    audio = 0.1 * torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0))
    before = pretext._embed_segments(audio)
    length = (26 + 1) // 4 - 1
    for segment in range(4):
        frames = range(segment * (length + 1), segment * (length + 1) + length)
        changed = audio.clone()
        # Every sample that a frame of the segment hears.
        changed[:, max(0, frames[0] * hop - 256) : frames[-1] * hop + 256] *= -torch.rand(1) - 0.5
        moved = (pretext._embed_segments(changed) - before).abs().amax((0, 2)) > 1e-5
        assert moved.tolist() == [place == segment for place in range(4)]


def test_contexts_know_nothing_of_what_comes(pretext):
    z = torch.randn(3, 4, 16)
    later = z.clone()
    later[:, 2:] += 1
    same = (pretext._contexts(z) == pretext._contexts(later)).all(2).all(0)
    assert same.tolist() == [True, True, False, False]


def test_segments_are_as_long_as_they_can_be_with_gaps_between_them():
    view = torch.arange(23).repeat(2, 3, 1)
    segments = cut_segments(view, segments=3, gap=1)
    assert segments.shape == (2, 3, 3, 7)
    assert segments[1, :, 2].tolist() == [list(range(start, start + 7)) for start in (0, 8, 16)]
    assert cut_segments(view, 3, 0).shape[-1] == 7
    assert cut_segments(view[:, 0], 5, 0)[0].tolist() == torch.arange(20).unflatten(0, (5, 4)).tolist()


def test_short_segments_are_mirrored():
    x = torch.tensor([[1, 2, 3]])
    assert mirrored(x, 8).tolist() == [[1, 2, 3, 3, 2, 1, 1, 2]]
    assert mirrored(x, 3) is x


def test_views_that_are_too_short_are_refused(encoder, views):
    with pytest.raises(
        ValueError, match=r"of length 24 is too short for 9 segments with 1 left out .* take 26"
    ):
        CPC(encoder, segments=9)(views)
    assert CPC(encoder, segments=8)(views).loss.isfinite()


def test_audio_is_cut_where_an_encoder_has_no_front_end():
    class Energy(nn.Module):
        embed_dim = 2

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 2)

        def forward(self, audio):
            assert audio.shape == (20, 25)
            return self.linear(audio.square().mean(1, keepdim=True))

    CPC(Energy())([torch.randn(5, 100)]).loss.backward()


def test_a_whole_clip_is_embedded_by_the_default_encoder():
    pretext = CPC(create_encoder("tiny"))
    clip = 0.1 * torch.randn(2, 48_000)
    assert pretext([clip]).embeddings[0].shape == pretext.encoder(clip).shape == (2, 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0 must lie between 1 and segments - 1 = 3"),
        ({"steps": 4}, "steps=4 must lie between 1 and segments - 1 = 3"),
        ({"negatives": "all"}, "negatives='all': use 'batch', 'track' or 'both'"),
        ({"context_dim": 0}, "context_dim=0: sizes must be all positive"),
    ],
)
def test_arguments_are_checked(encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        CPC(encoder, **arguments)
