"""Optimiser and learning-rate schedule."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def adamw(modules: Iterable[nn.Module], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, but neither biases nor the scales of batch norms."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def warmup_cosine(progress: float, warmup: float = 0.05) -> float:
    """Factor on the learning rate: linear from 0 to 1 over ``warmup``, then half a cosine down to 0.

    Args:
        progress: Share of the run that is over, in [0, 1].
        warmup: Share of the run that warms up.
    """
    if progress < warmup:
        return progress / warmup
    done = (min(progress, 1.0) - warmup) / max(1 - warmup, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * done))
