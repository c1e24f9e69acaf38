"""The figures of a report, as SVG text.

They are drawn with matplotlib's object-oriented interface, so that no global figure state exists, and are
the same byte for byte when drawn again. Colours come from `THEME` alone: a page that knows light and dark
replaces them with `themed`.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from mvssl.compare.comparison import BASELINES, Comparison
from mvssl.compare.summary import MACRO, Summary
from mvssl.compare.words import percent

THEME: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#16181c"),
    "ink": ("#1c1e21", "#e7e9ec"),
    "muted": ("#5d6269", "#a2a8b0"),
    "rule": ("#dfe2e6", "#343940"),
    "random": ("#989da4", "#747b84"),
    "mel_statistics": ("#6f747b", "#9fa6af"),
    "supervised": ("#3a3d42", "#d3d7dd"),
    # Okabe and Ito's palette, which stays distinct for colour-blind readers; darkened or lightened a little
    # so that thin lines and text can be read on either ground.
    "series1": ("#0068b0", "#5ab4f0"),
    "series2": ("#c75000", "#ff9148"),
    "series3": ("#008a66", "#3fd0a6"),
    "series4": ("#b3588f", "#ea9bcb"),
    "series5": ("#b98600", "#f0c14b"),
    "series6": ("#3a92c9", "#8fd3fb"),
}
"""Colour roles: (on a light ground, on a dark one)."""

_SERIES = tuple(role for role in THEME if role.startswith("series"))
_WIDTH = 8.6  # inches
_TERMS = {"loss": "loss", "rankme": "effective rank"}
_MARKERS = "osD^vPX*"
_BASELINE_LINES = {
    "random": (0, (1, 1.6)),
    "mel_statistics": (0, (5, 2.2)),
    "supervised": (0, (7, 1.8, 1.2, 1.8)),
}


def colour_role(comparison: Comparison, method: str) -> str:
    """The role in `THEME` of a method's colour: the same in every figure and table of a report."""
    if method in BASELINES:
        return method
    return _SERIES[comparison.pretexts.index(method) % len(_SERIES)]


@dataclass(frozen=True)
class _Pen:
    colour: str
    line: str | tuple[int, tuple[float, ...]]
    width: float
    marker: str
    size: float


def _pen(comparison: Comparison, method: str) -> _Pen:
    colour = _light(colour_role(comparison, method))
    if method in BASELINES:
        return _Pen(colour, _BASELINE_LINES[method], 1.6, "o", 3.5)
    return _Pen(colour, "-", 2.0, _MARKERS[comparison.pretexts.index(method) % len(_MARKERS)], 6.5)


def _light(role: str) -> str:
    return THEME[role][0]


def label_efficiency(comparison: Comparison, summary: Summary) -> str:
    """Macro average precision over the labelled fraction, with 95 % test-bootstrap bands."""
    chance = summary.chance[MACRO]
    with _drawing(4.6) as (figure, finish):
        axes = figure.subplots()
        for method in reversed(comparison.methods):
            _learning_curve(axes, comparison, summary, method)
        axes.axhline(chance, color=_light("muted"), linewidth=0.8, linestyle=(0, (1, 3)))
        last = comparison.fractions[-1]
        ends = [
            (summary.at(method, last).mean, comparison.title(method), _pen(comparison, method).colour)
            for method in comparison.methods
        ]
        _fraction_axis(axes, comparison)
        axes.set_ylabel("mean average precision (mAP)")
        _label_ends(axes, [*ends, (chance, "chance", _light("muted"))])
        return finish()


def _learning_curve(axes: Axes, comparison: Comparison, summary: Summary, method: str) -> None:
    pen = _pen(comparison, method)
    values = [summary.at(method, fraction) for fraction in comparison.fractions]
    low, high = [value.low for value in values], [value.high for value in values]
    axes.fill_between(comparison.fractions, low, high, color=pen.colour, alpha=0.1, linewidth=0)
    axes.plot(
        comparison.fractions,
        [value.mean for value in values],
        color=pen.colour,
        linestyle=pen.line,
        linewidth=pen.width,
        marker=pen.marker,
        markersize=pen.size,
        markeredgecolor=_light("paper"),
        markeredgewidth=0.8,
    )


