"""The report of a comparison: a page to look at, its Markdown twin, and all numbers as CSV."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvssl.compare import figures, words
from mvssl.compare.comparison import Comparison
from mvssl.compare.document import (
    Block,
    Cell,
    Code,
    Details,
    Heading,
    Items,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from mvssl.compare.summary import MACRO, Scope, Summary, results_rows, summarise, write_results
from mvssl.compare.words import number, percent
from mvssl.evaluation import Difference

_METRIC_TITLES = {"ap": "mAP", "roc_auc": "ROC-AUC"}
_MANY = 12  # rows above which a list of problems stays folded


def write_report(comparison: Comparison, out: Path, resamples: int = 1000) -> Summary:
    """Writes ``report.html``, ``report.md``, ``figures/*.svg`` and ``results.csv``.

    Args:
        comparison: What was measured.
        out: Folder for all of them; made when it does not exist.
        resamples: Test-set resamples behind each interval.

    Returns:
        The statistics the report is made of.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_results(out / "results.csv", results_rows(comparison))
    summary = summarise(comparison, resamples)
    blocks = _blocks(comparison, summary)
    title = f"What each pretext learned from {comparison.corpus['name']}"
    subtitle = _subtitle(comparison)
    _write(out / "report.html", to_html(title, subtitle, blocks))
    _write(out / "report.md", to_markdown(title, subtitle, blocks))
    for block in blocks:
        if isinstance(block, Picture):
            (out / "figures").mkdir(exist_ok=True)
            _write(out / "figures" / f"{block.name}.svg", block.svg)
    return summary


def _write(path: Path, text: str) -> None:
    # A name of a file may hold bytes that are no text, which UTF-8 cannot express.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _subtitle(comparison: Comparison) -> str:
    tracks, tags = comparison.targets.shape
    parts = [
        f"{len(comparison.pretexts)} pretexts and {len(comparison.baselines)} baselines",
        f"{tags} tags",
        f"{tracks} test tracks",
        str(comparison.environment.get("date", "")),
    ]
    return " · ".join(part for part in parts if part)


def _blocks(comparison: Comparison, summary: Summary) -> list[Block]:
    return [
        Paragraph(words.headline(comparison, summary), "lead"),
        Paragraph(words.legend(comparison, summary), "small"),
        Items(tuple(words.findings(comparison, summary))),
        *(Paragraph(text, "note") for text in words.cautions(comparison)),
        Heading("Results"),
        *_metric_tables(comparison, summary, "ap"),
        Details("The same by ROC-AUC", tuple(_metric_tables(comparison, summary, "roc_auc"))),
        *_pictures(comparison, summary),
        Heading("Every tag"),
        *_tag_tables(comparison, summary),
        Heading("How it was measured"),
        Items(tuple(words.protocol(comparison, summary))),
        Heading("Corpus"),
        *_corpus(comparison),
        Heading("Costs"),
        _costs(comparison),
        Heading("Reproduction"),
        Code(comparison.command),
        Details(
            "Configuration", (Code(json.dumps(comparison.config, indent=2, default=str, ensure_ascii=False)),)
        ),
        Details("Versions and machine", (_facts(_flat(comparison.environment)),)),
    ]


def _metric_tables(comparison: Comparison, summary: Summary, metric: str) -> list[Block]:
    title = _METRIC_TITLES[metric]
    tables = [
        Table(
            _fraction_heads(comparison, title),
            (*_level_rows(comparison, summary, metric, MACRO), _chance_row(comparison, summary, metric)),
            caption=f"{title} on the test split, with 95 % test-bootstrap intervals",
            legend=f"Means over draws and seeds. {_marks('column')}",
            rule_before=frozenset({len(comparison.pretexts), len(comparison.methods)}),
        )
    ]
    if comparison.baselines:
        tables.append(
            Table(
                _fraction_heads(comparison, "Difference"),
                _difference_rows(comparison, summary, metric),
                caption=f"Difference in {title} to the best baseline there, with 95 % paired intervals",
                legend="Bold: the whole interval lies on one side of 0. A dash: the best baseline itself.",
                rule_before=frozenset({len(comparison.pretexts)}),
            )
        )
    tables.append(_spread_table(comparison, summary, metric))
    return list(tables)


def _marks(line: str) -> str:
    return (
        f"Bold: the highest mean of a {line}. ≈: not distinguishable from it, as the 95 % paired interval of "
        "the difference contains 0."
    )


def _fraction_heads(comparison: Comparison, first: str) -> tuple[Cell, ...]:
    columns = (Cell(percent(f), below=(f"{comparison.labelled(f)} tracks",)) for f in comparison.fractions)
    return (Cell(first), *columns)


def _method_cell(comparison: Comparison, method: str) -> Cell:
    return Cell(comparison.title(method), swatch=figures.colour_role(comparison, method))


def _level_cell(summary: Summary, method: str, fraction: float, metric: str, scope: Scope) -> Cell:
    estimate = summary.at(method, fraction, metric, scope)
    if estimate.mean != estimate.mean:
        return Cell("–", tone="muted")
    below = (words.interval(estimate),)
    return Cell(number(estimate.mean), bold=estimate.best, mark="≈" if estimate.tied else "", below=below)


def _level_rows(
    comparison: Comparison, summary: Summary, metric: str, scope: Scope
) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            _method_cell(comparison, method),
            *(_level_cell(summary, method, fraction, metric, scope) for fraction in comparison.fractions),
        )
        for method in comparison.methods
    )


def _chance_row(comparison: Comparison, summary: Summary, metric: str) -> tuple[Cell, ...]:
    chance = Cell(number(summary.chance[MACRO] if metric == "ap" else 0.5), tone="muted")
    return (Cell("Random scores (chance)", tone="muted"), *[chance] * len(comparison.fractions))


def _difference_rows(comparison: Comparison, summary: Summary, metric: str) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            _method_cell(comparison, method),
            *(_difference_cell(summary.at(method, f, metric).gain) for f in comparison.fractions),
        )
        for method in comparison.methods
    )


def _difference_cell(gain: Difference | None) -> Cell:
    if gain is None:
        return Cell("–", tone="muted")
    tone = "up" if gain.above else "down" if gain.below else ""
    return Cell(words.signed(gain.value), bold=bool(tone), below=(words.signed_interval(gain),), tone=tone)


def _spread_table(comparison: Comparison, summary: Summary, metric: str) -> Table:
    rows = []
    for method in comparison.methods:
        cells = []
        for fraction in comparison.fractions:
            estimate = summary.at(method, fraction, metric)
            seeds = () if estimate.seed_sd is None else (f"seeds {number(estimate.seed_sd)}",)
            cells.append(Cell("–" if estimate.draw_sd is None else number(estimate.draw_sd), below=seeds))
        rows.append((_method_cell(comparison, method), *cells))
    several = any(len(comparison.seeds(method)) > 1 for method in comparison.methods)
    also = " (small: over training seeds, of the mean over draws)" if several else ""
    return Table(
        _fraction_heads(comparison, "Spread"),
        tuple(rows),
        caption=f"Standard deviation of {_METRIC_TITLES[metric]} over draws of the labelled tracks{also}",
        legend="A dash: one draw only. No spread is part of the intervals above.",
        rule_before=frozenset({len(comparison.pretexts)}),
    )


def _pictures(comparison: Comparison, summary: Summary) -> list[Block]:
    pictures = [
        Picture(
            "label_efficiency",
            figures.label_efficiency(comparison, summary),
            "Label efficiency",
            "mAP of a linear probe by labelled fraction; bands are 95 % test-bootstrap intervals. All "
            "methods see the same test tracks, so that differences are more certain than the overlap of "
            "bands suggests.",
        )
    ]
    if comparison.pretexts and comparison.baselines:
        pictures.append(
            Picture(
                "differences",
                figures.differences(comparison, summary),
                "Difference to the best baseline",
                "mAP of each pretext minus that of the best baseline at the same fraction, with 95 % paired "
                "intervals. Above 0 the pretext is better.",
            )
        )
    if any(kind == "group" for kind, _ in summary.chance):
        pictures.append(
            Picture(
                "tag_groups",
                figures.tag_groups(comparison, summary),
                "Groups of tags",
                "Average precision, mean over the tags of each group, with 95 % test-bootstrap intervals. "
                "Dashed: chance.",
            )
        )
    if any(name in comparison.pretexts and "loss" in terms for (name, _), terms in comparison.curves.items()):
        pictures.append(
            Picture(
                "training",
                figures.training_curves(comparison),
                "Training",
                "Losses of different pretexts are different quantities and cannot be compared. Effective "
                "rank (RankMe) is how many directions the embeddings use: near 1 it means collapse.",
            )
        )
    return list(pictures)


def _tag_tables(comparison: Comparison, summary: Summary) -> list[Block]:
    blocks: list[Block] = [Paragraph(f"With 95 % test-bootstrap intervals. {_marks('row')}", "small")]
    for fraction in comparison.fractions:
        tables = tuple(_tag_table(comparison, summary, fraction, metric) for metric in _METRIC_TITLES)
        blocks.append(Details(f"{percent(fraction)} of the labels", tables))
    for metric, tags in summary.undefined.items():
        if tags:
            name = "AP" if metric == "ap" else "ROC-AUC"
            text = (
                f"{name} is not defined on this test set, and left out of the mean, for: {', '.join(tags)}."
            )
            blocks.append(Paragraph(text))
    return blocks


def _tag_table(comparison: Comparison, summary: Summary, fraction: float, metric: str) -> Table:
    name = "Average precision" if metric == "ap" else "ROC-AUC"
    head = (
        Cell(name),
        Cell("test tracks"),
        Cell("chance"),
        *(Cell(comparison.title(method)) for method in comparison.methods),
    )
    rows = []
    for tag in comparison.vocabulary:
        chance = summary.chance["tag", tag] if metric == "ap" else 0.5
        cells = (_level_cell(summary, m, fraction, metric, ("tag", tag)) for m in comparison.methods)
        positives = Cell(str(summary.positives[tag]), tone="muted")
        rows.append((Cell(tag), positives, Cell(number(chance), tone="muted"), *cells))
    return Table(head, tuple(rows), role="dense")


def _corpus(comparison: Comparison) -> list[Block]:
    corpus = comparison.corpus
    tracks = corpus["tracks"]
    facts = {
        "Name": corpus["name"],
        "Tracks": f"{sum(tracks.values())}: "
        + ", ".join(f"{count} {split}" for split, count in tracks.items()),
        "Audio": f"{corpus['hours']:.1f} hours",
    }
    if comparison.groups is not None:
        facts["Groups in the test split"] = len(set(comparison.groups.tolist()))
    used = set(comparison.vocabulary)
    grouped = {tag for tags in comparison.tag_groups.values() for tag in tags}
    for name, tags in comparison.tag_groups.items():
        facts[f"Tags: {name}"] = ", ".join(tag for tag in tags if tag in used)
    if rest := [tag for tag in comparison.vocabulary if tag not in grouped]:
        facts["Tags: others" if grouped else "Tags"] = ", ".join(rest)
    blocks: list[Block] = [_facts(facts)]
    if excluded := corpus["excluded_tags"]:
        blocks.append(_listing("tag", "not used", "Tag", list(excluded.items())))
    if problems := corpus["problems"]:
        blocks.append(
            _listing("file", "skipped", "File", [(entry["path"], entry["reason"]) for entry in problems])
        )
    else:
        blocks.append(Paragraph("No file was skipped."))
    return blocks


def _listing(noun: str, what: str, head: str, entries: list[tuple[str, str]]) -> Block:
    """A table of things left out, with reasons; folded when long."""
    one = len(entries) == 1
    title = f"{len(entries)} {noun}{'' if one else 's'} {'was' if one else 'were'} {what}"
    rows = tuple((Cell(str(name)), Cell(str(reason))) for name, reason in entries)
    head_cells = (Cell(head), Cell("Reason"))
    if len(entries) > _MANY:
        return Details(title, (Table(head_cells, rows, role="prose"),))
    return Table(head_cells, rows, caption=title, role="prose")


def _costs(comparison: Comparison) -> Block:
    head = ("Method", "Seed", "Training", "Views", "Views per second", "Parameters")
    rows = []
    for entry in comparison.scores:
        cost = comparison.costs.get((entry.method, entry.seed), {})
        seconds, views, parameters = cost.get("seconds"), cost.get("views"), cost.get("parameters")
        rows.append(
            (
                _method_cell(comparison, entry.method),
                Cell(str(entry.seed)),
                Cell(f"{seconds:,.0f} s" if seconds else "–"),
                Cell(f"{views:,.0f}" if views else "–"),
                Cell(f"{views / seconds:,.0f}" if views and seconds else "–"),
                Cell(f"{parameters:,.0f}" if parameters else "–"),
            )
        )
    return Table(tuple(map(Cell, head)), tuple(rows))


def _facts(facts: Mapping[str, Any]) -> Table:
    rows = tuple((Cell(str(name)), Cell(str(value))) for name, value in facts.items())
    return Table((), rows, role="prose")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
