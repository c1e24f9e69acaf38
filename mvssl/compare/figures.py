"""Curves and bars: label efficiency, differences, groups of tags, training and robustness."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from mvssl.compare.comparison import Comparison
from mvssl.compare.drawing import (
    FEW_METHODS,
    Drawing,
    Row,
    drawing,
    label_ends,
    legend,
    light,
    pen,
    reach,
    slots,
)
from mvssl.compare.phrases import capital, of_column, percent
from mvssl.compare.sampling import MACRO
from mvssl.compare.summary import Summary

_TERMS = {"loss": "loss", "rankme": "effective rank"}
_LABEL = 0.2  # inches of a name behind a line


def label_efficiency(comparison: Comparison, summary: Summary) -> Drawing:
    """The leading metric over the labelled fraction, with 95 % test-bootstrap bands."""
    chance = summary.chance[MACRO]
    height = max(4.6, _LABEL * (len(comparison.methods) + 1) + 1.6)
    with drawing(height) as (figure, finish):
        axes = figure.subplots()
        for method in reversed(comparison.methods):
            _learning_curve(axes, comparison, summary, method)
        axes.axhline(chance, color=light("muted"), linewidth=0.8, linestyle=(0, (1, 3)))
        last = comparison.fractions[-1]
        ends = [
            (summary.at(method, last).mean, comparison.title(method), pen(comparison, method).colour)
            for method in comparison.methods
        ]
        _fraction_axis(axes, comparison)
        axes.set_ylabel(capital(comparison.kind.lead.title))
        label_ends(axes, [*ends, (chance, "chance", light("muted"))], _LABEL / (height - 0.8))
        return finish(_levels(comparison, summary))


def banded(comparison: Comparison, summary: Summary) -> tuple[str, ...]:
    """Methods with a band: all, or the best pretext and the best baseline where there are many."""
    if len(comparison.methods) <= FEW_METHODS:
        return comparison.methods
    last = comparison.fractions[-1]
    best = (summary.best(names, last) for names in (comparison.pretexts, comparison.baselines))
    return tuple(name for name in best if name)


def _learning_curve(axes: Axes, comparison: Comparison, summary: Summary, method: str) -> None:
    style = pen(comparison, method)
    values = [summary.at(method, fraction) for fraction in comparison.fractions]
    if method in banded(comparison, summary):
        low, high = [value.low for value in values], [value.high for value in values]
        axes.fill_between(comparison.fractions, low, high, color=style.colour, alpha=0.1, linewidth=0)
    axes.plot(
        comparison.fractions,
        [value.mean for value in values],
        color=style.colour,
        linestyle=style.line,
        linewidth=style.width,
        marker=style.marker,
        markersize=style.size,
        markerfacecolor=style.face,
        markeredgecolor=light("paper") if style.face == style.colour else style.colour,
        markeredgewidth=0.8,
    )


def _levels(comparison: Comparison, summary: Summary) -> list[Row]:
    rows = []
    for method in comparison.methods:
        for fraction in comparison.fractions:
            found = summary.at(method, fraction)
            rows.append(_row(method, fraction, found.mean, found.low, found.high))
    return rows


def _row(method: str, fraction: float, value: float, low: float, high: float) -> Row:
    return {"method": method, "fraction": fraction, "value": value, "low": low, "high": high}


def differences(comparison: Comparison, summary: Summary) -> Drawing:
    """Each pretext minus the best baseline, by label fraction, with 95 % paired intervals."""
    fractions, methods, rows = comparison.fractions, comparison.pretexts + comparison.fine_tuned, []
    crowded = len(methods) > FEW_METHODS
    with drawing(4.2 if crowded else 3.4) as (figure, finish):
        axes = figure.subplots()
        axes.axhline(0, color=light("ink"), linewidth=0.9)
        for method, offset in slots(methods, 0.8 if crowded else 0.5):
            style = pen(comparison, method)
            gains = [gain for fraction in fractions if (gain := summary.at(method, fraction).gain)]
            for fraction, gain in zip(fractions, gains, strict=True):
                baseline = summary.at(method, fraction).baseline
                rows.append(_row(method, fraction, gain.value, gain.low, gain.high) | {"baseline": baseline})
            axes.errorbar(
                np.arange(len(fractions)) + offset,
                [gain.value for gain in gains],
                yerr=reach([(gain.value, gain.low, gain.high) for gain in gains]),
                fmt=style.marker,
                color=style.colour,
                markersize=style.size - (1.5 if crowded else -1),
                markerfacecolor=style.face,
                markeredgecolor=style.colour,
                elinewidth=1.2 if crowded else 2,
                label=comparison.title(method),
            )
        judged = comparison.judged(comparison.baselines)
        baselines = [comparison.title(summary.best(judged, f) or "") for f in fractions]
        names = [f"{percent(f)}\n{name}" for f, name in zip(fractions, baselines, strict=True)]
        axes.set_xticks(range(len(fractions)), names)
        axes.set_xlim(-0.5, len(fractions) - 0.5)
        axes.set_xlabel("labelled fraction, and the best baseline there")
        axes.set_ylabel(f"{comparison.kind.lead.title} minus best baseline")
        legend(figure, axes)
        return finish(rows)


def tag_groups(comparison: Comparison, summary: Summary) -> Drawing:
    """The leading metric per group of tags, at two label fractions."""
    groups = [name for kind, name in summary.chance if kind == "group"]
    fractions, rows = comparison.shown_fractions, []
    with drawing(2.4 * len(fractions) + 0.6) as (figure, finish):
        panels = figure.subplots(len(fractions), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, fraction in zip(panels, fractions, strict=True):
            for slot in slots(comparison.methods, 0.78):
                rows += _bars(axes, comparison, summary, slot, fraction)
            chance = [summary.chance["group", group] for group in groups]
            left = np.arange(len(groups)) - 0.42
            axes.hlines(chance, left, left + 0.84, color=light("ink"), linewidth=0.9, linestyle=(0, (2, 2)))
            axes.set_title(f"{percent(fraction)} of the labels", loc="left")
            axes.set_ylabel(of_column(comparison.kind.lead))
            axes.tick_params(axis="x", length=0)
        if all(row["low"] >= 0 for row in rows):
            panels[0].set_ylim(bottom=0)
        panels[-1].set_xticks(range(len(groups)), groups)
        legend(figure, panels[0])
        return finish(rows)


def _bars(
    axes: Axes, comparison: Comparison, summary: Summary, slot: tuple[str, float], fraction: float
) -> list[Row]:
    method, offset = slot
    scopes = [scope for scope in summary.chance if scope[0] == "group"]
    values = [summary.at(method, fraction, scope=scope) for scope in scopes]
    style = pen(comparison, method)
    axes.bar(
        np.arange(len(scopes)) + offset,
        [value.mean for value in values],
        width=0.78 / len(comparison.methods) * 0.88,
        color=style.colour,
        alpha=style.opacity,
        yerr=reach([(value.mean, value.low, value.high) for value in values]),
        error_kw={"ecolor": light("ink"), "elinewidth": 0.8, "alpha": 0.55},
        label=comparison.title(method),
    )
    return [
        {"group": scope[1]} | _row(method, fraction, value.mean, value.low, value.high)
        for scope, value in zip(scopes, values, strict=True)
    ]


def training_curves(comparison: Comparison) -> Drawing:
    """Loss, and effective rank where it was logged, in panels of their own as losses differ in kind."""
    trained = [name for name in comparison.pretexts if any(run[0] == name for run in comparison.curves)]
    terms = [term for term in _TERMS if any(term in curve for curve in comparison.curves.values())]
    columns = min(len(trained), 4)
    bands = -(-len(trained) // columns)
    with drawing(1.8 * bands * len(terms) + 0.3) as (figure, finish):
        panels = figure.subplots(bands * len(terms), columns, squeeze=False)
        for axes in panels.flat:
            axes.set_visible(False)
        for place, method in enumerate(trained):
            for row, term in enumerate(terms):
                axes = panels[(place // columns) * len(terms) + row, place % columns]
                _curve_panel(axes, comparison, method, term)
                if row == 0:
                    colour = pen(comparison, method).colour
                    axes.set_title(comparison.title(method), loc="left", color=colour)
                if row == len(terms) - 1:
                    axes.set_xlabel("step")
                if place % columns == 0:
                    axes.set_ylabel(_TERMS[term])
        return finish(_curve_rows(comparison, trained, terms))


def _curve_panel(axes: Axes, comparison: Comparison, method: str, term: str) -> None:
    colour = pen(comparison, method).colour
    for (name, _), curve in sorted(comparison.curves.items()):
        if name == method and term in curve:
            steps, values = np.array(curve["step"], dtype=float), np.array(curve[term], dtype=float)
            shown = np.isfinite(values)
            axes.plot(steps[shown], values[shown], color=colour, linewidth=1.1, alpha=0.85)
            axes.set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _curve_rows(comparison: Comparison, trained: Sequence[str], terms: Sequence[str]) -> list[Row]:
    return [
        {"method": method, "seed": seed, "term": term, "step": step, "value": value}
        for (method, seed), curve in sorted(comparison.curves.items())
        if method in trained
        for term in terms
        if term in curve
        for step, value in zip(curve["step"], curve[term], strict=True)
    ]


def robustness(comparison: Comparison) -> Drawing:
    """How the leading metric falls with damage to the audio: a panel per kind, levels from the mildest."""
    methods = [method for method in comparison.methods if comparison.robustness.get(method)]
    rows: list[Row] = [{"method": m} | dict(row) for m in methods for row in comparison.robustness[m]]
    damages = list(dict.fromkeys(row["damage"] for row in rows))
    columns = 2 if len(damages) == 4 else min(len(damages), 3)
    bands = -(-len(damages) // columns)
    with drawing(2.5 * bands + 0.5) as (figure, finish):
        panels = figure.subplots(bands, columns, sharey=True, squeeze=False)
        for axes in panels.flat[len(damages) :]:
            axes.set_visible(False)
        for axes, damage in zip(panels.flat, damages, strict=False):
            _damage_panel(axes, comparison, [row for row in rows if row["damage"] == damage])
            axes.set_title(capital(str(damage).replace("_", " ")), loc="left")
        for axes in panels[:, 0]:
            axes.set_ylabel(capital(comparison.kind.lead.title))
        legend(figure, panels[0, 0])
        return finish(rows)


def _damage_panel(axes: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    levels = list(dict.fromkeys(row["level"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for place, method in enumerate(methods):
        style, own = pen(comparison, method), [row for row in rows if row["method"] == method]
        places = [levels.index(row["level"]) for row in own]
        if len(methods) <= FEW_METHODS:
            low, high = [row["low"] for row in own], [row["high"] for row in own]
            axes.fill_between(places, low, high, color=style.colour, alpha=0.1, linewidth=0)
        axes.plot(
            places, [row["value"] for row in own], color=style.colour, linestyle=style.line,
            linewidth=style.width, marker=style.marker, markersize=style.size - 2, markerfacecolor=style.face,
            label=comparison.title(method), zorder=3 - 0.01 * place,
        )  # fmt: skip
    axes.set_xticks(range(len(levels)), [_level(level) for level in levels])


def _level(level: object) -> str:
    return f"{level:g}" if isinstance(level, int | float) else str(level)


def _fraction_axis(axes: Axes, comparison: Comparison) -> None:
    fractions = comparison.fractions
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(fractions, [f"{percent(f)}\n{comparison.labelled(f)}" for f in fractions])
    axes.set_xlim(fractions[0] / 1.12, fractions[-1] * 1.08)
    axes.set_xlabel("labelled fraction of the training tracks, and their number")
