import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mvssl.compare.results import results_rows, write_results
from mvssl.compare.sampling import MACRO
from mvssl.compare.summary import summarise
from mvssl.evaluation import resample_weights

MIXED = {
    "good": (2.0, 2.2),
    "other": (1.0, 2.15),
    "random": (0.3, 0.5),
    "mel_statistics": (1.2, 1.4),
    "supervised": (0.4, 2.0),
}
MEASURES = {"ap": average_precision_score, "roc_auc": roc_auc_score}


def naive(comparison, method, fraction, metric, tags, weights=None):
    """(seeds, repeats) of the mean over tags, by scikit-learn."""
    table = []
    for entry in comparison.scores:
        if entry.method == method:
            cells = [entry.scores[i] for i, cell in enumerate(comparison.cells) if cell[0] == fraction]
            table.append(
                [
                    np.mean(
                        [
                            MEASURES[metric](comparison.targets[:, t], cell[:, t], sample_weight=weights)
                            for t in tags
                        ]
                    )
                    for cell in cells
                ]
            )
    return np.array(table)


@pytest.mark.parametrize("metric", ["ap", "roc_auc"])
@pytest.mark.parametrize(
    ("scope", "tags"), [(MACRO, (0, 1, 2)), (("group", "instrument"), (0, 1)), (("tag", "fast"), (2,))]
)
def test_means_and_spreads_equal_a_naive_recomputation(make_comparison, metric, scope, tags):
    comparison = make_comparison(MIXED, seeds=3)
    summary = summarise(comparison, resamples=20)
    for method in comparison.methods:
        for fraction in comparison.fractions:
            table = naive(comparison, method, fraction, metric, tags)
            estimate = summary.at(method, fraction, metric, scope)
            assert estimate.mean == pytest.approx(table.mean())
            if fraction < 1:
                assert estimate.draw_sd == pytest.approx(
                    math.sqrt(np.mean([np.var(row, ddof=1) for row in table]))
                )
            else:
                assert estimate.draw_sd is None
            if method == "mel_statistics":
                assert estimate.seed_sd is None
            else:
                assert estimate.seed_sd == pytest.approx(np.std(table.mean(axis=1), ddof=1))


