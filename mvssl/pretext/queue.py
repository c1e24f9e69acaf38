"""Earlier projections, kept for later batches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Queue(nn.Module):
    """The newest projections of a run, in lanes; the oldest leave first.

    It moves in training mode only, gives nothing before it is full, and is part of the state dict.

    Args:
        size: Projections per lane; with 0 it is never full.
        dim: Size of a projection.
        lanes: Number of lanes.

    Raises:
        ValueError: If the size is negative.
    """

    rows: Tensor

    def __init__(self, size: int, dim: int, lanes: int = 1) -> None:
        super().__init__()
        if size < 0:
            raise ValueError(f"queue_size={size} must not be negative")
        self.register_buffer("rows", torch.zeros(lanes, size, dim))
        self.filled = 0  # at most size; no tensor, because asking one would wait for the device

    def full(self) -> Tensor | None:
        """(lanes, size, dim), the newest first; None before so many have come."""
        size = self.rows.shape[1]
        return self.rows if 0 < size == self.filled else None

    @torch.no_grad()
    def push(self, newest: Sequence[Tensor]) -> None:
        """Puts projections in front.

        Args:
            newest: (batch, dim) for each lane, or for the first few.
        """
        size = self.rows.shape[1]
        if size and self.training:
            joined = torch.stack(list(newest))[:, :size]
            lanes = len(joined)
            self.rows[:lanes] = torch.cat([joined, self.rows[:lanes]], 1)[:, :size]
            self.filled = min(self.filled + joined.shape[1], size)

    def get_extra_state(self) -> Tensor:
        """How many rows are filled, for the state dict."""
        return torch.tensor(self.filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes that up again."""
        self.filled = int(state)
