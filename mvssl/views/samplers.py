"""Where the crop of each view comes from."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mvssl.registry import Registry

Short = Literal["drop", "pad", "loop"]

samplers: Registry["type[Crops]"] = Registry("sampler")
"""Samplers by name: classes whose first two arguments are ``length`` and ``n_views``."""


def create_sampler(name: str, length: float = 3.0, n_views: int = 2, **options: Any) -> "Crops":
    """Creates a registered sampler.

    Args:
        name: One of ``samplers.names()``.
        length: Length of a crop in seconds.
        n_views: Number of views per track.
        **options: Further arguments of the class; None leaves its own default.

    Raises:
        ValueError: If the sampler takes no such option, or does not take its value.
    """
    given = {option: value for option, value in options.items() if value is not None}
    for option, value in given.items():
        if option not in _options(name):
            able = [other for other in samplers.names() if option in _options(other)]
            raise ValueError(
                f"{option}={value}: sampler {name!r} takes no {option}; {' and '.join(able) or 'none'} would"
            )
    made: Crops = samplers.create(name, length, n_views, **given)
    return made


def _options(name: str) -> set[str]:
    return {field.name for field in fields(samplers.entry(name).target)}


@samplers.register("random")
@dataclass(frozen=True)
class Crops:
    """Crops anywhere in the track, drawn independently; they may overlap.

    The base of all samplers. With ``positions``, the whole choice is made so many times, each for its share
    of the views in turn: four views at two positions are two pairs, as negatives within tracks need them.

    Attributes:
        length: Length of a crop in seconds.
        n_views: Number of views, of all positions.
        positions: How many times crops are chosen; ``n_views`` is a multiple of it.
        short: What becomes of a track that the crops do not fit into: it is left out (``"drop"``), followed
            by silence (``"pad"``) or repeated (``"loop"``) until they do.
        partners: Where the crops behind the first come from: None is the track itself, ``"group"`` other
            tracks of its group, ``"stems"`` its separated sources.

    Raises:
        ValueError: If a number is out of range.
    """

    length: float = 3.0
    n_views: int = 2
    positions: int = 1
    short: Short = "drop"
    partners: ClassVar[Literal["group", "stems"] | None] = None

    def __post_init__(self) -> None:
        if self.length <= 0 or self.n_views < 1:
            raise ValueError(
                f"length={self.length}, n_views={self.n_views}: need a length above 0 and at least one view"
            )
        if self.positions < 1 or self.n_views % self.positions:
            raise ValueError(f"n_views={self.n_views} must be a multiple of positions={self.positions}")
        if self.short not in ("drop", "pad", "loop"):
            raise ValueError(f"short={self.short!r}: use drop, pad or loop")

    @property
    def seconds(self) -> tuple[float, ...]:
        """Length of each view's crop in seconds."""
        return self._lengths * self.positions

    @property
    def sources(self) -> tuple[int, ...]:
        """The file that each view is from: 0 is the track, others are numbers of its partners."""
        files = range(self._each) if self.partners else (0,) * self._each
        return tuple(files) * self.positions

    @property
    def span(self) -> float:
        """Shortest duration that the crops fit into, in seconds."""
        return max(self._lengths)

    @property
    def min_seconds(self) -> float:
        """Duration of the shortest track that is not left out, in seconds."""
        return self.span if self.short == "drop" else 0.0

    def longer(self, factor: float) -> "Crops":
        """The same with crops so many times as long."""
        return replace(self, length=self.length * factor)

    def starts(self, duration: float, rng: np.random.Generator) -> tuple[float, ...]:
        """Draws where each crop begins in a file of ``duration`` seconds, at least the span; in seconds."""
        drawn = [self._draw(duration, rng) for _ in range(self.positions)]
        return tuple(np.concatenate(drawn).tolist())

    def _draw(self, duration: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Where the crops of one position begin."""
        return rng.random(self._each) * np.maximum(0.0, duration - np.array(self._lengths))

    @property
    def _lengths(self) -> tuple[float, ...]:
        """Of the crops of one position."""
        return (self.length,) * self._each

    @property
    def _each(self) -> int:
        """Views per position."""
        return self.n_views // self.positions


@samplers.register("same")
@dataclass(frozen=True)
class Same(Crops):
    """One crop for all views of a position: only the transforms tell them apart."""

    def _draw(self, duration: float, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.repeat(rng.random(1) * max(0.0, duration - self.length), self._each)


@samplers.register("non_overlapping")
@dataclass(frozen=True)
class NonOverlapping(Crops):
    """Crops of one track that do not overlap; which view gets which crop is random."""

    @property
    def span(self) -> float:
        """Shortest duration that the crops and the least gaps between them fit into, in seconds."""
        return self._each * self.length + (self._each - 1) * self._gaps[0]

    @property
    def _gaps(self) -> tuple[float, float]:
        """Least and greatest gap between neighbouring crops, end to start."""
        return 0.0, np.inf

    def _draw(self, duration: float, rng: np.random.Generator) -> NDArray[np.float64]:
        least, greatest = self._gaps
        slack = max(0.0, duration - self.span)
        extras = []
        for _ in range(self._each - 1):
            extras.append(rng.random() * min(slack, greatest - least))
            slack -= extras[-1]
        first = rng.random() * slack
        # Permuted, since gaps that are drawn first tend to be larger.
        steps = self.length + least + rng.permutation(extras)
        return rng.permutation(first + np.r_[0.0, steps.cumsum()])


@samplers.register("gap")
@dataclass(frozen=True)
class Gap(NonOverlapping):
    """Neighbouring crops a bounded gap apart; which view gets which crop is random.

    Attributes:
        min_gap: Least gap between neighbouring crops in seconds, end to start.
        max_gap: Greatest gap in seconds; None is as far as the track allows.
    """

    min_gap: float = 0.0
    max_gap: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self._gaps[0] <= self._gaps[1]:
            raise ValueError(
                f"need 0 ≤ min_gap ≤ max_gap, got min_gap={self.min_gap}, max_gap={self.max_gap}"
            )

    @property
    def _gaps(self) -> tuple[float, float]:
        return self.min_gap, np.inf if self.max_gap is None else self.max_gap


@samplers.register("adjacent", paper="arXiv:2207.04471")
@dataclass(frozen=True)
class Adjacent(Gap):
    """The next crop after a fixed gap, half a second as in the paper; which view comes first is random.

    Attributes:
        min_gap: The gap in seconds.
        max_gap: Greatest gap in seconds, where it is not fixed; None is ``min_gap``.
    """

    min_gap: float = 0.5

    @property
    def _gaps(self) -> tuple[float, float]:
        return self.min_gap, self.min_gap if self.max_gap is None else self.max_gap


@samplers.register("multi_crop", paper="arXiv:2006.09882")
@dataclass(frozen=True)
class MultiCrop(Crops):
    """Two crops, then shorter ones, all drawn independently, as SwAV and DINO take them.

    Attributes:
        global_views: How many crops, from the first, have the full length; for DINO those that its teacher
            sees.
        local_share: Length of the others as a share of it.
    """

    n_views: int = 6
    global_views: int = 2
    local_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.local_share < 1 or not 1 <= self.global_views < self._each:
            raise ValueError(
                f"n_views={self.n_views}, global_views={self.global_views}, local_share={self.local_share}: "
                "multi_crop needs more views than global ones, and a share above 0 and below 1"
            )

    @property
    def _lengths(self) -> tuple[float, ...]:
        local = self._each - self.global_views
        return (self.length,) * self.global_views + (self.length * self.local_share,) * local


@samplers.register("group")
@dataclass(frozen=True)
class Group(Crops):
    """One crop of the track, the others of other tracks of its group (artist, album, playlist).

    All are of different tracks where the group has as many. A track that has no mate in its split takes them
    from itself; how many do is told (:func:`mvssl.data.remarks`).
    """

    partners = "group"


@samplers.register("stem", paper="arXiv:2302.07077")
@dataclass(frozen=True)
class Stem(Crops):
    """One crop of the mix, the others of separated sources of the track, at times of their own.

    For each crop a stem is drawn anew. Where it is silent (below −60 dB of full scale), stem and time are
    drawn again, and after eight such draws the mix stands in; the paper instead gives silent sources a class
    of their own. A track without stems takes its crops from the mix; how many do is told
    (:func:`mvssl.data.remarks`).
    """

    partners = "stems"