@pytest.mark.parametrize("groups", [None, np.arange(60) // 3])
def test_intervals_come_from_the_same_resamples_for_every_method(make_comparison, groups):
    comparison = make_comparison(MIXED, seeds=2, groups=groups)
    summary = summarise(comparison, resamples=25)
    weights = resample_weights(60, 25, 0, groups)
    resampled = {
        method: np.array([naive(comparison, method, 0.1, "ap", (0, 1, 2), row).mean() for row in weights])
        for method in ("good", "mel_statistics")
    }

    def around(value, sample):
        return np.quantile(sample, (0.025, 0.975)) - sample.mean() + value

    good, mel = summary.at("good", 0.1), summary.at("mel_statistics", 0.1)
    assert (good.low, good.high) == pytest.approx(tuple(around(good.mean, resampled["good"])))
    expected = around(good.mean - mel.mean, resampled["good"] - resampled["mel_statistics"])
    difference = good.versus["mel_statistics"]
    assert (difference.low, difference.high) == pytest.approx(tuple(expected))
    assert difference.value == pytest.approx(good.mean - mel.mean)
    assert difference.high - difference.low < good.high - good.low  # what pairing is for


def test_best_tied_and_the_best_baseline(make_comparison):
    comparison = make_comparison(MIXED)
    summary = summarise(comparison, resamples=200)
    few = {method: summary.at(method, 0.1) for method in comparison.methods}
    assert [method for method, estimate in few.items() if estimate.best] == ["good"]
    assert not any(estimate.tied for estimate in few.values())
    assert {estimate.baseline for estimate in few.values()} == {"mel_statistics"}
    assert few["good"].gain.above
    assert few["random"].gain.below
    assert few["mel_statistics"].gain is None
    many = {method: summary.at(method, 1.0) for method in comparison.methods}
    assert many["good"].best
    assert many["other"].tied
    assert {estimate.baseline for estimate in many.values()} == {"supervised"}
    assert not many["mel_statistics"].tied


def test_equal_scores_are_tied_and_one_of_them_is_best(make_comparison):
    comparison = make_comparison(MIXED)
    twin = replace(comparison.scores[0], method="other")
    comparison = replace(comparison, scores=(comparison.scores[0], twin, *comparison.scores[2:]))
    summary = summarise(comparison, resamples=30)
    assert summary.at("good", 0.1).best
    assert summary.at("other", 0.1).tied
    assert not summary.at("other", 0.1).best


def test_undefined_tags_are_listed_and_left_out_of_the_mean(make_comparison):
    targets = np.random.default_rng(0).random((60, 3)) < 0.3
    targets[:, 1] = False
    targets[:, 2] = True
    comparison = make_comparison(MIXED, targets=targets)
    summary = summarise(comparison, resamples=20)
    assert summary.undefined == {"ap": ("piano",), "roc_auc": ("piano", "fast")}
    assert summary.at("good", 0.1, "roc_auc").mean == pytest.approx(
        naive(comparison, "good", 0.1, "roc_auc", (0,)).mean()
    )
    assert math.isnan(summary.at("good", 0.1, "ap", ("tag", "piano")).mean)
    assert not any(summary.at(m, 0.1, "ap", ("tag", "piano")).best for m in comparison.methods)
    assert not any(summary.at(m, 0.1, "ap", ("tag", "piano")).tied for m in comparison.methods)
    assert summary.at("good", 0.1).mean == pytest.approx(naive(comparison, "good", 0.1, "ap", (0, 2)).mean())
    assert summary.positives == {"guitar": targets[:, 0].sum(), "piano": 0, "fast": 60}
    assert summary.chance["tag", "fast"] == pytest.approx(1)


def test_results_have_one_row_per_value(make_comparison):
    comparison = make_comparison(MIXED, seeds=2)
    rows = results_rows(comparison)
    runs = 4 * 2 + 1
    assert len(rows) == runs * 3 * 2 * (3 + 1)
    assert len({row[:-1] for row in rows}) == len(rows)
    row = next(r for r in rows if r[:8] == ("good", 1, "tiny", "linear", 0.1, 1, "piano", "ap"))
    assert row.value == pytest.approx(
        average_precision_score(comparison.targets[:, 1], comparison.scores[1].scores[1, :, 1])
    )
    tags = [r.value for r in rows if r[:6] == row[:6] and r.metric == "ap" and r.tag != "macro"]
    mean = next(r.value for r in rows if r[:6] == row[:6] and r[6:8] == ("macro", "ap"))
    assert mean == pytest.approx(np.mean(tags))


def test_results_survive_the_file_exactly(make_comparison, tmp_path):
    rows = results_rows(make_comparison(MIXED, vocabulary=("a,b", 'say "hi"', "ü")))
    write_results(tmp_path / "one.csv", rows)
    write_results(tmp_path / "two.csv", rows[::-1])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with (tmp_path / "one.csv").open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    assert head == ["method", "seed", "encoder", "probe", "fraction", "repeat", "tag", "metric", "value"]
    read = [(m, int(s), e, p, float(f), int(r), t, k, float(v)) for m, s, e, p, f, r, t, k, v in lines]
    assert read == [tuple(row) for row in rows]


def test_scores_that_do_not_fit_are_refused(make_comparison):
    comparison = make_comparison(MIXED)
    first = comparison.scores[0]
    with pytest.raises(ValueError, match=r"'good'.*shape"):
        replace(comparison, scores=(replace(first, scores=first.scores[:2]),))
    with pytest.raises(ValueError, match=r"'good'.*not finite"):
        replace(comparison, scores=(replace(first, scores=first.scores * np.nan),))
    with pytest.raises(ValueError, match="twice"):
        replace(comparison, scores=(first, first))
    with pytest.raises(ValueError, match="step per value"):
        replace(comparison, curves={("good", 0): {"step": [1], "loss": [1.0, 2.0]}})
