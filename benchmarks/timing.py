"""Timing of several ways in one run: they take turns, so that a busy machine slows all of them."""

import time
from collections.abc import Callable, Sequence

import torch

from mvssl.device import default_device

# Seconds before each turn: threads of other libraries stay busy for a while, waiting for more to do.
REST = 0.3


def alternate(
    ways: Sequence[Callable[[], object]],
    rounds: int,
    before: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of each way in each round but the first, which warms up.

    Args:
        ways: What to time, in turns.
        rounds: How many times each is timed.
        before: Called before each, and not timed.
        clock: What times them; ``time.process_time`` for work of one process that others shall not slow.
    """
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 1):
        for way, spent in zip(ways, seconds, strict=True):
            before()
            wait()
            time.sleep(REST)
            start = clock()
            way()
            wait()
            if turn:
                spent.append(clock() - start)
    return seconds


def wait() -> None:
    """Waits until the device has done what it was asked."""
    if default_device().type == "cuda":
        torch.cuda.synchronize()
