from itertools import combinations, groupby
from types import SimpleNamespace

import pytest
import torch

from mvssl.patches import hash_keys
from mvssl.pretext.spans import SpanMasking, draw_spans, mean_masked


def of(width, stride=320):
    """What masking asks of an encoder."""
    return SimpleNamespace(embed_dim=width, sample_rate=16_000, stride=stride)


def naive(key, frames, span, spans):
    """Spans one after the other, frame by frame, until as many are masked as on average."""
    starts = hash_keys(torch.tensor(key), torch.arange(frames - span + 1)).argsort().tolist()
    masked = []
    for start in starts:
        for frame in range(start, start + span):
            if len(masked) < mean_masked(frames, span, spans) and frame not in masked:
                masked.append(frame)
    return sorted(masked)


@pytest.mark.parametrize(("frames", "span", "spans"), [(12, 3, 2), (10, 4, 3), (9, 1, 4)])
def test_the_number_of_masked_frames_is_the_mean_over_all_draws(frames, span, spans):
    draws = list(combinations(range(frames - span + 1), spans))
    sizes = [len({start + n for start in starts for n in range(span)}) for starts in draws]
    assert mean_masked(frames, span, spans) == round(sum(sizes) / len(sizes))


@pytest.mark.parametrize(("share", "expected"), [(0.65, 0.49), (0.8, 0.57)])
def test_overlapping_spans_mask_as_little_of_a_long_clip_as_published(share, expected):
    frames = 749  # of 15 s
    masking = SpanMasking(of(4), share, 10)
    assert mean_masked(frames, 10, masking.spans(frames)) / frames == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("frames", "span", "spans"), [(99, 10, 6), (30, 5, 3), (25, 10, 2), (40, 1, 9)])
def test_masks_are_spans_of_which_the_last_is_cut(frames, span, spans):
    keys = torch.arange(20) * 7 + 3
    places = draw_spans(keys, frames, span, spans)
    assert places.shape == (20, mean_masked(frames, span, spans))
    assert [row.tolist() for row in places] == [naive(key, frames, span, spans) for key in keys.tolist()]
    for row in places.tolist():
        runs = [len(list(run)) for _, run in groupby(enumerate(row), lambda pair: pair[1] - pair[0])]
        assert sum(run < span for run in runs) <= 1


def test_a_mask_depends_on_its_key_alone():
    keys = torch.arange(8)
    places = draw_spans(keys, 50, 5, 4)
    assert torch.equal(draw_spans(keys[5:6], 50, 5, 4), places[5:6])
    assert len({tuple(row.tolist()) for row in places}) == 8


def test_masks_fall_everywhere():
    places = draw_spans(torch.arange(2000), 30, 5, 3)
    shares = torch.bincount(places.flatten(), minlength=30) / 2000
    assert shares[8:22].std() < 0.03  # frames near the ends lie in fewer spans
    assert shares.min() > 0.05


def test_masked_frames_show_the_token_and_others_stay():
    masking = SpanMasking(of(6), 0.65, 4)
    projected = torch.randn(3, 30, 6)
    hidden, spans = masking(projected, torch.arange(3))
    mask = torch.zeros(3, 30, dtype=torch.bool).scatter(1, spans.places, True)
    assert torch.equal(hidden[mask], masking.token.expand(int(mask.sum()), -1))
    assert torch.equal(hidden[~mask], projected[~mask])
    assert torch.equal(spans.of(projected), projected[mask])


def test_views_and_steps_have_masks_of_their_own():
    masking = SpanMasking(of(6), 0.65, 4)
    audio = torch.randn(2, 100)
    first, again = masking.keys([audio, audio]), masking.keys([audio, audio])
    assert len({key.item() for keys in (*first, *again) for key in keys}) == 8
    assert torch.equal(masking.eval().keys([audio])[0], masking.keys([audio])[0])


@pytest.mark.parametrize(("stride", "frames"), [(320, 10), (640, 5), (16_000, 1)])
def test_a_span_takes_as_long_as_published(stride, frames):
    assert SpanMasking(of(4, stride), 0.65).span == frames


def test_what_cannot_be_masked_is_refused():
    with pytest.raises(ValueError, match="views of 11 frames have no room for 2 spans of 10: give longer"):
        draw_spans(torch.arange(2), 11, 10, 2)
    with pytest.raises(ValueError, match=r"mask_prob=0, span=10 must lie in \(0, 1\]"):
        SpanMasking(of(4), 0, 10)
    with pytest.raises(ValueError, match=r"mask_prob=0\.5, span=0 must"):
        SpanMasking(of(4), 0.5, 0)
