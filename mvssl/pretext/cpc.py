"""CPC."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import cpc
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext


@register_pretext("cpc", paper="arXiv:1807.03748")
class CPC(Pretext):
    """Tells the next segments of a view from others, by what has been heard so far (InfoNCE).

    A view is cut into consecutive segments; the whole encoder embeds each, a GRU sums up the embeddings so
    far, and a linear layer per step predicts those to come. A log-mel is cut with as many frames left out as
    keep any two segments from sharing a sample. A segment shorter than the encoder's ``min_frames`` is
    mirrored until it is long enough. Each view is a task of its own, so one is enough. The embeddings in the
    output are means over the segments of a view, the projections its last context.

    Which negatives, decides what is learned (for music, arXiv:2207.04471): other tracks ask for what a track
    keeps, other places of the track for what changes within it.

    Args:
        encoder: Encoder to train.
        segments: Segments of a view; the paper has 128 of 10 ms, and here a segment passes a whole encoder.
        steps: How many segments ahead are predicted, one layer each; the paper uses 12.
        context_dim: Size of the GRU's state; 256 is the paper's.
        negatives: ``"batch"``: the same segment of the other tracks; ``"track"``: the other segments of the
            same view; ``"both"``.

    Raises:
        ValueError: If a number is out of range, or the name unknown; in ``forward``, if a view is too short
            for the segments.
    """

    learning_rate = 1e-3
    min_views = 1
    paper_views = "one window of 20,480 samples of speech, without augmentation"

    def __init__(
        self,
        encoder: nn.Module,
        segments: int = 4,
        steps: int = 2,
        context_dim: int = 256,
        negatives: Literal["batch", "track", "both"] = "batch",
    ) -> None:
        super().__init__(encoder)
        if not 1 <= steps < segments:
            raise ValueError(f"steps={steps} must lie between 1 and segments - 1 = {segments - 1}")
        if context_dim < 1:
            raise ValueError(f"context_dim={context_dim}: sizes must be all positive")
        if negatives not in ("batch", "track", "both"):
            raise ValueError(f"negatives={negatives!r}: use 'batch', 'track' or 'both'")
        self.segments, self.negatives = segments, negatives
        self.context = nn.GRU(self.embed_dim, context_dim, batch_first=True)
        self.predictors = nn.ModuleList(
            nn.Linear(context_dim, self.embed_dim, bias=False) for _ in range(steps)
        )

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        segments = forward_views(self._embed_segments, views, least=1)
        contexts = forward_views(self._contexts, segments, least=1)
        losses = []
        for embedding, context in zip(segments, contexts, strict=True):
            predictions = [
                predictor(context[:, : -1 - step]) for step, predictor in enumerate(self.predictors)
            ]
            *predictions, everyones = gather([*predictions, embedding])
            losses.append(cpc(predictions, everyones, self.negatives))
        embeddings = [embedding.mean(1) for embedding in segments]
        projections = [context[:, -1] for context in contexts]
        return PretextOutput(torch.stack(losses).mean(), {}, embeddings, projections)

    def _embed_segments(self, view: Tensor) -> Tensor:
        """(batch, samples) or (batch, bins, frames) → (batch, segments, embed_dim)."""
        encoder: Any = self.encoder
        gap = 0
        if hasattr(encoder, "frontend"):
            view = encoder.frontend(view) if view.ndim == 2 else view
            gap = encoder.frontend.overlap
        cut = cut_segments(view, self.segments, gap)
        cut = mirrored(cut, getattr(encoder, "min_frames", 1))
        embeddings: Tensor = encoder(cut.flatten(0, 1))
        return embeddings.unflatten(0, (len(view), self.segments))

    def _contexts(self, embeddings: Tensor) -> Tensor:
        """State of the GRU after each segment, in at least fp32: autocast does not know every GRU."""
        with torch.autocast(embeddings.device.type, enabled=False):
            contexts: Tensor = self.context(embeddings.to(next(self.context.parameters()).dtype))[0]
        return contexts


def cut_segments(view: Tensor, segments: int, gap: int) -> Tensor:
    """Cuts (batch, ..., time) into (batch, segments, ..., length), as long as they can be.

    Args:
        view: What is cut along its last axis; a rest at the end is left out.
        segments: How many.
        gap: Left out between two.

    Raises:
        ValueError: If segments would be shorter than two.
    """
    length = (view.shape[-1] + gap) // segments - gap
    if length < 2:
        raise ValueError(
            f"a view of length {view.shape[-1]} is too short for {segments} segments with {gap} left out "
            f"between them, which take {segments * (2 + gap) - gap}: give longer views or fewer segments"
        )
    return view.unfold(-1, length, length + gap).movedim(-2, 1)


def mirrored(x: Tensor, least: int) -> Tensor:
    """Appends (..., time) to itself, backwards and forwards in turn, until it is ``least`` long."""
    length = x.shape[-1]
    if length >= least:
        return x
    place = torch.arange(least, device=x.device) % (2 * length)
    return x[..., torch.minimum(place, 2 * length - 1 - place)]
