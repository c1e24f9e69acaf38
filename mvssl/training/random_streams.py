"""The state of every global random stream, as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch


def random_streams(device: torch.device) -> dict[str, Any]:
    """Where the streams of torch, NumPy and Python stand, and of a GPU."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "python": random.getstate(),
    }


def restore_random_streams(state: dict[str, Any], device: torch.device) -> None:
    """Puts the streams where :func:`random_streams` found them."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
