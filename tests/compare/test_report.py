import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mvssl.compare import drawing, phrases, words
from mvssl.compare.document import Cell, Table, to_html, to_markdown
from mvssl.compare.report import write_report
from mvssl.compare.results import results_rows, write_results
from mvssl.compare.summary import summarise

GOOD = {
    "good": (2.0, 2.2),
    "other": (1.9, 2.1),
    "random": (0.3, 0.5),
    "mel_statistics": (1.0, 1.4),
    "supervised": (0.4, 1.6),
}
BAD = GOOD | {"good": (0.6, 1.0), "other": (0.2, 0.4), "mel_statistics": (1.6, 2.0)}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects elements and text, and checks that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def write(comparison, out):
    write_report(comparison, out, resamples=20)
    html = (out / "report.html").read_text(encoding="utf-8")
    return Page(html), html, (out / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def good(make_comparison, tmp_path_factory):
    """(page, HTML, Markdown, folder) of one report."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    return *write(make_comparison(GOOD), folder), folder


def test_the_page_loads_nothing(good):
    page, html, _, _ = good
    assert not {tag for tag, _ in page.elements} & {
        "link",
        "img",
        "iframe",
        "object",
        "image",
        "base",
    }
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert attributes.get(name, "#").startswith("#")
    assert "@import" not in html
    assert not re.search("fetch|XMLHttpRequest|import\\(|https?://(?!www.w3.org)", html)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_identifiers_are_unique_and_references_resolve(good):
    page, html, _, _ = good
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers)) > 10
    used = re.findall(r"url\(#([^)]*)\)", html) + re.findall(r'xlink:href="#([^"]*)"', html)
    assert used
    assert set(used) <= set(identifiers)


def test_every_figure_is_in_the_page_and_beside_the_markdown(good):
    page, html, markdown, folder = good
    named = re.findall(r"!\[[^]]*\]\((figures/[^)]*)\)", markdown)
    assert named == [
        f"figures/{n}.svg" for n in ("label_efficiency", "differences", "tag_groups", "wins", "training")
    ]
    for path in named:
        assert ET.parse(folder / path).getroot().tag.endswith("svg")
        assert (folder / path).with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        with (folder / path).with_suffix(".csv").open(newline="") as file:
            assert len(list(csv.reader(file))) > 2
    assert sum(tag == "svg" for tag, _ in page.elements) == len(named)
    inline = html[html.index("<svg") : html.rindex("</svg>")]
    assert "var(--series1)" in inline
    assert drawing.THEME["series1"][0] not in inline


def test_tables_of_tags_can_be_sorted_in_the_page_alone(good):
    page, html, markdown, _ = good
    tables = [attributes for tag, attributes in page.elements if tag == "table"]
    assert sum("data-sortable" in attributes for attributes in tables) == 2 * 2  # fractions × metrics
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert "aria-sort" in script
    assert 'createElement("button")' in script  # the keyboard reaches it
    assert "button" not in markdown
    assert "sortable" not in markdown


def test_numbers_are_written_with_a_true_minus_and_no_negative_zero():
    assert [phrases.number(x) for x in (0.12345, -0.25, -0.0001, float("nan"))] == [
        "0.123", "−0.250", "0.000", "–"
    ]  # fmt: skip


def test_names_are_data_not_markup(make_comparison, tmp_path):
    nasty = ("<script>alert(1)</script>", "a|b*c*_d_`e`", "$\\frac{$ & [x](http://example.org)")
    comparison = make_comparison(
        GOOD,
        vocabulary=nasty,
        tag_groups={"<b>group</b> $\\bad{$": nasty},
        corpus={
            "name": "<i>name</i>",
            "tracks": {"train": 1, "valid": 1, "test": 60},
            "hours": 0.1,
            "problems": [{"path": "<img src=x>.wav", "reason": "broken\n| pipe"}],
            "excluded_tags": {"</table>": "only in the test split"},
        },
        command="mvssl compare --data '<u>```'",
        titles={"good": "<em>Good</em>"},
    )
    page, _, markdown = write(comparison, tmp_path)
    assert not {tag for tag, _ in page.elements} & {"img", "u", "em", "b"}
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    text = "".join(page.text)
    for name in (
        *nasty,
        "<i>name</i>",
        "<img src=x>.wav",
        "</table>",
        "<em>Good</em>",
        "<b>group</b> $\\bad{$",
    ):
        assert name in text
    fence = "````text\nmvssl compare --data '<u>```'\n````"
    assert fence in markdown
    for raw in ("<script>", "<img", "<u>", "<em>", "</table>", "<b>", "<i>"):
        assert raw not in markdown.replace(fence, "")
    assert not re.search(r"(?<!\\)\]\(http", markdown)
    rows = [line for line in markdown.splitlines() if line.startswith("|") and "broken" in line]
    assert rows == ["| &lt;img src=x&gt;.wav | broken \\| pipe |"]
    assert r"a\|b\*c\*\_d\_\`e\`" in markdown


def test_a_file_name_that_is_not_text_is_listed_all_the_same(make_comparison, tmp_path):
    comparison = make_comparison(GOOD)
    problems = [{"path": "caf\udce9.wav", "reason": "empty"}]
    comparison = replace(comparison, corpus=dict(comparison.corpus) | {"problems": problems})
    page, _, _ = write(comparison, tmp_path)
    assert r"caf\udce9.wav" in "".join(page.text)


def test_results_are_written_beside_the_report(make_comparison, good, tmp_path):
    write_results(tmp_path / "expected.csv", results_rows(make_comparison(GOOD)))
    assert (good[3] / "results.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_a_report_is_repeatable(make_comparison, good, tmp_path):
    write(make_comparison(GOOD), tmp_path)
    paths = [path for path in good[3].rglob("*") if path.is_file()]
    assert len(paths) == 5 + 5 * 3
    for path in paths:
        assert path.read_bytes() == (tmp_path / path.relative_to(good[3])).read_bytes()


def test_a_winning_pretext_is_said_to_win(make_comparison):
    comparison = make_comparison(GOOD)
    summary = summarise(comparison, resamples=100)
    headline = words.headline(comparison, summary)
    assert headline.startswith("Good beats the best baseline, mel statistics, with 10\u00a0% of the labels;")
    assert "Good beats the best baseline, supervised training, with 100\u00a0% of the labels" in headline
    saving = dict(words.findings(comparison, summary))["Saving of labels:"]
    assert "Good with 10\u00a0% of the labels (20–22 tracks) reaches what the best baseline" in saving
    assert "No sign of learning:" not in dict(words.findings(comparison, summary))


def test_a_pretext_that_loses_is_said_to_lose(make_comparison, tmp_path):
    comparison = make_comparison(BAD)
    summary = summarise(comparison, resamples=100)
    assert words.headline(comparison, summary) == (
        "Mel statistics beats the best pretext, Good, with 10\u00a0% and 100\u00a0% of the labels."
    )
    found = dict(words.findings(comparison, summary))
    assert found["10\u00a0% of the labels (20–22 tracks):"].startswith("Mel statistics wins with ")
    assert "a difference of −" in found["10\u00a0% of the labels (20–22 tracks):"]
    assert found["Saving of labels:"].startswith("No pretext does")
    assert found["No sign of learning:"] == "Other does not beat the random encoder at any fraction."
    page, _, markdown = write(comparison, tmp_path)
    assert "beats the best pretext" in "".join(page.text)
    assert "beats the best pretext" in markdown


def test_an_open_contest_is_said_to_be_open(make_comparison):
    comparison = make_comparison(GOOD)
    twins = [entry for entry in comparison.scores if entry.method in ("good", "random")]
    twins += [replace(twins[0], method="mel_statistics"), replace(twins[1], method="other")]
    comparison = replace(comparison, scores=tuple(twins))
    summary = summarise(comparison, resamples=50)
    found = dict(words.findings(comparison, summary))
    assert found["No sign of learning:"] == "Other does not beat the random encoder at any fraction."
    assert words.headline(comparison, summary) == (
        "Good, the best pretext, is not distinguishable from the best baseline, mel statistics, "
        "with 10\u00a0% and 100\u00a0% of the labels."
    )


@pytest.mark.parametrize(("seeds", "known"), [(1, False), (3, True)])
def test_seed_spread_is_shown_only_where_it_is_known(make_comparison, tmp_path, seeds, known):
    page, _, _ = write(make_comparison(GOOD, seeds=seeds), tmp_path)
    text = "".join(page.text)
    assert ("Good and Other rest on one seed only" in text) is not known
    assert ("not known with a single pre-training seed" in text) is not known
    assert bool(re.search(r"seeds 0\.\d{3}", text)) is known
    assert ("taken from 3 seeds" in text) is known


def test_facts_notes_and_problems_are_listed(make_comparison, tmp_path):
    comparison = make_comparison(GOOD, groups=np.arange(60) // 10)
    corpus = dict(comparison.corpus) | {
        "problems": [{"path": f"{i}.wav", "reason": "empty"} for i in range(30)],
        "excluded_tags": {"harp": "on every track"},
    }
    page, html, markdown = write(replace(comparison, corpus=corpus), tmp_path)
    text = "".join(page.text)
    assert "<summary>30 files were skipped</summary>" in html
    for expected in (
        "29.wav",
        "1 tag was not used",
        "on every track",
        "Stopped by the clock",
        "from 6 groups only",
    ):
        assert expected in text
        assert expected in markdown
    for expected in ("mvssl compare --steps 10", "versions.mvssl", '"steps": 10', "500", "20–22 tracks"):
        assert expected in text


def test_a_comparison_of_baselines_alone_and_of_one_fraction_is_reported(make_comparison, tmp_path):
    quality = {name: pair for name, pair in GOOD.items() if name not in ("good", "other")}
    page, _, _ = write(make_comparison(quality, tag_groups={}), tmp_path)
    assert "holds no pretext" in "".join(page.text)
    comparison = make_comparison({"good": (1.0, 1.0)})
    single = replace(
        comparison,
        cells=((1.0, 0),),
        scores=tuple(replace(e, scores=e.scores[:1]) for e in comparison.scores),
    )
    page, _, _ = write(single, tmp_path)
    assert "holds no baseline" in "".join(page.text)


def test_a_best_value_is_bold_and_a_tied_one_marked():
    table = Table((Cell(""), Cell("x")), ((Cell("a"), Cell("1", bold=True, mark="≈", below=("[0, 2]",))),))
    assert "| a | **1**≈ [0, 2] |" in to_markdown("t", "", [table])
    html = to_html("t", "", [table])
    assert '<td><strong>1</strong><span class="mark">≈</span><small>[0, 2]</small></td>' in html


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0.0, 1.0], [0.0, 1.0]),
        ([0.0, 0.0], [-0.05, 0.05]),
        ([0.0, 0.01, 0.5], [-0.045, 0.055, 0.5]),
        ([0.0, 0.0, 0.12], [-0.06, 0.04, 0.14]),
    ],
)
def test_labels_move_apart_around_their_middle(heights, expected):
    assert drawing.spread(heights, 0.1) == pytest.approx(expected)


def test_colours_stay_with_their_method(make_comparison):
    comparison = make_comparison(GOOD)
    roles = [drawing.colour_role(comparison, method) for method in comparison.methods]
    assert roles == ["series1", "series2", "random", "mel_statistics", "supervised"]
    light, dark = zip(*drawing.THEME.values(), strict=True)
    assert len(set(light)) == len(light)  # otherwise a themed figure would mix roles up
    assert len(set(dark)) == len(dark)
