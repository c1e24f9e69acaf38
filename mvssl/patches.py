"""Random sets of patches whose rows depend on their own keys alone, drawn on the device of the keys."""

import torch
from torch import Tensor

from mvssl.seeding import ADDEND, FIRST, SECOND


def hash_keys(*columns: Tensor | int) -> Tensor:
    """:func:`mvssl.seeding.hash_keys` on the device of its columns, as the int64 of the same bits."""
    state = torch.zeros((), dtype=torch.int64)
    for column in columns:
        state = torch.as_tensor(column) + state + _signed(ADDEND)
        state = (state ^ _shifted(state, 30)) * _signed(FIRST)
        state = (state ^ _shifted(state, 27)) * _signed(SECOND)
        state = state ^ _shifted(state, 31)
    return state


def _signed(bits: int) -> int:
    return bits - 2**64 if bits >= 2**63 else bits


def _shifted(state: Tensor, by: int) -> Tensor:
    """Bits moved to the right with zeros behind them, where ``>>`` would repeat the sign."""
    return (state >> by) & (2 ** (64 - by) - 1)


def draw_masks(keys: Tensor, places: int, masked: int) -> Tensor:
    """Masks of (batch, places) with exactly ``masked`` true places per row, all sets of them alike likely.

    Args:
        keys: One integer per row, (batch,); equal keys have equal masks.
        places: Length of a row.
        masked: How many places are true.
    """
    order = hash_keys(keys[:, None], torch.arange(places, device=keys.device)).argsort(1)
    return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :masked], True)
