"""Maps of embeddings: test tracks on a plane, coloured by what they are labelled with."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mvssl.compare.comparison import Comparison
from mvssl.compare.drawing import SERIES, Drawing, Row, drawing, legend, light
from mvssl.compare.phrases import many
from mvssl.compare.summary import Summary

_POINTS = 2000
_DIMENSIONS = 50
_COLOURS = 12
_QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def mapped(comparison: Comparison, summary: Summary) -> tuple[str, ...]:
    """Methods to map: the best pretext with embeddings at all labels, and the random encoder."""
    known = tuple(name for name in comparison.pretexts if name in comparison.embeddings)
    best = summary.best(known, comparison.fractions[-1])
    return tuple(name for name in (best, "random") if name and name in comparison.embeddings)


def embedding_map(comparison: Comparison, methods: Sequence[str]) -> Drawing:
    """A panel per method; tracks that lie close together have similar embeddings."""
    rows_shown = _chosen(len(comparison.targets))
    kinds = track_kinds(comparison)[1][rows_shown]
    rows: list[Row] = []
    with drawing(4.4) as (figure, finish):
        panels = figure.subplots(1, len(methods), squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            places = plane(comparison.embeddings[method][rows_shown])
            _points(axes, places, kinds)
            axes.set_title(comparison.title(method), loc="left")
            rows += [
                {"method": method, "test_track": int(track), "kind": kind, "x": float(x), "y": float(y)}
                for track, kind, (x, y) in zip(rows_shown, kinds, places, strict=True)
            ]
        legend(figure, panels[0], markers=2.0)
        return finish(rows)


def plane(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Embeddings (tracks, dim) on a plane (tracks, 2): principal components, then t-SNE, seeded."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = np.asarray(embeddings, np.float64)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    reduced = PCA(min(_DIMENSIONS, *values.shape), random_state=0).fit_transform(values)
    perplexity = min(30.0, max((len(values) - 1) / 3, 1.0))
    found = TSNE(init="random", perplexity=perplexity, random_state=0).fit_transform(reduced)
    return np.asarray(found, np.float64)


def _chosen(tracks: int) -> NDArray[np.int64]:
    """Rows of the test tracks that are drawn: all, or evenly spaced ones."""
    return np.linspace(0, tracks - 1, min(tracks, _POINTS)).round().astype(np.int64)


def track_kinds(comparison: Comparison) -> tuple[str, NDArray[np.str_]]:
    """What tracks are coloured by, in words, and the kind of each track; empty where it has none, or several.

    Tags overlap: of the groups of tags, and of the most frequent tags, those are taken of which most tracks
    carry exactly one. Numbers are cut into quarters.
    """
    targets, names = comparison.targets, np.array(comparison.vocabulary)
    if comparison.kind.loss == "squares":
        values = targets[:, 0]
        quarter = np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values, side="right")
        return f"quarters of {names[0]}", np.array(_QUARTERS)[quarter]
    place = {tag: index for index, tag in enumerate(comparison.vocabulary)}
    frequent = np.argsort(-targets.sum(axis=0), kind="stable")[:_COLOURS]
    what = many(len(frequent), comparison.kind.columns)
    choices = {what if len(frequent) == len(names) else f"the {what} with most tracks": frequent.tolist()}
    if comparison.kind.loss == "sigmoid":
        choices |= {
            name: [place[tag] for tag in tags if tag in place] for name, tags in comparison.tag_groups.items()
        }
    best = max(choices, key=lambda name: (targets[:, choices[name]].sum(axis=1) == 1).sum())
    members = np.array(choices[best])[:_COLOURS]
    single = targets[:, members].sum(axis=1) == 1
    return best, np.where(single, names[members[targets[:, members].argmax(axis=1)]], "")


def _points(axes: Axes, places: NDArray[np.float64], kinds: NDArray[np.str_]) -> None:
    counts = Counter(kinds.tolist())
    order = [kind for kind in _QUARTERS if kind in counts] or sorted(counts)
    colours = {kind: light(role) for kind, role in zip(filter(None, order), SERIES, strict=False)}
    size = 14 if len(places) <= 500 else 6
    for kind in sorted(order, key=bool):  # what has no colour lies below
        own = places[kinds == kind]
        axes.scatter(
            own[:, 0], own[:, 1], s=size, color=colours.get(kind, light("rule")), alpha=0.85, linewidth=0,
            label=kind or "others",
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(True)
