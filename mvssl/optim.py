"""Optimisers and the learning-rate schedule."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import nn

Optimiser = Literal["adamw", "lars", "sgd"]
MOMENTUM = 0.9  # of LARS and SGD


def adamw(modules: Iterable[nn.Module], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, but neither biases nor the scales of batch norms."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(_groups(parameters, weight_decay), lr=learning_rate, fused=True)


def make_optimiser(
    name: Optimiser,
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    *,
    layers: nn.Module | None = None,
    layer_decay: float | None = None,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """An optimiser of everything in a module that is trained; biases and scales do not decay.

    Args:
        name: ``"adamw"``; ``"lars"`` (https://arxiv.org/abs/1708.03888; what does not decay is not scaled, as
            in SimCLR and BYOL); ``"sgd"``. The latter two with momentum 0.9.
        module: What is trained.
        learning_rate: At the output; groups say in ``"share"`` what part of it is theirs.
        weight_decay: Of matrices and kernels.
        layers: The part whose learning rates fall from layer to layer towards its input.
        layer_decay: Factor from one layer to the one before it; without it there is one learning rate.
        fused: AdamW in one kernel for all; under fp16 that would unscale gradients after they were clipped.
    """
    if layers is None or layer_decay is None:
        groups = _groups([p for p in module.parameters() if p.requires_grad], weight_decay)
    else:
        groups = list(_decayed(module, layers, layer_decay, weight_decay))
    for group in groups:
        group["lr"] = learning_rate * group.get("share", 1.0)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM)
    from lightly.utils.lars import LARS

    optimiser: torch.optim.Optimizer = LARS(groups, lr=learning_rate, momentum=MOMENTUM)
    return optimiser


def _groups(parameters: list[nn.Parameter], weight_decay: float, **more: Any) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay, **more},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **more},
    ]


def _decayed(
    module: nn.Module, layers: nn.Module, decay: float, weight_decay: float
) -> Iterator[dict[str, Any]]:
    """Groups of each layer, then of all else, with its share of the learning rate."""
    stages = layers_of(layers)
    for depth, stage in enumerate(stages):
        trained = [p for p in stage if p.requires_grad]
        share = decay ** (len(stages) - 1 - depth)
        yield from (g for g in _groups(trained, weight_decay, share=share) if g["params"])
    inside = {id(p) for stage in stages for p in stage}
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in inside]
    yield from (g for g in _groups(rest, weight_decay, share=1.0) if g["params"])


def layers_of(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of an encoder, layer by layer from its input to its output.

    A layer is a child with parameters, or, of a list or sequence of modules with children of their own
    (stages, blocks), each of them. What stands in no child, such as positions, belongs to the first.
    """
    layers: list[list[nn.Parameter]] = []
    for child in encoder.children():
        parts = list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        deep = len(parts) > 1 and all(any(True for _ in part.children()) for part in parts)
        found = [list(part.parameters()) for part in (parts if deep else [child])]
        layers += [parameters for parameters in found if parameters]
    own = list(encoder.parameters(recurse=False))
    return [own + layers[0], *layers[1:]] if layers else [own]


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
