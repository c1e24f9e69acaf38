"""What all equations start with: shapes that fit, and enough digits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(projections: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Checks the shapes of the views, and gives them in at least fp32 with autocast off."""
    if len(projections) < 2:
        raise ValueError(f"at least two views are needed, got {len(projections)}")
    shapes = [tuple(z.shape) for z in projections]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"projections must all have one shape (batch, dim), got {shapes}")
    if shapes[0][0] < 2:
        raise ValueError(f"at least two samples per batch are needed, got {shapes[0][0]}")
    with torch.autocast(projections[0].device.type, enabled=False):
        yield [precise(z) for z in projections]


def precise(x: Tensor) -> Tensor:
    """In fp32, but for float64, which stays."""
    return x if x.dtype == torch.float64 else x.float()


def standardise(z: Tensor, eps: float = 1e-5) -> Tensor:
    """Gives each dimension mean 0 and (nearly) variance 1 over the batch, as a batch norm does.

    ``eps`` keeps values and gradients of a constant dimension finite; both become 0.
    """
    centred = z - z.mean(0)
    return centred * (centred.square().mean(0) + eps).rsqrt()
