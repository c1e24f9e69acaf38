"""Random numbers that depend on *what* they are for, never on who draws them or when.

A crop, a filter cut-off or a shuffle is keyed by integers such as (seed, epoch, item, view). The same
key gives the same numbers on every machine, whatever the number of workers or the make-up of a batch.
"""

import math

import numpy as np
from numpy.typing import NDArray

# SplitMix64: what is added in each round, and the two multipliers of its finaliser.
ADDEND, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_TURNS = 6  # of row and column of what is shuffled; four are enough for a random look


def generator(*key: int) -> np.random.Generator:
    """A NumPy generator for one key of integers in [0, 2³²).

    Zeros at the end of a key do not count, so all keys of one purpose need the same length.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def hash_keys(*columns: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """Mixes integer columns (scalars broadcast) into one well-spread 64-bit key per row.

    The mixer is SplitMix64's finaliser (Steele et al., 2014, https://doi.org/10.1145/2714064.2660195),
    applied after each column, so that the order of the columns matters.
    """
    state = np.zeros(np.broadcast_shapes(*(np.shape(column) for column in columns)), np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            state = state + np.asarray(column).astype(np.uint64) + np.uint64(ADDEND)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(FIRST)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(SECOND)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(keys: NDArray[np.uint64], stream: int) -> NDArray[np.float64]:
    """One number in [0, 1) per key. Different ``stream`` numbers give independent draws."""
    return (hash_keys(keys, stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(places: NDArray[np.int64], count: int, *key: int) -> NDArray[np.int64]:
    """What stands at some places of a random order of the numbers from 0 to ``count``.

    Nothing is kept of the order: a place costs the same whatever ``count`` is. A place is a cell of a grid
    that is about square. Row and column take turns in shifting the other (a Feistel network), which maps
    cells one to one; what leads to one of the few cells beyond ``count`` is mapped again (Black and Rogaway,
    2002, https://doi.org/10.1007/3-540-45760-7_9, section 5).

    Args:
        places: (places,) from 0 to ``count``.
        count: How many numbers there are.
        key: Integers that decide about the order.
    """
    height = math.isqrt(count - 1) + 1
    sides = np.uint64(height), np.uint64(-(-count // height))
    turns = hash_keys(*key, np.arange(_TURNS))
    values = np.asarray(places).astype(np.uint64)
    beyond = np.ones(len(values), bool)
    while beyond.any():
        cells = list(np.divmod(values[beyond], sides[1]))
        for turn, mixed in enumerate(turns):
            one, other = turn % 2, 1 - turn % 2
            cells[one] = (cells[one] + hash_keys(cells[other] ^ mixed) % sides[one]) % sides[one]
        values[beyond] = cells[0] * sides[1] + cells[1]
        beyond = values >= count
    return values.astype(np.int64)
