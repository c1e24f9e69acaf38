"""Work in threads, in order and not too far ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def ahead(calls: Iterable[Callable[[], _T]], workers: int) -> Iterator[_T]:
    """What calls return, in order; at most ``workers`` + 1 results are in memory or on the way.

    Without workers each call is made when its result is asked for.
    """
    if workers == 0:
        yield from (call() for call in calls)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_T]] = deque()
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def decoders() -> int:
    """Threads that decode at a time: they are enough, as libsndfile works outside of Python's lock."""
    return max(2, min(8, os.cpu_count() or 2))
