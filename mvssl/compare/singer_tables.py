"""The tables of a comparison of singers: every row by every metric, and what other audio changes."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvssl.compare.comparison import AUDIO, FINE_TUNED, Comparison
from mvssl.compare.document import Block, Cell, Heading, Table
from mvssl.compare.phrases import capital, interval, number, signed, signed_interval
from mvssl.compare.summary import Summary
from mvssl.compare.tables import method_cell
from mvssl.evaluation.finetuning import FINETUNED, FROZEN

HEARD = {"none": "mix", "left": "left channel", "right": "right channel"}
"""Separations that are no networks, as tables write them."""

_MODES = {FROZEN: "frozen", FINETUNED: "fine-tuned"}
_COLUMNS = (
    "upstream", "separation", "silence_removed", "mode", "hidden_state", "metric", "value", "low", "high"
)  # fmt: skip


@dataclass(frozen=True)
class Audio:
    """A kind of audio that all upstreams are judged on.

    Attributes:
        separation: One of :data:`mvssl.data.separation.separators`.
        gated: Whether silence was removed.
    """

    separation: str
    gated: bool

    @property
    def title(self) -> str:
        """As sentences write it."""
        return f"{self.heard}, without silence" if self.gated else self.heard

    @property
    def heard(self) -> str:
        """Whose sound it is."""
        return HEARD.get(self.separation, f"voice by {self.separation}")

    @property
    def cell(self) -> Cell:
        """As tables write it."""
        return Cell(self.heard, below=("without silence",) * self.gated)

    @property
    def slug(self) -> str:
        """As folders are called."""
        return f"{self.separation}{'-gated' if self.gated else ''}"


@dataclass(frozen=True)
class Row:
    """A line of the table: one upstream on one kind of audio, frozen or fine-tuned."""

    upstream: str
    audio: Audio
    mode: str
    layers: str

    @property
    def method(self) -> str:
        """Its name in a comparison."""
        return f"{self.upstream}{AUDIO}{self.audio.slug}{FINE_TUNED if self.mode == FINETUNED else ''}"


def singer_blocks(comparison: Comparison, summary: Summary, rows: Sequence[Row]) -> list[Block]:
    """What stands at the top of the report."""
    effects = _effects(comparison, summary, rows)
    return [Heading("Who sings?"), _table(comparison, summary, rows), *([effects] if effects else [])]


def _table(comparison: Comparison, summary: Summary, rows: Sequence[Row]) -> Table:
    """Every row by every metric that counts right answers."""
    metrics = [comparison.kind.metric(name) for name in ("accuracy", "top3", "f1")]
    lines = []
    for row in rows:
        estimates = [summary.at(row.method, 1.0, metric.name) for metric in metrics]
        cells = [
            Cell(number(found.mean), bold=found.best, mark="≈" * found.tied, below=(interval(found),))
            for found in estimates
        ]
        name = replace(method_cell(comparison, row.method), text=comparison.titles[row.upstream])
        judged = Cell(_MODES[row.mode], below=(row.layers,) if row.layers else ())
        lines.append((name, row.audio.cell, judged, *cells))
    heads = ("upstream", "audio", "judged")
    return Table(
        (*map(Cell, heads), *(Cell(capital(metric.title)) for metric in metrics)),
        tuple(lines),
        caption="Singers of the test tracks, with 95 % test-bootstrap intervals",
        legend="Frozen: an MLP is trained on the hidden state, or the weighted sum, named below; fine-tuned: "
        "the upstream is trained, too. Bold: the highest of a column. ≈: not distinguishable from it.",
    )


def _effects(comparison: Comparison, summary: Summary, rows: Sequence[Row]) -> Table | None:
    """What other audio changes for the same upstream: differences in the leading metric, paired."""
    known, lines = {row.method for row in rows}, []
    for row in rows:
        for other in _simpler(row):
            if other.method in known:
                gain = summary.contests[1.0][row.method, other.method].gain
                sure = gain.above or gain.below
                tone = "up" if gain.above else "down" if gain.below else ""
                change = Cell(signed(gain.value), bold=sure, below=(signed_interval(gain),), tone=tone)
                words = (Cell(_MODES[row.mode]), row.audio.cell, other.audio.cell)
                name = replace(method_cell(comparison, row.method), text=comparison.titles[row.upstream])
                lines.append((name, *words, change))
    if not lines:
        return None
    heads = ("upstream", "judged", "on", "instead of", f"{comparison.kind.lead.title} changes by")
    return Table(
        tuple(map(Cell, heads)),
        tuple(lines),
        caption="What separation and silence removal change, with 95 % paired intervals",
        legend="Bold: the whole interval lies on one side of 0; not corrected for the number of lines.",
    )


def _simpler(row: Row) -> list[Row]:
    """The same on audio with one thing less done to it."""
    audio, found = row.audio, []
    if audio.gated:
        found.append(replace(audio, gated=False))
    if audio.separation != "none":
        found.append(replace(audio, separation="none"))
    return [replace(row, audio=each) for each in found]


def write_singers(path: Path, comparison: Comparison, summary: Summary, rows: Sequence[Row]) -> None:
    """The table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            for metric in comparison.kind.metrics:
                found = summary.at(row.method, 1.0, metric.name)
                told = (row.audio.separation, row.audio.gated, row.mode, row.layers, metric.name)
                values = (f"{value:.4f}" for value in (found.mean, found.low, found.high))
                writer.writerow((comparison.titles[row.upstream], *told, *values))
