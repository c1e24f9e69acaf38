"""Comparisons with missing cells: what is there is shown, and what is missing is not talked away."""

from dataclasses import replace

import pytest

from mvssl.compare import words, write_report
from mvssl.compare.summary import summarise

QUALITY = {
    "good": (2.0, 2.2),
    "other": (1.9, 2.1),
    "random": (0.3, 0.5),
    "mel_statistics": (1.0, 1.4),
    "supervised": (0.4, 1.6),
}


@pytest.fixture
def whole(make_comparison):
    return make_comparison(QUALITY, seeds=2)


def lacking(comparison, *cells):
    """The comparison without some cells."""
    kept = tuple(entry for entry in comparison.scores if (entry.method, entry.seed) not in cells)
    return replace(comparison, scores=kept, missing=tuple((*cell, "running") for cell in cells))


def test_a_method_with_a_missing_seed_is_shown_with_its_number_of_seeds(whole):
    unfinished = lacking(whole, ("good", 1))
    assert whole.title("good") == "Good"
    assert unfinished.title("good") == "Good (1 of 2 seeds)"
    assert unfinished.title("other") == "Other"
    assert unfinished.judged(unfinished.methods) == ("other", "random", "mel_statistics", "supervised")


def test_nothing_is_said_of_a_method_with_a_missing_seed(whole):
    unfinished = lacking(whole, ("good", 1))
    summary = summarise(unfinished, resamples=50)
    for table in summary.contests.values():
        assert not any("good" in pair for pair in table)
    for fraction in unfinished.fractions:
        estimate = summary.at("good", fraction)
        assert not estimate.best
        assert not estimate.tied
        assert summary.at("other", fraction).best
    said = words.headline(unfinished, summary) + str(words.findings(unfinished, summary))
    assert "Good" not in said
    assert "Other beats the best baseline" in said
    assert said.startswith("Not finished: 1 of 9 cells (a method with a seed) is missing.")
    assert "good with seed 1 (running)" in words.cautions(unfinished)[0]


def test_a_baseline_with_a_missing_seed_is_never_the_best(whole):
    assert summarise(whole, resamples=20).at("good", 1.0).baseline == "supervised"
    unfinished = lacking(whole, ("supervised", 1))
    summary = summarise(unfinished, resamples=20)
    assert summary.at("good", 1.0).baseline == "mel_statistics"
    assert set(summary.at("good", 1.0).versus) == {"random", "mel_statistics"}
    assert "Supervised is not, or not with all seeds" in " ".join(words.cautions(unfinished))


@pytest.mark.parametrize(
    "cells",
    [
        [("good", 0), ("good", 1), ("other", 0)],
        [("random", 1), ("mel_statistics", 0), ("supervised", 0), ("supervised", 1)],
        [(method, seed) for method in QUALITY for seed in (0, 1) if (method, seed) != ("random", 0)][:-1],
    ],
)
def test_a_report_can_be_made_of_whatever_is_there(whole, cells, tmp_path):
    there = {(entry.method, entry.seed) for entry in whole.scores}
    unfinished = lacking(whole, *[cell for cell in cells if cell in there])
    write_report(unfinished, tmp_path, resamples=10)
    report = (tmp_path / "report.md").read_text()
    assert "Not finished" in report
    assert "Nothing to compare" in report or "beats the best baseline" in report


def test_a_finished_comparison_says_nothing_of_it(whole):
    summary = summarise(whole, resamples=10)
    assert "finished" not in words.headline(whole, summary) + " ".join(words.cautions(whole))
