"""Projection heads."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int], *, last_bias: bool = True) -> nn.Sequential:
    """Linear–BatchNorm–ReLU blocks and a bare last linear layer.

    Args:
        sizes: Input size, hidden sizes, output size.
        last_bias: Whether the last layer has a bias.

    Raises:
        ValueError: If there are fewer than two sizes.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)}: give at least an input and an output size, all positive")
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(size_in, size_out, bias=False), nn.BatchNorm1d(size_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=last_bias))
