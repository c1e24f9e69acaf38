"""Large batches on small devices: the encoder in chunks, the loss of the whole batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mvssl.pretext.base import Pretext, PretextOutput, forward_views, require_views


def forward_in_chunks(
    pretext: Pretext, views: Sequence[Tensor], chunk: int, *args: Any, **kwargs: Any
) -> PretextOutput:
    """``pretext(views)`` for large batches: the encoder's activations exist for one chunk at a time.

    Gradient caching (GradCache, arXiv:2101.06983, §3): embeddings are made chunk by chunk without a graph;
    the way back through the loss gives their gradients, and then each chunk is encoded once more, with a
    graph, for the gradient of the encoder. The gradient is exact, at the price of a second forward pass.
    Use it like the pretext itself: ``forward_in_chunks(pretext, views, 64).loss.backward()``.

    The second pass of a chunk repeats the first: random numbers and the encoder's buffers are as they were,
    and what it does to them is undone. Batch norms in the encoder take the statistics of a chunk, as in
    batches of that size; heads, teachers and the loss see the whole batch.

    Args:
        pretext: Must need no passes of its own through the encoder, see ``Pretext.shares_pass``.
        views: One tensor per view.
        chunk: Most tracks that are encoded at a time; chunks are about equal.
        *args: What else the pretext takes.
        **kwargs: The same by name.

    Raises:
        TypeError: If the pretext makes passes of its own.
        ValueError: If the size is not positive, or the views are not what the pretext takes.
    """
    require_chunks(pretext, chunk)
    require_views(views, pretext.min_views)
    parts = -(-len(views[0]) // chunk)
    rows = zip(*(view.tensor_split(parts) for view in views), strict=True)
    chunks = [_encode(pretext.encoder, part, pretext.min_views) for part in rows]
    embeddings = [torch.cat(parts) for parts in zip(*chunks, strict=True)]
    return pretext.from_embeddings(embeddings, views, *args, **kwargs)


def require_chunks(pretext: Pretext, chunk: int) -> None:
    """Checks that a pretext can be trained in chunks.

    Raises:
        TypeError: If the pretext makes passes of its own.
        ValueError: If the size is not positive.
    """
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be positive")
    if not pretext.shares_pass:
        raise TypeError(
            f"{type(pretext).__name__} makes passes of its own through the encoder, which chunk={chunk} "
            f"cannot divide: leave chunk out"
        )


def _encode(encoder: nn.Module, views: Sequence[Tensor], least: int) -> tuple[Tensor, ...]:
    def encode(*views: Tensor) -> tuple[Tensor, ...]:
        return tuple(forward_views(encoder, views, least))

    embeddings: tuple[Tensor, ...] = checkpoint(
        encode, *views, use_reentrant=False, context_fn=_replay(list(encoder.buffers()))
    )
    return embeddings


def _replay(
    buffers: list[Tensor],
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """Contexts of the two passes: in the second, buffers are what they are now, and later as before it."""
    first = [buffer.clone() for buffer in buffers]

    @contextmanager
    def second() -> Iterator[None]:
        last = [buffer.clone() for buffer in buffers]
        _assign(buffers, first)
        try:
            yield
        finally:
            _assign(buffers, last)

    return lambda: (nullcontext(), second())


@torch.no_grad()
def _assign(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
