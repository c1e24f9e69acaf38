"""Who is on which side: random splits by group, and the tags that a split leaves usable."""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvssl import seeding
from mvssl.data.columns import Coded
from mvssl.data.listing import SPLITS

_BLOCK = 2**18  # rows
_SHARES = (0.7, 0.1, 0.2)
_FULL_NAMES = {"train": "training", "valid": "validation", "test": "test"}


def random_splits(
    paths: Sequence[str], groups: Sequence[str] | None, seed: int, shares: Sequence[float] = _SHARES
) -> list[str]:
    """Splits tracks about 70/10/20 into train, valid and test, keeping groups together.

    The result depends on which tracks there are and on the seed, not on their order. Groups are
    assigned from the largest to the smallest, each to the split that lacks most; as long as there are
    three groups, no split stays empty.

    Args:
        paths: One per track, all different.
        groups: One name per track; tracks with the empty name, or all without groups, are on their own.
        seed: Decides among groups of the same size.
        shares: Of train, valid and test, if others are wanted; their sum is 1.
    """
    members = defaultdict(list)
    for index, path in enumerate(paths):
        group = groups[index] if groups else ""
        members[(group, "" if group else path)].append(index)
    names = sorted(members)
    units = assign_units(np.array([len(members[name]) for name in names]), seed, shares)
    splits = [""] * len(paths)
    for name, split in zip(names, units.tolist(), strict=True):
        for index in members[name]:
            splits[index] = SPLITS[split]
    return splits


def assign_units(sizes: NDArray[np.int64], seed: int, shares: Sequence[float] = _SHARES) -> NDArray[np.int8]:
    """Assigns groups of tracks to splits, from the largest to the smallest, each to the one that lacks most.

    Args:
        sizes: (groups,) numbers of tracks.
        seed: Decides among groups of the same size.
        shares: Of train, valid and test.

    Returns:
        (groups,) places in ``SPLITS``, of which none stays empty if there are three groups.
    """
    shuffled = seeding.generator(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]  # equal sizes stay shuffled
    lacking = (np.array(shares) * sizes.sum()).tolist()
    empty = set(range(len(SPLITS)))
    units = np.empty(len(sizes), np.int8)
    for assigned, unit in enumerate(order):
        must_fill = len(sizes) - assigned <= len(empty)
        chosen = max(sorted(empty) if must_fill else range(len(SPLITS)), key=lacking.__getitem__)
        empty.discard(chosen)
        lacking[chosen] -= int(sizes[unit])
        units[unit] = chosen
    return units


def warn_about_leaks(
    name: str,
    splits: Sequence[str],
    groups: Sequence[str],
    advice: str = "drop the splits from the manifest to have them made by group",
) -> None:
    """Warns when given splits put a group (say, an artist) on two sides: scores would be too good."""
    sides = defaultdict(set)
    for split, group in zip(splits, groups, strict=True):
        if group:
            sides[group].add(split)
    leaking = sorted(group for group, found in sides.items() if len(found) > 1)
    if leaking:
        examples = ", ".join(f"{group!r} ({' and '.join(sorted(sides[group]))})" for group in leaking[:3])
        warnings.warn(
            f"{name}: {len(leaking)} of {len(sides)} groups are in more than one split, so that test scores "
            f"will be too good: {examples}; {advice}",
            stacklevel=4,
        )


def same_tracks(
    first: Iterable[int],
    second: Iterable[int],
    sample: Callable[[int], bytes],
    same: Callable[[int, int], bool],
) -> list[tuple[int, int]]:
    """Pairs of tracks, one of each side, with the same content.

    Args:
        first: Rows of one side.
        second: Rows of the other.
        sample: What tells a track from most others at little cost; only where it agrees, contents are read.
        same: Whether two tracks have the same content.
    """
    known = defaultdict(list)
    for row in first:
        known[sample(row)].append(row)
    return [(row, other) for other in second for row in known.get(sample(other), ()) if same(row, other)]


def file_sample(path: Path, size: int = 4096) -> bytes:
    """What tells a file from most others at little cost: its length and some bytes of its middle."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(length // 2)
        return length.to_bytes(8, "little") + file.read(size)


def unusable_tags(
    tags: Sequence[str], targets: NDArray[np.bool_], splits: NDArray[np.str_] | Coded
) -> dict[str, str]:
    """Tags that cannot be learned or cannot be tested, with the reason.

    A usable tag has tracks with and tracks without it, both in train and in test. It may be missing
    from the validation split.

    Args:
        tags: Names of the columns of ``targets``.
        targets: (tracks, tags).
        splits: (tracks,).
    """
    with_tag = {split: _sums(targets, splits == split) for split in SPLITS}
    tracks = {split: int((splits == split).sum()) for split in SPLITS}
    reasons = {}
    for column, tag in enumerate(tags):
        counts = {split: int(with_tag[split][column]) for split in SPLITS}
        reason = _why_unusable(counts, tracks)
        if reason:
            reasons[tag] = reason
    return reasons


def _sums(targets: NDArray[np.bool_], rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Sums over rows, of which few are in memory at a time."""
    sums = np.zeros(targets.shape[1], np.int64)
    for first in range(0, len(rows), _BLOCK):
        sums += targets[first : first + _BLOCK][rows[first : first + _BLOCK]].sum(axis=0)
    return sums


def _why_unusable(counts: dict[str, int], tracks: dict[str, int]) -> str:
    present = [split for split in SPLITS if counts[split]]
    if not present:
        return "on no usable track"
    if counts == tracks:
        return "on every track"
    if len(present) == 1 and present != ["train"]:
        return f"only in the {_FULL_NAMES[present[0]]} split"
    for split in ("train", "test"):
        if not counts[split]:
            return f"on no track of the {_FULL_NAMES[split]} split"
        if counts[split] == tracks[split]:
            return f"on every track of the {_FULL_NAMES[split]} split"
    return ""
