import csv
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from mvssl.cli import main
from mvssl.data import open_corpus, synthetic
from mvssl.data.reading import AudioReader
from mvssl.encoders import save_encoder
from mvssl.evaluation import (
    causes_kept,
    extract_embeddings,
    geometry,
    inspect_encoder,
    layer_probes,
    retrieval,
    robustness,
)
from mvssl.evaluation.robustness import standard_damages

CROP = {"seconds": 1.0, "sample_rate": 16_000}


@pytest.fixture(autouse=True)
def mild(monkeypatch):
    """One damage that takes no time."""
    module = import_module("mvssl.evaluation.robustness")
    monkeypatch.setattr(module, "standard_damages", lambda rate: standard_damages(rate)[2:3])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVSSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield synthetic(tracks=120, seconds=2.0, seed=5)


def test_every_part_is_what_it_is_alone(encoder, corpus, tmp_path):
    found = inspect_encoder(encoder, corpus, cache=tmp_path)
    assert list(found.parts) == ["robustness", "retrieval", "geometry", "layers", "causes"]
    assert not found.left_out
    embeddings = extract_embeddings(encoder, corpus, **CROP, progress=False)
    assert found.parts["robustness"].values == robustness(encoder, corpus).values
    assert found.parts["retrieval"] == retrieval(embeddings, corpus)
    assert found.parts["geometry"] == geometry(embeddings, corpus)
    assert found.parts["layers"].scores == layer_probes(encoder, corpus).scores
    assert found.parts["causes"].kept == causes_kept(encoder, corpus, **CROP)


def test_clean_tracks_are_read_once_for_all_but_the_layers(encoder, corpus, tmp_path, monkeypatch):
    read = []
    opened = AudioReader.__init__
    monkeypatch.setattr(AudioReader, "__init__", lambda self, path: read.append(path) or opened(self, path))
    inspect_encoder(encoder, corpus, cache=tmp_path)
    assert len(read) == 2 * len(corpus) + len(corpus.indices("test"))


def test_the_command_writes_a_row_per_value(encoder, music, tmp_path, capsys):
    save_encoder(encoder, tmp_path / "run")
    line = ["inspect", str(tmp_path / "run"), "--task", str(music)]
    main([*line, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "inspection.txt").read_text() == printed
    assert "causes left out: " in printed
    with (tmp_path / "out" / "inspection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == {"robustness", "retrieval", "geometry", "layers"}
    assert all(row["value"] and np.isfinite(float(row["value"])) for row in rows)
    keys = [(row["part"], row["name"], row["level"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    kept = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert [{name: str(value) for name, value in row.items()} for row in kept["rows"]] == rows
    assert kept["source"] == str(tmp_path / "run")
    corpus = open_corpus(music)
    assert kept["fingerprint"] == corpus.fingerprint()
    assert "names no causes" in kept["left_out"]["causes"]
    clean = robustness(encoder, corpus).clean
    assert float(rows[0]["value"]) == clean.value


def test_what_does_not_apply_is_left_out_and_said(encoder, corpus):
    short = replace(corpus, factors={})
    encoder.seconds = 2.0
    found = inspect_encoder(encoder, short, parts=("causes", "retrieval", "geometry"))
    assert list(found.parts) == ["geometry"]
    assert "no test track has two crops" in found.left_out["retrieval"]
    assert "names no causes" in str(found)
    assert "alignment" not in found.parts["geometry"].values


def test_bad_input_is_named(encoder, music, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"parts=robustnes: choose from robustness, retrieval"):
        inspect_encoder(encoder, music, parts=("robustnes",))
    with pytest.raises(ValueError, match="does not say its seconds"):
        inspect_encoder(torch.nn.Identity(), music)
    save_encoder(encoder, tmp_path / "run")
    cases = {
        "no encoder": [str(tmp_path), "--task", str(music)],
        "there is no such folder": [str(tmp_path / "run"), "--task", "nowhere"],
        "choose from robustness": [str(tmp_path / "run"), "--task", str(music), "--parts", "all"],
    }
    for message, arguments in cases.items():
        with pytest.raises(SystemExit):
            main(["inspect", *arguments, "--out", str(tmp_path / "out")])
        assert message in capsys.readouterr().err
