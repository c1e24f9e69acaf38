"""Where in a track the crop of each view comes from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crops:
    """Crops of one length, drawn independently or a bounded gap apart.

    Without gaps, every crop is drawn uniformly and crops may overlap. With ``min_gap`` or ``max_gap``
    neighbouring crops lie that far apart, end to start, and which view gets which crop is random. With
    ``repeats``, so many views in a row are one and the same crop: four views and two repeats are a, a, b, b.

    Attributes:
        length: Length of a crop in seconds.
        n_views: Number of crops, repeated ones included.
        min_gap: Least gap between neighbouring crops in seconds.
        max_gap: Greatest gap in seconds; ``None`` with a ``min_gap`` means as far as the track allows.
        repeats: Views per crop; ``n_views`` is a multiple of it.

    Raises:
        ValueError: If a number is out of range.
    """

    length: float = 3.0
    n_views: int = 2
    min_gap: float | None = None
    max_gap: float | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.length <= 0 or self.n_views < 1:
            raise ValueError(
                f"length={self.length}, n_views={self.n_views}: need a length above 0 and at least one view"
            )
        if self.repeats < 1 or self.n_views % self.repeats:
            raise ValueError(f"n_views={self.n_views} must be a multiple of repeats={self.repeats}")
        if self._gapped and not 0 <= self._min_gap <= self._max_gap:
            raise ValueError(
                f"need 0 ≤ min_gap ≤ max_gap, got min_gap={self.min_gap}, max_gap={self.max_gap}"
            )

    @property
    def seconds(self) -> tuple[float, ...]:
        """Length of each view's crop in seconds."""
        return (self.length,) * self.n_views

    def longer(self, factor: float) -> "Crops":
        """The same with crops so many times as long."""
        return replace(self, length=self.length * factor)

    @property
    def min_seconds(self) -> float:
        """Duration of the shortest track that can be cropped, in seconds."""
        if not self._gapped:
            return self.length
        return self._places * self.length + (self._places - 1) * self._min_gap

    def starts(self, duration: float, rng: np.random.Generator) -> tuple[float, ...]:
        """Draws where each crop of a track of ``duration`` seconds begins, in seconds."""
        return tuple(np.repeat(self._draw(duration, rng), self.repeats).tolist())

    def _draw(self, duration: float, rng: np.random.Generator) -> NDArray[np.float64]:
        if not self._gapped:
            return rng.random(self._places) * max(0.0, duration - self.length)
        slack = max(0.0, duration - self.min_seconds)
        extras = []
        for _ in range(self._places - 1):
            extras.append(rng.random() * min(slack, self._max_gap - self._min_gap))
            slack -= extras[-1]
        first = rng.random() * slack
        # Permuted, since gaps that are drawn first tend to be larger.
        steps = self.length + self._min_gap + rng.permutation(extras)
        starts = first + np.r_[0.0, steps.cumsum()]
        return rng.permutation(starts)

    @property
    def _places(self) -> int:
        return self.n_views // self.repeats

    @property
    def _gapped(self) -> bool:
        return self.min_gap is not None or self.max_gap is not None

    @property
    def _min_gap(self) -> float:
        return 0.0 if self.min_gap is None else self.min_gap

    @property
    def _max_gap(self) -> float:
        return float("inf") if self.max_gap is None else self.max_gap
