"""Nested, seeded, label-aware subsets of the train split: the limited-data protocol.

Every repeat is one order of the train tracks, and a fraction is a beginning of that order, so that 1 % of
the labels lies within 5 %, and so on. The order starts with a small set of tracks that shows every tag both
present and absent; all other tracks follow at random. Subsets of k labels per tag are nested as well.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvssl import seeding


@dataclass(frozen=True, eq=False)
class Subset:
    """The labelled tracks of one repeat at one fraction.

    Attributes:
        fraction: Share of the train split that was asked for; of shots, the share that they came to.
        repeat: Number of the draw, from 0.
        indices: Rows of the train split, ascending.
        enlarged: Whether there are more tracks than the fraction asked for, because fewer could not show
            every tag.
        shots: Tracks with each tag that were asked for, if not a fraction.
    """

    fraction: float
    repeat: int
    indices: NDArray[np.int64]
    enlarged: bool = False
    shots: int | None = None

    @property
    def amount(self) -> float:
        """What was asked for: shots, or else the fraction."""
        return self.fraction if self.shots is None else self.shots


def draw_subsets(
    targets: ArrayLike,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 1.0),
    repeats: int = 4,
    seed: int = 0,
) -> list[Subset]:
    """Draws ``repeats`` subsets of every fraction below 1, and the whole train split once.

    In every subset each tag has at least one positive and one negative track, as far as the train split has
    any; of numbers there are at least two tracks. The subsets of one repeat are nested. They depend on
    nothing but the arguments.

    Args:
        targets: (train tracks, columns) of booleans, or of numbers.
        fractions: Shares of the train split, above 0 and up to 1.
        repeats: Number of draws at each fraction below 1.
        seed: Seed of all draws.

    Returns:
        By ascending fraction, then repeat.

    Raises:
        ValueError: If an argument is out of range or there is no track.
    """
    targets = _checked(targets, repeats)
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


def draw_shots(targets: ArrayLike, shots: Sequence[int], repeats: int = 4, seed: int = 0) -> list[Subset]:
    """Draws ``repeats`` subsets with k tracks of every tag or class, for each k.

    Of classes there are exactly k tracks each. Tracks with several tags count for all of them, so that common
    tags have more than k; a tag with fewer tracks in the train split has all of them. Each tag also is absent
    from some track. The subsets of one repeat are nested.

    Args:
        targets: (train tracks, tags) of booleans.
        shots: Values of k, from 1 on.
        repeats: Number of draws.
        seed: Seed of all draws.

    Returns:
        By ascending k, then repeat.

    Raises:
        ValueError: If an argument is out of range, there is no track, or targets are numbers.
    """
    targets = _checked(targets, repeats)
    if targets.dtype != bool:
        raise ValueError("shots are tracks with each tag or class; use fractions for numbers")
    if not shots or min(shots) < 1:
        raise ValueError(f"shots={tuple(shots)} must be at least 1")
    subsets = []
    for repeat in range(repeats):
        shuffled = seeding.generator(seed, repeat).permutation(len(targets))
        cover: list[int] = []
        for k in sorted(set(shots)):
            cover = _cover(targets[shuffled], k, cover)
            indices = np.sort(shuffled[cover])
            subsets.append(Subset(len(cover) / len(targets), repeat, indices, shots=k))
    return sorted(subsets, key=lambda subset: (subset.amount, subset.repeat))


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
            "shots": subset.shots,
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
        subsets.append(
            Subset(entry["fraction"], entry["repeat"], indices, entry["enlarged"], entry.get("shots"))
        )
    return subsets


def _checked(targets: ArrayLike, repeats: int) -> NDArray[Any]:
    targets = np.asarray(targets)
    if targets.dtype.kind != "f":
        targets = targets.astype(bool)
    if targets.ndim != 2 or len(targets) == 0:
        raise ValueError(f"targets must be (tracks, columns) with at least one track, not {targets.shape}")
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    return targets


def _order(targets: NDArray[Any], rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """An order of all tracks, and how many of its first tracks are needed to show every tag."""
    shuffled = rng.permutation(len(targets))
    if targets.dtype != bool:
        return shuffled, min(2, len(targets))
    cover = _cover(targets[shuffled])
    rest = np.setdiff1d(np.arange(len(targets)), cover)
    return shuffled[np.r_[np.array(cover, np.int64), rest]], len(cover)


def _cover(targets: NDArray[np.bool_], shots: int = 1, begun: Sequence[int] = ()) -> list[int]:
    """Few rows that show every tag ``shots`` times present and once absent, after some that are chosen.

    Greedy: the rarest thing of which there is not enough comes next, by the track that shows most of what is
    missing; among equals the first row is taken.
    """
    shows = np.concatenate([targets, ~targets], axis=1)
    count = shows.sum(axis=0)
    missing = np.minimum(count, np.repeat([shots, 1], targets.shape[1]))
    cover = list(begun)
    missing = missing - shows[cover].sum(axis=0)
    free = np.ones(len(targets), dtype=bool)
    free[cover] = False
    while (missing > 0).any():
        rarest = np.flatnonzero(missing > 0)[count[missing > 0].argmin()]
        gain = (shows & (missing > 0)).sum(axis=1) * (shows[:, rarest] & free)
        cover.append(int(gain.argmax()))
        free[cover[-1]] = False
        missing -= shows[cover[-1]]
    return cover