def differences(comparison: Comparison, summary: Summary) -> str:
    """Each pretext minus the best baseline, by label fraction, with 95 % paired intervals."""
    fractions = comparison.fractions
    with _drawing(3.4) as (figure, finish):
        axes = figure.subplots()
        axes.axhline(0, color=_light("ink"), linewidth=0.9)
        for method, offset in _slots(comparison.pretexts, 0.5):
            pen = _pen(comparison, method)
            gains = [gain for fraction in fractions if (gain := summary.at(method, fraction).gain)]
            axes.errorbar(
                np.arange(len(fractions)) + offset,
                [gain.value for gain in gains],
                yerr=_reach([(gain.value, gain.low, gain.high) for gain in gains]),
                fmt=pen.marker,
                color=pen.colour,
                markersize=pen.size + 1,
                markeredgecolor=_light("paper"),
                elinewidth=2,
                label=comparison.title(method),
            )
        baselines = [comparison.title(summary.best(comparison.baselines, f) or "") for f in fractions]
        names = [f"{percent(f)}\n{name}" for f, name in zip(fractions, baselines, strict=True)]
        axes.set_xticks(range(len(fractions)), names)
        axes.set_xlim(-0.5, len(fractions) - 0.5)
        axes.set_xlabel("labelled fraction, and the best baseline there")
        axes.set_ylabel("mAP minus best baseline")
        _legend(figure, axes)
        return finish()


def group_fractions(comparison: Comparison) -> tuple[float, ...]:
    """The two fractions at which groups of tags are shown: about a tenth of the labels, and the most."""
    few = min(comparison.fractions, key=lambda fraction: abs(np.log(fraction / 0.1)))
    return tuple(dict.fromkeys((few, comparison.fractions[-1])))


