import math

import pytest

from mvssl.compare.report import write_report
from mvssl.compare.summary import summarise

BASELINES = {"random": (0.2, 0.3), "supervised": (0.4, 1.0)}


def test_label_saving_is_found_where_a_pretext_does_with_fewer_labels(make_comparison):
    baselines = {"random": (0.2, 0.3), "mel_statistics": (0.8, 1.2), "supervised": (0.4, 1.0)}
    saving = summarise(make_comparison({"good": (2.0, 2.4)} | baselines), resamples=30).saving
    assert (saving.method, saving.fraction, saving.baseline, saving.baseline_fraction) == (
        "good",
        0.1,
        "mel_statistics",
        1.0,
    )
    assert saving.difference.value > 0
    assert summarise(make_comparison({"good": (1.0, 2.4)} | baselines), resamples=30).saving is None


def test_no_label_is_saved_when_both_fractions_are_the_same_tracks(make_comparison):
    quality = {"good": (2.0, 2.4), "mel_statistics": (0.8, 1.2)}
    comparison = make_comparison(quality, label_counts={0.1: (200, 200), 1.0: (200, 200)})
    assert summarise(comparison, resamples=10).saving is None


def test_labels_needed_are_where_the_curve_reaches_the_baseline(make_comparison):
    summary = summarise(make_comparison({"good": (0.6, 1.4)} | BASELINES), resamples=200)
    needed = summary.needed["good", 1.0]
    assert needed.baseline == "supervised"
    low, high = (summary.at("good", fraction).mean for fraction in (0.1, 1.0))
    part = (summary.at("supervised", 1.0).mean - low) / (high - low)
    assert needed.share == pytest.approx(0.105 ** (1 - part))  # 20 to 22 of 200 tracks
    assert 0.105 <= needed.low < needed.share < needed.high


def test_what_the_smallest_share_reaches_needs_no_more_and_what_none_reaches_needs_infinitely_many(
    make_comparison,
):
    summary = summarise(make_comparison({"good": (2.0, 2.4)} | BASELINES), resamples=30)
    assert summary.needed["good", 1.0].share == 0.105
    weak = summary.needed["random", 1.0]
    assert math.isinf(weak.share)
    assert math.isinf(weak.high)
    assert ("supervised", 1.0) not in summary.needed


def test_the_report_has_a_table_of_them(make_comparison, tmp_path):
    write_report(make_comparison({"good": (2.0, 2.4)} | BASELINES), tmp_path, resamples=30)
    text = (tmp_path / "report.md").read_text()
    table = text[text.index("Labels needed to equal") :].splitlines()
    row = next(line for line in table if line.startswith("| Good"))
    assert "≤\u00a010" in row
    row = next(line for line in table if line.startswith("| Random"))
    assert "over 100" in row
