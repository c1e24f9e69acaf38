"""Random spans of masked frames, drawn from what they mask and when; see :mod:`mvssl.pretext.masks`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.patches import hash_keys
from mvssl.pretext.base import require_views
from mvssl.pretext.masks import content

_LEAST_SPANS = 2
_SECONDS = 0.2  # of a span


class WaveEncoder(Protocol):
    """An encoder of raw audio in its parts, as a :class:`~mvssl.encoders.WaveTransformer` is one.

    Its embedding is ``pool(contextualise(project(features(audio))))``.

    Attributes:
        embed_dim: Width of projected frames, and size of the embedding.
        sample_rate: Of the audio, in Hz.
        stride: Samples from a frame to the next.
        norm: What stands before the first layer.
        layers: (batch, frames, embed_dim) → the same, and what the feed-forward part of the layer adds.
        pool: Hidden states → embedding (batch, embed_dim).
    """

    embed_dim: int
    sample_rate: int
    stride: int
    norm: nn.Module
    layers: nn.ModuleList
    pool: Callable[[Sequence[Tensor]], Tensor]

    def features(self, view: Tensor) -> Tensor:
        """Audio (batch, samples) → (batch, frames, channels)."""

    def project(self, features: Tensor) -> Tensor:
        """Features → frames that may be masked, (batch, frames, embed_dim)."""

    def place(self, projected: Tensor) -> Tensor:
        """Adds positions to projected frames."""

    def contextualise(self, projected: Tensor) -> tuple[Tensor, ...]:
        """Projected frames → hidden states, (batch, frames, embed_dim) each."""


WAVE = ("features", "project", "place", "contextualise", "layers", "stride")
"""What a :class:`WaveEncoder` has besides what others have, for ``Pretext.requires``."""


@dataclass(frozen=True)
class Spans:
    """Which frames are masked: the same number in each clip.

    Attributes:
        places: Their indices in ascending order, (batch, masked) int64.
        others: Those of the frames that are not masked.
    """

    places: Tensor
    others: Tensor

    def of(self, frames: Tensor) -> Tensor:
        """What stands in masked places of (batch, frames, dim), one below the other."""
        return _at(self.places, frames)

    def beside(self, frames: Tensor) -> Tensor:
        """What stands in all other places, likewise."""
        return _at(self.others, frames)


def _at(places: Tensor, frames: Tensor) -> Tensor:
    return frames.gather(1, places.unsqueeze(2).expand(-1, -1, frames.shape[2])).flatten(0, 1)


class SpanMasking(nn.Module):
    """Puts a learned embedding in the place of spans of frames, anew in each step.

    As in wav2vec 2.0 (https://arxiv.org/abs/2006.11477, appendix A) ``mask_prob`` · frames / ``span`` spans
    begin at random frames and may overlap: 0.65 and 10 mask about 49 % of a long clip. Published code cuts
    all clips of a batch back to the one with the fewest masked frames. Here a clip gets spans until as many
    frames are masked as on average over all draws; what goes beyond is cut off the last span. So all clips
    have the same number, and none knows of the others.

    The step counter moves in each forward pass in training mode.

    Args:
        encoder: Whose frames are masked.
        mask_prob: Frames in spans, counted as if spans never overlapped, as a share of all frames.
        span: Frames per span; by default 0.2 s of them.

    Raises:
        ValueError: If an argument is out of range.
    """

    step: Tensor

    def __init__(self, encoder: WaveEncoder, mask_prob: float, span: int | None = None) -> None:
        super().__init__()
        if span is None:
            span = max(1, round(_SECONDS * encoder.sample_rate / encoder.stride))
        if not 0 < mask_prob <= 1 or span < 1:
            raise ValueError(f"mask_prob={mask_prob}, span={span} must lie in (0, 1] and be positive")
        self.mask_prob, self.span = mask_prob, span
        self.token = nn.Parameter(torch.empty(encoder.embed_dim).uniform_())
        self.register_buffer("step", torch.tensor(0))

    def keys(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The keys of the masks of each view's clips, (batch,); moves the step counter.

        Raises:
            ValueError: If there is no view or but one clip, batch sizes differ, or a view is no audio.
        """
        require_views(views, least=1)
        if len(views[0]) < 2:
            raise ValueError(f"at least two samples per batch are needed, got {len(views[0])}")
        keys = [hash_keys(content(view), self.step, place) for place, view in enumerate(views)]
        if self.training:
            self.step += 1
        return keys

    def forward(self, projected: Tensor, keys: Tensor) -> tuple[Tensor, Spans]:
        """Masks projected frames (batch, frames, width).

        Raises:
            ValueError: If a clip is too short for spans.
        """
        frames = projected.shape[1]
        places = draw_spans(keys, frames, self.span, self.spans(frames))
        hidden = torch.zeros(projected.shape[:2], dtype=torch.bool, device=projected.device)
        hidden = hidden.scatter(1, places, True)
        others = hidden.byte().argsort(dim=1, stable=True)[:, : frames - places.shape[1]]
        masked = torch.where(hidden.unsqueeze(2), self.token.to(projected.dtype), projected)
        return masked, Spans(places, others)

    def spans(self, frames: int) -> int:
        """How many spans begin in a clip of so many frames; at least two, as published."""
        return max(_LEAST_SPANS, round(self.mask_prob * frames / self.span))


def draw_spans(keys: Tensor, frames: int, span: int, spans: int) -> Tensor:
    """Indices of masked frames in ascending order, (batch, masked), see :class:`SpanMasking`.

    Args:
        keys: One integer per clip, (batch,); equal keys have equal spans.
        frames: Of a clip.
        span: Frames per span.
        spans: How many there are where none are added and none cut off.

    Raises:
        ValueError: If a clip is too short for spans.
    """
    starts = frames - span + 1
    if starts <= spans:
        raise ValueError(
            f"views of {frames} frames have no room for {spans} spans of {span}: give longer views or a "
            "shorter span"
        )
    order = hash_keys(keys[:, None], torch.arange(starts, device=keys.device)).argsort(1)
    turn = order.argsort(1).float()  # when the span that begins at a frame is drawn
    padded = F.pad(-turn, (span - 1, span - 1), value=-float(starts))
    covered = -F.max_pool1d(padded, span, stride=1)  # when the first span comes that a frame lies in
    ranked = covered.long() * frames + torch.arange(frames, device=keys.device)
    return ranked.argsort(1)[:, : mean_masked(frames, span, spans)].sort(1).values


def together(views: Sequence[Tensor], keys: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Views with their keys; those of one shape in one batch, one below the other."""
    if len({view.shape for view in views}) > 1:
        return list(zip(views, keys, strict=True))
    return [(torch.cat(list(views)), torch.cat(list(keys)))]


def parted(made: Sequence[Tensor], rows: int) -> list[Tensor]:
    """What was made of :func:`together`, (rows or more, ...), view by view: (rows, size)."""
    return [part.flatten(1) for each in made for part in each.split(rows)]


@lru_cache
def mean_masked(frames: int, span: int, spans: int) -> int:
    """How many frames lie in at least one of some spans that begin at different frames, on average.

    Args:
        frames: Of a clip.
        span: Frames per span.
        spans: How many there are.
    """
    starts = frames - span + 1
    missed = 0.0
    for frame in range(frames):
        reaching = min(frame, starts - 1) - max(0, frame - span + 1) + 1
        missed += math.comb(starts - reaching, spans) / math.comb(starts, spans)
    return min(max(round(frames - missed), 1), frames - 1)
