"""What a report says of the corpus, of costs and of versions."""

from collections.abc import Mapping
from typing import Any

from mvssl.compare.comparison import Comparison
from mvssl.compare.document import Block, Cell, Details, Paragraph, Table
from mvssl.compare.phrases import capital, many
from mvssl.compare.tables import method_cell

_MANY = 12  # rows above which a list of things left out stays folded


def corpus_facts(comparison: Comparison) -> list[Block]:
    """Tracks, tags, and everything that was left out."""
    corpus = comparison.corpus
    tracks = corpus["tracks"]
    facts = {
        "Name": corpus["name"],
        "Tracks": f"{sum(tracks.values())}: "
        + ", ".join(f"{count} {split}" for split, count in tracks.items()),
        "Audio": f"{corpus['hours']:.1f} hours",
    }
    if comparison.groups is not None:
        facts["Groups in the test split"] = comparison.units
    used, noun = set(comparison.vocabulary), capital(many(2, comparison.kind.columns).removeprefix("2 "))
    grouped = {tag for tags in comparison.tag_groups.values() for tag in tags}
    for name, tags in comparison.tag_groups.items():
        facts[f"{noun}: {name}"] = ", ".join(tag for tag in tags if tag in used)
    if rest := [tag for tag in comparison.vocabulary if tag not in grouped]:
        facts[f"{noun}: others" if grouped else noun] = ", ".join(rest)
    blocks: list[Block] = [facts_table(facts)]
    if excluded := corpus["excluded_tags"]:
        blocks.append(_listing(comparison.kind.columns, "not used", list(excluded.items())))
    if problems := corpus["problems"]:
        blocks.append(_listing("file", "skipped", [(entry["path"], entry["reason"]) for entry in problems]))
    else:
        blocks.append(Paragraph("No file was skipped."))
    return blocks


def _listing(noun: str, what: str, entries: list[tuple[str, str]]) -> Block:
    """A table of things left out, with reasons; folded when long."""
    title = f"{many(len(entries), noun)} {'was' if len(entries) == 1 else 'were'} {what}"
    rows = tuple((Cell(str(name)), Cell(str(reason))) for name, reason in entries)
    head_cells = (Cell(capital(noun)), Cell("Reason"))
    if len(entries) > _MANY:
        return Details(title, (Table(head_cells, rows, role="prose"),))
    return Table(head_cells, rows, caption=title, role="prose")


def costs(comparison: Comparison) -> Block:
    """What each run took."""
    head = ("Method", "Seed", "Training", "Views", "Views per second", "Parameters")
    rows = []
    for entry in comparison.scores:
        cost = comparison.costs.get((entry.method, entry.seed), {})
        seconds, views, parameters = cost.get("seconds"), cost.get("views"), cost.get("parameters")
        rows.append(
            (
                method_cell(comparison, entry.method),
                Cell(str(entry.seed)),
                Cell(f"{seconds:,.0f} s" if seconds else "–"),
                Cell(f"{views:,.0f}" if views else "–"),
                Cell(f"{views / seconds:,.0f}" if views and seconds else "–"),
                Cell(f"{parameters:,.0f}" if parameters else "–"),
            )
        )
    return Table(tuple(map(Cell, head)), tuple(rows))


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Names and values."""
    rows = tuple((Cell(str(name)), Cell(str(value))) for name, value in facts.items())
    return Table((), rows, role="prose")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, with dotted names."""
    level: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            level |= flat(value, f"{prefix}{name}.")
        else:
            level[f"{prefix}{name}"] = value
    return level
