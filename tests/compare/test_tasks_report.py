"""Reports of tasks other than tagging, and the figures that only some reports have."""

import csv

import numpy as np
import pytest

from mvssl.compare import maps, matrices, words
from mvssl.compare.report import write_report
from mvssl.compare.results import results_rows
from mvssl.compare.sampling import MACRO
from mvssl.compare.summary import summarise
from mvssl.evaluation.metrics import KEYS

QUALITY = {
    "good": (2.0, 2.6),
    "good-finetuned": (1.9, 3.2),
    "random": (0.3, 0.5),
    "mel_statistics": (1.0, 1.4),
    "supervised": (0.4, 2.4),
}
GENRES = ("rock", "jazz", "folk", "metal")


@pytest.fixture(scope="module")
def genres(make_comparison):
    targets = np.eye(4, dtype=bool)[np.arange(60) % 4]
    return make_comparison(QUALITY, vocabulary=GENRES, targets=targets, tag_groups={}, task="classification")


def test_macro_accuracy_is_of_tracks_not_of_classes(make_comparison):
    labels = np.r_[np.zeros(40, int), np.arange(20) % 4]  # most tracks are rock
    targets = np.eye(4, dtype=bool)[labels]
    comparison = make_comparison(
        QUALITY, vocabulary=GENRES, targets=targets, tag_groups={}, task="classification"
    )
    summary = summarise(comparison, resamples=20)
    scores = comparison.scores[0].scores[2]
    share = (scores.argmax(axis=1) == labels).mean()
    recalls = [(scores.argmax(axis=1) == c)[labels == c].mean() for c in range(4)]
    assert share != pytest.approx(np.mean(recalls))
    assert summary.lead == "accuracy"
    assert summary.at("good", 1.0).mean == pytest.approx(share)
    assert summary.at("good", 1.0, scope=("tag", "jazz")).mean == pytest.approx(recalls[1])
    assert summary.at("good", 1.0).low < share < summary.at("good", 1.0).high
    macro = [r for r in results_rows(comparison) if r.metric == "accuracy" and r.tag == "macro"]
    assert next(r.value for r in macro if (r.method, r.fraction) == ("good", 1.0)) == pytest.approx(share)
    assert summary.chance[MACRO] == 0.25


def read(folder):
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text("utf-8")


