"""What depends on the machine: devices, precision, and how memory is handed back."""

import ctypes
import os
import sys
from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether an encoder runs under bf16 autocast; ``"auto"`` says yes where bf16 is native.

    Raises:
        ValueError: If the precision is unknown.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: use 'auto', 'fp32' or 'bf16'")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def autocast_type(precision: TrainingPrecision, device: torch.device) -> torch.dtype | None:
    """What an encoder is trained under: bf16 or fp16 autocast, or none; see :func:`uses_bf16`.

    Raises:
        ValueError: If the precision is unknown, or the device is not made for it.
    """
    if precision == "fp16":
        if device.type != "cuda":
            raise ValueError("precision='fp16' needs a GPU: on a CPU use 'bf16' or 'fp32'")
        return torch.float16
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: use 'auto', 'fp32', 'bf16' or 'fp16'")
    return torch.bfloat16 if uses_bf16(precision, device) else None


def default_workers(device: torch.device) -> int:
    """Processes that read audio: on a CPU-only machine none, since they would only take cores away."""
    return min(8, max(1, (os.cpu_count() or 2) - 1)) if device.type == "cuda" else 0


@cache
def keep_freed_memory() -> None:
    """Makes this process keep freed memory for its next tensors instead of returning it to the system.

    Training on a CPU allocates and frees the same large tensors at every step. By default glibc maps each
    of them anew, and the kernel then has to clear every page: on a virtual machine that can cost several
    times as much as the computation. Nothing happens without glibc.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_ARENA_MAX, 1)  # autograd's threads would otherwise fill, and trim, heaps of their own
