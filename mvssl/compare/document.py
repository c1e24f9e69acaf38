"""A page as a list of blocks that is rendered twice: as HTML and as Markdown.

Every text is plain: both renderers escape it, so names of tags and files can hold anything.
"""

import re
from dataclasses import dataclass
from html import escape

from mvssl.compare.drawing import Drawing, themed
from mvssl.compare.style import CSS, SORTING


@dataclass(frozen=True)
class Heading:
    """A section heading."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``role`` is ``""``, ``"lead"``, ``"small"`` or ``"note"``."""

    text: str
    role: str = ""


@dataclass(frozen=True)
class Items:
    """A bulleted list. Each entry is (emphasised beginning, rest)."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands there.
        bold: Whether it is emphasised.
        mark: A sign right after the text.
        below: Smaller lines under the text.
        tone: ``""``, ``"up"``, ``"down"`` or ``"muted"``.
        swatch: A colour role shown as a dot before the text; HTML only.
    """

    text: str
    bold: bool = False
    mark: str = ""
    below: tuple[str, ...] = ()
    tone: str = ""
    swatch: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        head: One cell per column; may be empty.
        rows: Rows of equally many cells.
        caption: Sentence above the table.
        legend: Explanation under it.
        rule_before: Rows above which a line separates groups.
        role: ``""``, ``"prose"`` for cells of text, set flush left, or ``"dense"`` for many small numbers.
        sortable: Whether a click on the head of a column sorts the rows by it; HTML only.
    """

    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    legend: str = ""
    rule_before: frozenset[int] = frozenset()
    role: str = ""
    sortable: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure: its SVG goes into the page, Markdown points to ``figures/<name>.svg``."""

    name: str
    drawing: Drawing
    title: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Preformatted text."""

    text: str


@dataclass(frozen=True)
class Details:
    """Blocks that stay folded until somebody opens them."""

    summary: str
    blocks: "tuple[Block, ...]"


Block = Heading | Paragraph | Items | Table | Picture | Code | Details


def to_html(title: str, subtitle: str, blocks: list[Block]) -> str:
    """One self-contained page that loads nothing."""
    body = "\n".join(_html(block) for block in blocks)
    script = f"<script>\n{SORTING}</script>\n" if "<table data-sortable" in body else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p></header>\n'
        f"{body}\n</main>\n{script}</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Paragraph(text, role):
            return f'<p class="{role}">{_text(text)}</p>' if role else f"<p>{_text(text)}</p>"
        case Items(entries):
            lines = (f"<li><strong>{_text(first)}</strong> {_text(rest)}</li>" for first, rest in entries)
            return "<ul>\n" + "\n".join(lines) + "\n</ul>"
        case Table():
            return _html_table(block)
        case Picture(name, drawing, title, caption):
            label = _text(title)
            svg = _inline_svg(themed(drawing.svg), name, label)
            return (
                f'<figure id="{name}"><div class="scroll">{svg}</div>'
                f"<figcaption><strong>{label}.</strong> {_text(caption)}</figcaption></figure>"
            )
        case Code(text):
            return f'<pre tabindex="0">{escape(text)}</pre>'
        case Details(summary, inner):
            return (
                f"<details><summary>{_text(summary)}</summary>\n"
                + "\n".join(map(_html, inner))
                + "\n</details>"
            )


def _html_table(table: Table) -> str:
    head = "".join(_html_cell(cell, 'th scope="col"') for cell in table.head)
    head = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    lines = []
    for place, row in enumerate(table.rows):
        first, *rest = row
        cells = _html_cell(first, 'th scope="row"') + "".join(_html_cell(cell, "td") for cell in rest)
        lines.append(f'<tr class="rule">{cells}</tr>' if place in table.rule_before else f"<tr>{cells}</tr>")
    caption = f'<p class="caption">{_text(table.caption)}</p>' if table.caption else ""
    legend = f'<p class="small">{_text(table.legend)}</p>' if table.legend else ""
    kind = (" data-sortable" if table.sortable else "") + (f' class="{table.role}"' if table.role else "")
    return (
        f'{caption}<div class="scroll" tabindex="0"><table{kind}>{head}'
        "<tbody>\n" + "\n".join(lines) + f"\n</tbody></table></div>{legend}"
    )


def _html_cell(cell: Cell, tag: str) -> str:
    text = f"<strong>{_text(cell.text)}</strong>" if cell.bold else _text(cell.text)
    if cell.swatch:
        text = f'<i class="dot" style="background:var(--{cell.swatch})"></i>{text}'
    if cell.mark:
        text += f'<span class="mark">{_text(cell.mark)}</span>'
    text += "".join(f"<small>{_text(line)}</small>" for line in cell.below)
    tone = f' class="{cell.tone}"' if cell.tone else ""
    return f"<{tag}{tone}>{text}</{tag.split()[0]}>"


def _text(text: str) -> str:
    """Escaped text in which a number and its percent sign stay on one line."""
    return escape(text).replace(" %", "\u00a0%")


def _inline_svg(svg: str, prefix: str, label: str) -> str:
    """The bare ``<svg>`` element, scaled by the page, its identifiers unique within the page."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def to_markdown(title: str, subtitle: str, blocks: list[Block]) -> str:
    """The same page as Markdown, in GitHub's flavour."""
    parts = [f"# {_md(title)}", _md(subtitle), *map(_markdown, blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_md(text)}"
        case Paragraph(text, role):
            return f"> {_md(text)}" if role == "note" else _md(text)
        case Items(entries):
            return "\n".join(f"- **{_md(first)}** {_md(rest)}" for first, rest in entries)
        case Table():
            return _markdown_table(block)
        case Picture(name, _, title, caption):
            return f"![{_md(title)}](figures/{name}.svg)\n\n*{_md(title)}.* {_md(caption)}"
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}text\n{text}\n{fence}"
        case Details(summary, inner):
            blocks = "\n\n".join(map(_markdown, inner))
            return f"<details>\n<summary>{_md(summary)}</summary>\n\n{blocks}\n\n</details>"


def _markdown_table(table: Table) -> str:
    columns = len(table.rows[0])
    lines = [_markdown_row(table.head or (Cell(""),) * columns)]
    lines.append("|" + " :-- |" + (" :-- |" if table.role == "prose" else " --: |") * (columns - 1))
    lines += [_markdown_row(row) for row in table.rows]
    parts = [f"**{_md(table.caption)}**" if table.caption else "", "\n".join(lines), _md(table.legend)]
    return "\n\n".join(part for part in parts if part)


def _markdown_row(cells: tuple[Cell, ...]) -> str:
    texts = []
    for cell in cells:
        text = f"**{_md(cell.text)}**" if cell.bold else _md(cell.text)
        texts.append(" ".join([text + _md(cell.mark), *map(_md, cell.below)]))
    return "| " + " | ".join(texts) + " |"


def _md(text: str) -> str:
    """Text in which nothing is Markdown or HTML, on one line."""
    text = escape(re.sub(r"[\r\n]+", " ", text), quote=False)
    return re.sub(r"([\\`*_|~$]|\](?=[(\[:]))", r"\\\1", text)
