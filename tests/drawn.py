"""Keys and transforms with fixed parameters, for the tests of transforms."""

import numpy as np

from mvssl.seeding import hash_keys

RATE = 16_000


def keys(count, seed=0):
    """One key per example."""
    return hash_keys(seed, np.arange(count))


def always(kind, **ranges):
    """A transform with fixed parameters."""
    return kind(p=1.0, **{name: (value, value) for name, value in ranges.items()})