def tag_groups(comparison: Comparison, summary: Summary) -> str:
    """Average precision per group of tags, at two label fractions."""
    groups = [name for kind, name in summary.chance if kind == "group"]
    fractions = group_fractions(comparison)
    with _drawing(2.4 * len(fractions) + 0.6) as (figure, finish):
        panels = figure.subplots(len(fractions), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, fraction in zip(panels, fractions, strict=True):
            for slot in _slots(comparison.methods, 0.78):
                _bars(axes, comparison, summary, slot, fraction)
            chance = [summary.chance["group", group] for group in groups]
            left = np.arange(len(groups)) - 0.42
            axes.hlines(chance, left, left + 0.84, color=_light("ink"), linewidth=0.9, linestyle=(0, (2, 2)))
            axes.set_title(f"{percent(fraction)} of the labels", loc="left")
            axes.set_ylabel("average precision")
            axes.tick_params(axis="x", length=0)
        panels[0].set_ylim(bottom=0)
        panels[-1].set_xticks(range(len(groups)), groups)
        _legend(figure, panels[0])
        return finish()


def training_curves(comparison: Comparison) -> str:
    """Loss, and effective rank where it was logged, in panels of their own as losses differ in kind."""
    trained = [name for name in comparison.pretexts if any(run[0] == name for run in comparison.curves)]
    terms = [term for term in _TERMS if any(term in curve for curve in comparison.curves.values())]
    columns = min(len(trained), 4)
    bands = -(-len(trained) // columns)
    with _drawing(1.8 * bands * len(terms) + 0.3) as (figure, finish):
        panels = figure.subplots(bands * len(terms), columns, squeeze=False)
        for axes in panels.flat:
            axes.set_visible(False)
        for place, method in enumerate(trained):
            for row, term in enumerate(terms):
                axes = panels[(place // columns) * len(terms) + row, place % columns]
                _curve_panel(axes, comparison, method, term)
                if row == 0:
                    colour = _pen(comparison, method).colour
                    axes.set_title(comparison.title(method), loc="left", color=colour)
                if row == len(terms) - 1:
                    axes.set_xlabel("step")
                if place % columns == 0:
                    axes.set_ylabel(_TERMS[term])
        return finish()


def _curve_panel(axes: Axes, comparison: Comparison, method: str, term: str) -> None:
    colour = _pen(comparison, method).colour
    for (name, _), curve in sorted(comparison.curves.items()):
        if name == method and term in curve:
            steps, values = np.array(curve["step"], dtype=float), np.array(curve[term], dtype=float)
            shown = np.isfinite(values)
            axes.plot(steps[shown], values[shown], color=colour, linewidth=1.1, alpha=0.85)
            axes.set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _bars(
    axes: Axes, comparison: Comparison, summary: Summary, slot: tuple[str, float], fraction: float
) -> None:
    method, offset = slot
    scopes = [scope for scope in summary.chance if scope[0] == "group"]
    values = [summary.at(method, fraction, scope=scope) for scope in scopes]
    axes.bar(
        np.arange(len(scopes)) + offset,
        [value.mean for value in values],
        width=0.78 / len(comparison.methods) * 0.88,
        color=_pen(comparison, method).colour,
        yerr=_reach([(value.mean, value.low, value.high) for value in values]),
        error_kw={"ecolor": _light("ink"), "elinewidth": 0.8, "alpha": 0.55},
        label=comparison.title(method),
    )


def _reach(intervals: Sequence[tuple[float, float, float]]) -> NDArray[np.float64]:
    """(value, low, high) as the two lengths that error bars are drawn with."""
    return np.array([[abs(value - low), abs(high - value)] for value, low, high in intervals]).T


def _slots(methods: tuple[str, ...], width: float) -> list[tuple[str, float]]:
    return list(zip(methods, _offsets(len(methods), width), strict=True))


def _offsets(count: int, width: float) -> list[float]:
    """Centres of ``count`` equal slots across ``width`` around 0."""
    return [width * ((place + 0.5) / count - 0.5) for place in range(count)]


def _fraction_axis(axes: Axes, comparison: Comparison) -> None:
    fractions = comparison.fractions
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(fractions, [f"{percent(f)}\n{comparison.labelled(f)}" for f in fractions])
    axes.set_xlim(fractions[0] / 1.12, fractions[-1] * 1.08)
    axes.set_xlabel("labelled fraction of the training tracks, and their number")


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Writes (height, name, colour) at the right ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = sorted(end for end in ends if np.isfinite(end[0]))
    heights = spread([end[0] for end in ends], (high - low) * 0.052)
    for (_, name, colour), height in zip(ends, heights, strict=True):
        axes.annotate(name, (1.015, height), xycoords=("axes fraction", "data"), color=colour, va="center")
    axes.set_ylim(low, high)


def spread(heights: list[float], gap: float) -> list[float]:
    """Moves sorted heights at least ``gap`` apart, each group of neighbours around its own middle."""
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while len(clusters) > 1 and _placed(clusters[-1], gap)[0] - _placed(clusters[-2], gap)[-1] < gap:
            last = clusters.pop()
            clusters[-1] += last
    return [place for cluster in clusters for place in _placed(cluster, gap)]


def _placed(cluster: list[float], gap: float) -> list[float]:
    middle = sum(cluster) / len(cluster)
    return [middle + offset for offset in _offsets(len(cluster), gap * len(cluster))]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=6, frameon=False, handletextpad=0.4)


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """A figure in the style of the report, and what turns it into SVG text."""
    style: dict[Any, Any] = {
        "font.size": 9.5,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.labelcolor": _light("muted"),
        "axes.edgecolor": _light("muted"),
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "figure.facecolor": _light("paper"),
        "grid.color": _light("rule"),
        "grid.linewidth": 0.7,
        "legend.labelcolor": _light("ink"),
        "text.color": _light("ink"),
        "text.parse_math": False,  # names of tags and methods may hold dollar signs
        "xtick.color": _light("muted"),
        "ytick.color": _light("muted"),
        "svg.fonttype": "none",
        "svg.hashsalt": "mvssl",
    }

    def finish() -> str:
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.06)
        return text.getvalue()

    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's own fonts write the names
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, finish


def themed(svg: str) -> str:
    """An SVG for use inside a page: each colour of `THEME` becomes the CSS variable of its role."""
    roles = {light: role for role, (light, _) in THEME.items()}
    return re.sub(
        r"#[0-9a-f]{6}\b", lambda found: f"var(--{roles[found[0]]})" if found[0] in roles else found[0], svg
    )
