"""Projection heads and prototypes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.distributed import BatchNorm


def mlp(
    sizes: Sequence[int],
    *,
    last_bias: bool = True,
    batch_norm: bool = True,
    hidden_bias: bool = False,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear–BatchNorm–ReLU blocks and a bare last linear layer.

    Args:
        sizes: Input size, hidden sizes, output size.
        last_bias: Whether the last layer has a bias.
        batch_norm: Whether hidden layers are normalised.
        hidden_bias: Whether hidden layers have a bias; a batch norm makes it pointless.
        activation: Of hidden layers.

    Raises:
        ValueError: If there are fewer than two sizes, or one is not positive.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)}: give at least an input and an output size, all positive")
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes[:-1]):
        norm = [BatchNorm(size_out)] if batch_norm else []
        layers += [nn.Linear(size_in, size_out, bias=hidden_bias), *norm, activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=last_bias))


class UnitLength(nn.Module):
    """Divides each row by its length, in fp32 whatever the autocast."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.normalize(x if x.dtype == torch.float64 else x.float(), dim=1)


class Prototypes(nn.Module):
    """Scores of projections against learned prototypes: a linear layer without bias, in at least fp32.

    Scores are divided by temperatures of a few hundredths, which half precision does not survive.

    Args:
        dim: Size of projections.
        count: Number of prototypes.
        weight_norm: Use directions of prototypes only, as DINO does; scores of unit vectors are cosines.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, dim: int, count: int, *, weight_norm: bool = False) -> None:
        super().__init__()
        if min(dim, count) < 1:
            raise ValueError(f"dim={dim} and prototypes={count} must be all positive")
        self.weight_norm = weight_norm
        self.weight = nn.Parameter(nn.Linear(dim, count, bias=False).weight.detach().clone())

    def forward(self, projections: Tensor) -> Tensor:
        with torch.autocast(projections.device.type, enabled=False):
            weight = F.normalize(self.weight, dim=1) if self.weight_norm else self.weight
            return projections.to(weight.dtype) @ weight.T

    @torch.no_grad()
    def to_unit_length(self) -> None:
        """Puts the prototypes back on the unit sphere, as SwAV does after each step."""
        self.weight.copy_(F.normalize(self.weight, dim=1))