def test_a_classification_is_reported(genres, tmp_path):
    write_report(genres, tmp_path, resamples=20)
    html, markdown = read(tmp_path)
    for name in ("The same by top-3 accuracy", "The same by macro F1", "What Good confuses"):
        assert name in html
    assert "Every class" in markdown
    assert "**Accuracy on the test split" in markdown
    assert "4 classes" in markdown
    assert "Accuracy is the share of tracks whose class has the highest score" in markdown
    assert " tag " not in markdown
    with (tmp_path / "figures" / "confusion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["count"]) for row in rows) == 60


def test_confusions_are_counted_and_the_worst_named(genres):
    counts = matrices.confusions(genres, "good")
    scores = genres.scores[0].scores[2]
    for row in range(4):
        for column in range(4):
            hits = genres.targets[:, row] & (scores.argmax(axis=1) == column)
            assert counts[row, column] == hits.sum()
    wrong = np.where(np.eye(4, dtype=bool), 0, counts)
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    assert f"{GENRES[row]} for {GENRES[column]} (" in matrices.most_confused(genres, "good")


def test_keys_and_numbers_are_reported(make_comparison, tmp_path):
    keys = np.eye(24, dtype=bool)[np.arange(60) % 24]
    comparison = make_comparison(QUALITY, vocabulary=KEYS, targets=keys, tag_groups={}, task="key")
    write_report(comparison, tmp_path / "key", resamples=10)
    html, _ = read(tmp_path / "key")
    assert "Weighted key score" in html
    assert 'id="confusion"' in html
    numbers = np.random.default_rng(0).normal(size=(60, 2))
    comparison = make_comparison(
        QUALITY, vocabulary=("valence", "arousal"), targets=numbers, tag_groups={}, task="regression"
    )
    summary = write_report(comparison, tmp_path / "numbers", resamples=10)
    html, markdown = read(tmp_path / "numbers")
    scores = comparison.scores[0].scores[2]
    missed = ((numbers - scores) ** 2).sum(axis=0) / ((numbers - numbers.mean(axis=0)) ** 2).sum(axis=0)
    assert summary.at("good", 1.0).mean == pytest.approx(np.mean(1 - missed))
    assert "Predicting the mean (chance)" in markdown
    assert 'id="confusion"' not in html


def test_fine_tuned_methods_are_a_group_of_their_own(genres, tmp_path):
    assert genres.pretexts == ("good",)
    assert genres.fine_tuned == ("good-finetuned",)
    assert genres.methods[:2] == ("good", "good-finetuned")
    assert genres.title("good-finetuned") == "Good, fine-tuned"
    summary = write_report(genres, tmp_path, resamples=50)
    found = dict(words.findings(genres, summary))["Frozen, fine-tuned or from scratch:"]
    gain = summary.contests[1.0]["good-finetuned", "supervised"].gain
    assert f"from scratch {summary.at('supervised', 1.0).mean:.3f}" in found
    assert f"+{gain.value:.3f}" in found
    assert "fine-tuned" not in words.headline(genres, summary)
    markdown = read(tmp_path)[1]
    rows = [line.split(" | ")[0] for line in markdown.splitlines() if line.startswith("| Good")]
    assert rows[:2] == ["| Good", "| Good, fine-tuned"]
    assert "Fine-tuning." in markdown


def test_robustness_and_maps_are_drawn_where_there_is_something(genres, make_comparison, tmp_path):
    rows = [{"damage": "noise", "level": level, "value": 0.5, "low": 0.4, "high": 0.6} for level in (30, 10)]
    embeddings = {name: np.random.default_rng(0).normal(size=(60, 8)) for name in ("good", "random")}
    comparison = type(genres)(
        **vars(genres) | {"robustness": {"good": rows, "random": rows}, "embeddings": embeddings}
    )
    write_report(comparison, tmp_path, resamples=10)
    html = read(tmp_path)[0]
    assert 'id="robustness"' in html
    assert 'id="embeddings"' in html
    with (tmp_path / "figures" / "embeddings.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 2 * 60
    assert {row["kind"] for row in points} == set(GENRES)


def test_maps_of_the_same_embeddings_are_the_same_and_keep_neighbours():
    rng = np.random.default_rng(0)
    clusters = np.repeat([0, 1, 2], 20)
    embeddings = np.eye(6)[clusters] * 20 + rng.normal(size=(60, 6))
    places = maps.plane(embeddings)
    np.testing.assert_array_equal(places, maps.plane(embeddings))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(60) * 1e9
    assert (clusters[distances.argmin(axis=1)] == clusters).all()


def test_tracks_are_coloured_by_tags_that_do_not_overlap(make_comparison):
    targets = np.zeros((60, 4), bool)
    targets[np.arange(60), np.arange(60) % 2] = True  # instruments: one each
    targets[:20, 2:] = True
    comparison = make_comparison(
        {"good": (1, 1)},
        vocabulary=("guitar", "piano", "fast", "loud"),
        targets=targets,
        tag_groups={"instrument": ("guitar", "piano"), "other": ("fast", "loud")},
    )
    what, kinds = maps.track_kinds(comparison)
    assert what == "instrument"
    assert set(kinds) == {"guitar", "piano"}


def test_sixteen_methods_have_sixteen_looks(make_comparison):
    from mvssl.compare.drawing import pen

    quality = {f"pretext {i}": (1.0, 1.0 + i / 20) for i in range(13)}
    comparison = make_comparison(
        quality | dict.fromkeys(("random", "mel_statistics", "supervised"), (0.2, 0.3))
    )
    looks = {(pen(comparison, m).colour, pen(comparison, m).line) for m in comparison.methods}
    assert len(looks) == 16
