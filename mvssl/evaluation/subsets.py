"""Nested, seeded, label-aware subsets of the train split: the limited-data protocol.

Every repeat is one order of the train tracks, and a fraction is a beginning of that order, so that 1 % of
the labels lies within 5 %, and so on. The order starts with a small set of tracks that shows every tag both
present and absent; all other tracks follow at random.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl import seeding


@dataclass(frozen=True, eq=False)
class Subset:
    """The labelled tracks of one repeat at one fraction.

    Attributes:
        fraction: Share of the train split that was asked for.
        repeat: Number of the draw, from 0.
        indices: Rows of the train split, ascending.
        enlarged: Whether there are more tracks than the fraction asked for, because fewer could not show
            every tag.
    """

    fraction: float
    repeat: int
    indices: NDArray[np.int64]
    enlarged: bool = False


def draw_subsets(
    targets: ArrayLike,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 1.0),
    repeats: int = 4,
    seed: int = 0,
) -> list[Subset]:
    """Draws ``repeats`` subsets of every fraction below 1, and the whole train split once.

    In every subset each tag has at least one positive and one negative track, as far as the train split has
    any. The subsets of one repeat are nested. They depend on nothing but the arguments.

    Args:
        targets: (train tracks, tags) of booleans.
        fractions: Shares of the train split, above 0 and up to 1.
        repeats: Number of draws at each fraction below 1.
        seed: Seed of all draws.

    Returns:
        By ascending fraction, then repeat.

    Raises:
        ValueError: If an argument is out of range or there is no track.
    """
    targets = np.asarray(targets, dtype=bool)
    if targets.ndim != 2 or len(targets) == 0:
        raise ValueError(f"targets must be (tracks, tags) with at least one track, not {targets.shape}")
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise ValueError(f"fractions={tuple(fractions)} must lie above 0 and up to 1")
    subsets = []
    orders = [_order(targets, seeding.generator(seed, repeat)) for repeat in range(repeats)]
    for fraction in sorted(set(fractions)):
        wanted = max(1, math.floor(fraction * len(targets) + 0.5))
        for repeat, (order, needed) in enumerate(orders if fraction < 1 else orders[:1]):
            indices = np.sort(order[: max(wanted, needed)])
            subsets.append(Subset(fraction, repeat, indices, enlarged=needed > wanted))
    return subsets


def save_subsets(path: str | Path, subsets: Sequence[Subset], tracks: Sequence[str]) -> None:
    """Writes subsets as JSON that names tracks, so that others can use the same ones.

    Args:
        path: File to write.
        subsets: What `draw_subsets` gave.
        tracks: Names of the train tracks, in the order of the rows.
    """
    entries = [
        {
            "fraction": subset.fraction,
            "repeat": subset.repeat,
            "enlarged": subset.enlarged,
            "tracks": [str(tracks[index]) for index in subset.indices],
        }
        for subset in subsets
    ]
    Path(path).write_text(json.dumps({"subsets": entries}, indent=1, ensure_ascii=False), encoding="utf-8")


def load_subsets(path: str | Path, tracks: Sequence[str]) -> list[Subset]:
    """Reads what `save_subsets` wrote, for train tracks that may now be in another order.

    Raises:
        ValueError: If the file names a track that is not among ``tracks``.
    """
    row = {str(track): index for index, track in enumerate(tracks)}
    subsets = []
    for entry in json.loads(Path(path).read_text(encoding="utf-8"))["subsets"]:
        unknown = [track for track in entry["tracks"] if track not in row]
        if unknown:
            raise ValueError(
                f"{path}: {len(unknown)} tracks are not in the train split (first: {unknown[0]!r}); "
                "use the corpus and splits that the subsets were drawn from"
            )
        indices = np.sort(np.array([row[track] for track in entry["tracks"]], dtype=np.int64))
        subsets.append(Subset(entry["fraction"], entry["repeat"], indices, entry["enlarged"]))
    return subsets


def _order(targets: NDArray[np.bool_], rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """An order of all tracks, and how many of its first tracks are needed to show every tag."""
    shuffled = rng.permutation(len(targets))
    cover = _cover(targets[shuffled])
    rest = np.setdiff1d(np.arange(len(targets)), cover)
    return shuffled[np.r_[cover, rest]], len(cover)


def _cover(targets: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Few rows that show every tag both present and absent; among equals the first row is taken.

    Greedy: the rarest thing not yet shown comes next, by the track that shows most of what is missing.
    """
    shows = np.concatenate([targets, ~targets], axis=1)
    count = shows.sum(axis=0)
    missing = count > 0
    cover: list[int] = []
    while missing.any():
        rarest = np.flatnonzero(missing)[count[missing].argmin()]
        gain = (shows & missing).sum(axis=1) * shows[:, rarest]
        cover.append(int(gain.argmax()))
        missing &= ~shows[cover[-1]]
    return np.array(cover, dtype=np.int64)
