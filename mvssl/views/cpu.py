"""Transforms of single crops on the CPU, in the processes that read audio."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from mvssl.seeding import hash_keys

CPUTransform = Callable[[NDArray[np.float32], int], NDArray[np.float32]]


class CPUTransforms:
    """Applies transforms to one crop at a time, the same way whoever calls it and in whatever order.

    What they draw from the global generators of ``random`` and ``numpy.random`` depends on the key of the
    example and the number of the view; both generators are left as they were. A transform with a generator
    of its own (or torch's) is not seeded.

    Args:
        members: Functions ``(samples, sample_rate) -> samples`` of float32 arrays, applied in order: any
            transform or Compose of audiomentations is one. They keep the number of samples.
        augmented: Indices of the views that are transformed; all unless told.
    """

    def __init__(self, members: Sequence[CPUTransform], augmented: frozenset[int] | None = None) -> None:
        self.members, self.augmented = tuple(members), augmented

    def __call__(
        self, crops: NDArray[np.float32], sample_rate: int, view: int, keys: NDArray[np.uint64]
    ) -> None:
        """Transforms crops (batch, samples) of one view in place, each by its key.

        Raises:
            ValueError: If a member changes the number of samples.
        """
        if self.augmented is not None and view not in self.augmented:
            return
        with _generators_kept():
            for crop, key in zip(crops, hash_keys(keys, view).tolist(), strict=True):
                random.seed(key)
                np.random.seed([key & 0xFFFFFFFF, key >> 32])  # noqa: NPY002
                crop[:] = self._transformed(crop, sample_rate)

    def _transformed(self, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        for member in self.members:
            shape = audio.shape
            audio = member(audio, sample_rate)
            if audio.shape != shape:
                raise ValueError(
                    f"{member!r} made {audio.shape} of {shape} samples: members must keep the number "
                    "(audiomentations: leave_length_unchanged=True)"
                )
        return audio


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Gives the global generators their present states back in the end."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
