import json
from dataclasses import replace

import numpy as np
import pytest

from mvssl.data import CorpusError, corpora, open_corpus
from mvssl.data.labels import KEYS, gather, key_number, read_label


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("C", "C major"),
        ("C major", "C major"),
        ("c minor", "C minor"),
        ("Bb minor", "A# minor"),
        ("B♭:min", "A# minor"),
        ("F# maj", "F# major"),
        ("Ebm", "D# minor"),
        ("Cb major", "B major"),
        ("B# minor", "C minor"),
        ("bb major", "A# major"),
        ("A-min", "A minor"),
    ],
)
def test_keys_are_read_as_people_write_them(name, key):
    assert KEYS[key_number(name)] == key


@pytest.mark.parametrize("name", ["H", "C dorian", "", "C##", 3, "major"])
def test_what_is_no_key_is_refused(name):
    with pytest.raises(ValueError, match="such as 'Bb minor'"):
        key_number(name)


def test_every_kind_becomes_columns():
    tags = gather("tags", [("b", "a"), (), ("b",)])
    assert (tags.task, tags.vocabulary) == ("tagging", ("a", "b"))
    np.testing.assert_array_equal(tags.targets, [[True, True], [False, False], [False, True]])
    classes = gather("genre", ["rock", "jazz", "rock"])
    assert (classes.task, classes.vocabulary) == ("classification", ("jazz", "rock"))
    np.testing.assert_array_equal(classes.targets.sum(axis=1), 1)
    keys = gather("key", ["A minor", "C major"])
    assert (keys.task, keys.vocabulary, keys.targets.shape) == ("key", KEYS, (2, 24))
    numbers = gather("mood", [{"a": 1.0, "b": 2.0}, {"b": 3.0, "a": 4.0}])
    assert (numbers.task, numbers.vocabulary) == ("regression", ("a", "b"))
    np.testing.assert_array_equal(numbers.targets, [[1, 2], [4, 3]])


@pytest.mark.parametrize(
    ("field", "value"),
    [("x", value) for value in (True, float("nan"), {}, {"a": "b"}, [1], "")]
    + [("tags", "a"), ("label", 1.5)],
)
def test_what_is_no_label_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        read_label(field, value)


def manifest(folder, audio, values, field="mood"):
    rows = [
        {"audio_path": str(audio / f"{number:05}.wav"), field: value}
        for number, value in enumerate(values)
        if value is not None
    ]
    path = folder / "songs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_field_behind_a_colon_holds_the_labels(music, tmp_path):
    path = manifest(tmp_path, music, [number / 10 for number in range(60)])
    corpus = open_corpus(f"{path}:mood")
    assert (corpus.name, corpus.task, corpus.vocabulary) == ("songs:mood", "regression", ("mood",))
    np.testing.assert_allclose(np.sort(corpus.targets[:, 0]), np.arange(60) / 10)
    assert corpus.fingerprint() != open_corpus(path).fingerprint()
    with pytest.raises(CorpusError, match="no line has 'tempo'"):
        open_corpus(f"{path}:tempo")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (True, "line 3: mood must be"),
        ("happy", "line 1: mood is a number on some tracks"),
        ({"valence": 1.0}, "line 3: its numbers are"),
    ],
)
def test_an_odd_line_is_named(odd, message, music, tmp_path):
    path = manifest(tmp_path, music, [0.5, 0.6, odd, 0.7])
    with pytest.raises(CorpusError, match=message):
        open_corpus(f"{path}:mood")


def test_a_factor_of_a_named_corpus_makes_labels(monkeypatch, music):
    opened = open_corpus(music)
    factors = {"kind": np.array(["a", "b"] * 30), "level": np.linspace(0, 1, 60)}
    monkeypatch.setattr(corpora, "_entries", {})
    corpora.register("tiny")(lambda progress=False: replace(opened, factors=factors))
    assert open_corpus("tiny:kind").task == "classification"
    assert open_corpus("tiny:level").vocabulary == ("level",)
    with pytest.raises(CorpusError, match="known are kind, level"):
        open_corpus("tiny:nothing")


def test_tracks_of_a_class_that_cannot_be_judged_stay_for_pre_training(music, tmp_path):
    paths = [f"{number:05}.wav" for number in range(60)]
    rows = [
        {"audio_path": str(music / path), "label": "once" if number == 0 else "ab"[number % 2],
         "split": ("train", "train", "valid", "test")[number % 4]}
        for number, path in enumerate(paths)
    ]  # fmt: skip
    for number, row in enumerate(rows[1:], 1):
        row["label"] = "ab"[number // 4 % 2]
    (tmp_path / "songs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(tmp_path / "songs.jsonl")
    assert len(corpus) == 60
    assert corpus.excluded_tags == {"once": "on no track of the test split"}
    judged = corpus.labelled()
    assert len(judged) == 59
    assert [problem.reason for problem in judged.problems] == ["its class is not usable"]
    assert judged.targets.any(axis=1).all()
