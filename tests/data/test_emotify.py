"""Real music end to end: a few tracks of Emotify, from MP3 to a report."""

import csv
import json

import pytest

from mvssl.cli import main
from mvssl.data import open_corpus


def test_its_manifest_opens_with_splits_by_artist(emotify):
    corpus = open_corpus(emotify / "manifest.jsonl", min_seconds=3.0)
    assert len(corpus) == 400
    assert len(corpus.vocabulary) == 13
    assert not corpus.problems
    sides = {}
    for group, split in zip(corpus.groups.tolist(), corpus.splits.tolist(), strict=True):
        sides.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())


@pytest.mark.slow
def test_a_small_comparison_runs_on_it(emotify, tmp_path):
    lines = [json.loads(line) for line in (emotify / "manifest.jsonl").read_text().splitlines()]
    some = [line | {"audio_path": str(emotify / line["audio_path"])} for line in lines[::8]]
    manifest = tmp_path / "some.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in some))
    out = tmp_path / "out"
    main(
        [
            "compare", "--data", str(manifest), "--pretexts", "simclr", "--steps", "3", "--batch_size", "8",
            "--supervised_crops", "64", "--fractions", "1.0", "--out", str(out),
        ]
    )  # fmt: skip
    with (out / "results.csv").open(newline="") as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    assert methods == {"simclr", "random", "mel_statistics", "supervised"}
