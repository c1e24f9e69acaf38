import pytest

from mvssl.functional import nt_xent, swav
from mvssl.pretext import Pretext, PretextOutput, forward_views, pretexts, register_pretext
from mvssl.pretext.document import COSTS, DOCUMENT, document, examine, load_costs

ROOT = DOCUMENT.parents[2]
TWO = {"pretext": "simclr", "views": 2}
MEASURED = {
    "environment": {"gpu": None, "processor": "Abacus", "threads": 2, "versions": {"torch": "2.11.0"}},
    "settings": {"precision": "fp32", "rounds": 3},
    "rows": [
        {"level": level, **TWO, "batch": batch, "time_ratio": time, "memory_ratio": 1.1}
        for level, batch, time in (("encoder", 64, 7.0), ("encoder", 256, 1.034), ("projection", 256, 3.0))
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def text():
    return document(MEASURED)


def row_of(name, text):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| [`{name}`]")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_file_is_up_to_date():
    fresh = document(load_costs(ROOT / COSTS))
    assert DOCUMENT.read_text(encoding="utf-8") == fresh, "run: python -m mvssl.pretext.document"


def test_every_pretext_of_mvssl_says_how_its_paper_made_views():
    own = [
        entry for entry in map(pretexts.entry, pretexts.names()) if entry.target.__module__[:6] == "mvssl."
    ]
    silent = [entry.name for entry in own if not vars(entry.target).get("paper_views")]
    assert not silent, f"set the class attribute paper_views of {', '.join(silent)}"


def test_a_row_says_what_the_pretext_is(text):
    assert row_of("simclr", text) == [
        "[`simclr`](#simclr)", "`SimCLR`", "2", "`nt_xent`", "98,944", "0.003", "1.03 × time, 1.10 × memory",
    ]  # fmt: skip
    assert row_of("byol", text)[3:] == ["`byol`", "1,052,928 + 1,294,600", "0.001", "not measured"]
    assert "Abacus, 2 threads, torch 2.11.0" in " ".join(text.split())


def test_a_section_says_what_the_paper_did(text):
    section = text.split("## COLA")[1].split("##")[0]
    assert "[arXiv:2010.10915](https://arxiv.org/abs/2010.10915)" in section
    assert "segments of 1 s" in section
    assert "the chain `crops`" in section
    assert "`projection_dim=512`" in section
    assert "`paper`, `deezer2024`" in text.split("## VICReg")[1].split("- **Arg")[0]


def test_it_is_readable_as_it_stands(text):
    lines = text.splitlines()
    assert max(len(line) for line in lines if not line.startswith("|")) <= 110
    assert len({len(line) for line in lines if line.startswith("|")}) == 1


class Two(Pretext):
    """Adds up two equations, of which one calls another."""

    min_views = 3

    def forward(self, views):
        z = forward_views(self.encoder, views, self.min_views)
        return PretextOutput(nt_xent(z) + swav(z), {}, z, z)


def test_losses_are_found_by_looking_at_a_forward_pass():
    assert examine(Two).losses == ("nt_xent", "swav")
    assert (examine(Two).trained, examine(Two).following) == (0, 0)


@pytest.mark.usefixtures("registered")
def test_pretexts_of_other_packages_are_left_out():
    register_pretext("two")(Two)
    assert "## Two" not in document({})
