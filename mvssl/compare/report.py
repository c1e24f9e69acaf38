"""The report of a comparison: a page to look at, its Markdown twin, and all numbers as CSV."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mvssl.compare import words
from mvssl.compare.comparison import Comparison
from mvssl.compare.document import (
    Block,
    Code,
    Details,
    Heading,
    Items,
    Paragraph,
    Picture,
    to_html,
    to_markdown,
)
from mvssl.compare.facts import corpus_facts, costs, facts_table, flat
from mvssl.compare.phrases import many
from mvssl.compare.pictures import closer_pictures, closest_looked_at, result_pictures, win_picture
from mvssl.compare.protocol import protocol
from mvssl.compare.results import results_rows, write_results
from mvssl.compare.storage import save_comparison
from mvssl.compare.summary import Summary, summarise
from mvssl.compare.tables import column_tables, confused_table, metric_tables, needed_table, win_table
from mvssl.evaluation.rows import write_rows


def write_report(
    comparison: Comparison,
    out: Path,
    resamples: int = 1000,
    *,
    title: str = "",
    more: Callable[[Comparison, Summary], Sequence[Block]] | None = None,
) -> Summary:
    """Writes ``report.html``, ``report.md``, ``results.csv`` and, as SVG, PNG and CSV, ``figures``.

    The comparison itself is kept beside them, for reports that put several together.

    Args:
        comparison: What was measured.
        out: Folder for all of them; made when it does not exist.
        resamples: Test-set resamples behind each interval.
        title: Of the page, instead of what a comparison of pretexts is called.
        more: Makes blocks that stand before the results.

    Returns:
        The statistics the report is made of.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    save_comparison(comparison, out)
    write_results(out / "results.csv", results_rows(comparison))
    summary = summarise(comparison, resamples)
    blocks = _blocks(comparison, summary, more(comparison, summary) if more else ())
    title = title or f"What each pretext learned from {comparison.corpus['name']}"
    subtitle = _subtitle(comparison)
    _write(out / "report.html", to_html(title, subtitle, blocks))
    _write(out / "report.md", to_markdown(title, subtitle, blocks))
    for block in blocks:
        if isinstance(block, Picture):
            _write_figure(out / "figures", block)
    return summary


def _write_figure(folder: Path, picture: Picture) -> None:
    folder.mkdir(exist_ok=True)
    _write(folder / f"{picture.name}.svg", picture.drawing.svg)
    (folder / f"{picture.name}.png").write_bytes(picture.drawing.png)
    write_rows(folder / f"{picture.name}.csv", picture.drawing.rows)


def _write(path: Path, text: str) -> None:
    # A name of a file may hold bytes that are no text, which UTF-8 cannot express.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _subtitle(comparison: Comparison) -> str:
    tracks, tags = comparison.targets.shape
    parts = [
        f"{many(len(comparison.pretexts), 'pretext')} and {many(len(comparison.baselines), 'baseline')}",
        many(tags, comparison.kind.columns),
        f"{tracks} test tracks",
        str(comparison.environment.get("date", "")),
    ]
    return " · ".join(part for part in parts if part)


def _blocks(comparison: Comparison, summary: Summary, more: Sequence[Block]) -> list[Block]:
    lead, *others = comparison.kind.metrics
    return [
        Paragraph(words.headline(comparison, summary), "lead"),
        Paragraph(words.legend(comparison, summary), "small"),
        Items(tuple(words.findings(comparison, summary))),
        *(Paragraph(text, "note") for text in words.cautions(comparison)),
        *more,
        Heading("Results"),
        *metric_tables(comparison, summary, lead),
        *(
            Details(f"The same by {metric.title}", tuple(metric_tables(comparison, summary, metric)))
            for metric in others
        ),
        *result_pictures(comparison, summary),
        *_efficiency(comparison, summary),
        *_all_pairs(comparison, summary),
        *_closer(comparison, summary),
        Heading(f"Every {comparison.kind.columns}"),
        *column_tables(comparison, summary),
        Heading("How it was measured"),
        Items(tuple(protocol(comparison, summary))),
        Heading("Corpus"),
        *corpus_facts(comparison),
        Heading("Costs"),
        costs(comparison),
        Heading("Reproduction"),
        Code(comparison.command),
        Details(
            "Configuration", (Code(json.dumps(comparison.config, indent=2, default=str, ensure_ascii=False)),)
        ),
        Details("Versions and machine", (facts_table(flat(comparison.environment)),)),
    ]


def _efficiency(comparison: Comparison, summary: Summary) -> list[Block]:
    has_both = comparison.judged(comparison.pretexts) and comparison.judged(comparison.baselines)
    if not has_both or len(comparison.fractions) < 2:
        return []
    return [Heading("Labels needed"), needed_table(comparison, summary)]


def _all_pairs(comparison: Comparison, summary: Summary) -> list[Block]:
    if len(comparison.judged(comparison.methods)) < 2:
        return []
    return [
        Heading("All against all"), win_table(comparison, summary), win_picture(comparison, summary)
    ]  # fmt: skip


def _closer(comparison: Comparison, summary: Summary) -> list[Block]:
    blocks: list[Block] = list(closer_pictures(comparison, summary))
    if best := closest_looked_at(comparison, summary):
        blocks.insert(1, confused_table(comparison, best))
    return [Heading("A closer look"), *blocks] if blocks else []
