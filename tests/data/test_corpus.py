import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mvssl.data import Corpus, CorpusError, Problem, corpora, open_corpus


def write_audio(path, seconds=1.0, sample_rate=8_000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * sample_rate)), sample_rate, **options)


def write_manifest(folder, rows, name="manifest.jsonl"):
    """Rows are objects, or strings that are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def make_tracks(folder, count, **fields):
    """Audio and manifest rows; a field may be a function of the number."""
    rows = []
    for number in range(count):
        write_audio(folder / f"{number:02d}.wav")
        row = {name: value(number) if callable(value) else value for name, value in fields.items()}
        rows.append({"audio_path": f"{number:02d}.wav", **row})
    return rows


def split_of(number):
    return ("train", "train", "valid", "test")[number % 4]


# Folders


def test_folder_is_searched_recursively_and_sorted(tmp_path):
    for name in ("b/2.WAV", "a.flac", "b/c/1.ogg", "b/.hidden.wav", "b/._2.wav"):
        write_audio(tmp_path / name, 1.5)
    (tmp_path / "notes.txt").write_text("no audio")
    corpus = open_corpus(tmp_path)
    assert corpus.paths.tolist() == ["a.flac", "b/2.WAV", "b/c/1.ogg"]
    assert corpus.path(1) == tmp_path / "b" / "2.WAV"
    assert corpus.seconds.tolist() == [1.5, 1.5, 1.5]
    assert corpus.name == tmp_path.name
    assert corpus.vocabulary == ()
    assert corpus.targets.shape == (3, 0)
    assert corpus.groups is None
    with pytest.raises(CorpusError, match="no labels"):
        corpus.labelled()


def test_sub_folders_are_labels(tmp_path, caplog):
    for number in range(10):
        write_audio(tmp_path / "rock" / f"{number}.wav")
        write_audio(tmp_path / "jazz" / "album" / f"{number}.wav")
    with caplog.at_level(logging.INFO):
        corpus = open_corpus(tmp_path)
    assert corpus.vocabulary == ("jazz", "rock")
    is_rock = np.array([path.startswith("rock") for path in corpus.paths])
    np.testing.assert_array_equal(corpus.targets, np.stack([~is_rock, is_rock], axis=1))
    assert "2 sub-folders (jazz, rock) are taken as classes" in caplog.text
    corpus.labelled()


@pytest.mark.parametrize("extra", ["root.wav", None])
def test_sub_folders_are_not_labels(tmp_path, extra):
    write_audio(tmp_path / "rock" / "a.wav")
    if extra:
        write_audio(tmp_path / "jazz" / "b.wav")
        write_audio(tmp_path / extra)
    assert open_corpus(tmp_path).vocabulary == ()


def test_manifest_in_a_folder_is_used(tmp_path):
    rows = make_tracks(tmp_path, 3)
    write_manifest(tmp_path, rows[:2])
    corpus = open_corpus(tmp_path)
    assert len(corpus) == 2
    assert corpus.fingerprint() == open_corpus(str(tmp_path / "manifest.jsonl")).fingerprint()


# Manifests


def test_manifest_with_everything(tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-elsewhere" / "z.wav"
    write_audio(outside)
    (tmp_path / "music").mkdir()
    write_audio(tmp_path / "music" / "inside.wav")
    rows = make_tracks(tmp_path, 8, split=split_of, group=lambda n: f"artist {n}", label="ignored: tags win")
    for number, row in enumerate(rows):
        row["tags"] = [["a"], ["b", "a"], ["b"], ["a"], [], ["a"], ["a", "b"], ["b"]][number]
        row["duration"] = 30.5
    rows.append({"audio_path": str(outside), "tags": ["b"], "split": "dev", "group": None, "mood": "sad"})
    rows.append({"audio_path": str(tmp_path / "music" / "inside.wav"), "tags": ["b"], "split": "val"})
    corpus = open_corpus(write_manifest(tmp_path, ["", *reversed(rows)], "mtat.jsonl"))

    assert corpus.name == "mtat"
    assert corpus.root == tmp_path
    names = [f"{n:02d}.wav" for n in range(8)]
    assert corpus.paths.tolist() == sorted([*names, outside.as_posix(), "music/inside.wav"])
    assert corpus.path(corpus.paths.tolist().index(outside.as_posix())) == outside
    at = {path: row for row, path in enumerate(corpus.paths.tolist())}
    assert corpus.vocabulary == ("a", "b")
    assert corpus.targets[[at[name] for name in names]].tolist() == [
        ["a" in row["tags"], "b" in row["tags"]] for row in rows[:8]
    ]
    assert corpus.splits[[at[name] for name in names]].tolist() == [split_of(n) for n in range(8)]
    assert corpus.splits[[at[outside.as_posix()], at["music/inside.wav"]]].tolist() == ["valid", "valid"]
    assert corpus.groups[at["03.wav"]] == "artist 3"
    assert corpus.groups[at["music/inside.wav"]] == ""
    # The stated duration is believed; where there is none, the header is read.
    assert corpus.seconds[at["00.wav"]] == 30.5
    assert corpus.seconds[at["music/inside.wav"]] == 1.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{audio_path: a.wav}", "not valid JSON"),
        ("[1, 2]", "expected a JSON object"),
        ({"tags": ["a"]}, "audio_path must be"),
        ({"audio_path": 3}, "audio_path must be"),
        ({"audio_path": "x.wav", "tags": "rock"}, "tags must be a list"),
        ({"audio_path": "x.wav", "tags": [1]}, "tags must be a list"),
        ({"audio_path": "x.wav", "label": ["rock"]}, "label must be"),
        (
            {"audio_path": "x.wav", "split": "training"},
            "unknown split 'training'; known are train, valid, validation",
        ),
        ({"audio_path": "x.wav", "split": ["train"]}, "unknown split"),
        ({"audio_path": "x.wav", "duration": "3:10"}, "duration must be"),
        ({"audio_path": "x.wav", "duration": 0}, "duration must be"),
        ({"audio_path": "x.wav", "duration": float("nan")}, "duration must be"),
        ({"audio_path": "x.wav", "group": ["a"]}, "group must be"),
        ({"audio_path": "x.wav", "stems": "bass.wav"}, "stems must be a list of paths, or an object of them"),
        ({"audio_path": "x.wav", "stems": [""]}, "stems must be"),
        ({"audio_path": "x.wav", "stems": {"bass": 3}}, "stems must be"),
    ],
)
def test_wrong_manifest_line(tmp_path, line, message):
    rows = make_tracks(tmp_path, 2)
    manifest = write_manifest(tmp_path, [*rows, line])
    with pytest.raises(CorpusError, match=message) as caught:
        open_corpus(manifest)
    assert str(caught.value).startswith(f"{manifest}, line 3: ")


def test_manifest_in_another_encoding(tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes('{"audio_path": "Björk.wav"}\n'.encode("latin-1"))
    with pytest.raises(CorpusError, match="line 1: not UTF-8"):
        open_corpus(tmp_path)


def test_the_same_file_twice(tmp_path):
    rows = make_tracks(tmp_path, 2)
    manifest = write_manifest(tmp_path, [*rows, {"audio_path": "./01.wav"}])
    with pytest.raises(CorpusError, match=r"01.wav stands in line 2 and in line 3"):
        open_corpus(manifest)


@pytest.mark.parametrize(
    ("key", "value", "message"), [("split", "train", "no split"), ("label", "a", "neither tags")]
)
def test_only_some_lines_have_it(tmp_path, key, value, message):
    rows = make_tracks(tmp_path, 4)
    rows[0][key] = rows[2][key] = value
    with pytest.raises(CorpusError, match=rf"2 of 4 lines have {message}.* \(first line 2\)"):
        open_corpus(write_manifest(tmp_path, rows))


def test_numbers_as_labels_and_groups(tmp_path):
    rows = make_tracks(tmp_path, 8, label=lambda n: n // 4, group=lambda n: n, split=split_of)
    corpus = open_corpus(write_manifest(tmp_path, rows))
    assert corpus.vocabulary == ("0", "1")
    assert corpus.groups.tolist() == list("01234567")


# Wrong sources


def test_wrong_sources(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "tracks.csv").write_text("a,b\n")
    for name, message in [
        ("missing", "there is no such folder or manifest"),
        ("empty", "no audio file in this folder"),
        ("empty.jsonl", "the manifest is empty"),
        ("tracks.csv", "neither a folder nor a manifest"),
    ]:
        with pytest.raises(CorpusError, match=message) as caught:
            open_corpus(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_wrong_check(tmp_path):
    write_audio(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="check='fast'"):
        open_corpus(tmp_path, check="fast")


# Bad files among good ones


def test_bad_files_are_counted_and_the_rest_is_used(tmp_path, caplog):
    rows = make_tracks(tmp_path, 6, label=lambda n: "ab"[n % 2])
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello " * 100)
    write_audio(tmp_path / "silent.wav", 0)
    write_audio(tmp_path / "short.wav", 0.25)
    bad = ["gone.wav", "empty.wav", "text.wav", "silent.wav", "short.wav"]
    rows += [{"audio_path": name, "label": "a"} for name in bad]
    corpus = open_corpus(write_manifest(tmp_path, rows), min_seconds=0.5)
    assert corpus.paths.tolist() == [f"{n:02d}.wav" for n in range(6)]
    assert {problem.path: problem.reason for problem in corpus.problems} == {
        "gone.wav": "there is no such file",
        "empty.wav": "is empty (0 bytes)",
        "text.wav": "is not audio in a format that can be decoded (WAV, FLAC, OGG or MP3)",
        "silent.wav": "has no samples",
        "short.wav": "is 0.25 s long, shorter than the 0.5 s that are needed",
    }
    assert "left out 5 of 11 files" in caplog.text


def test_missing_files_are_found_even_when_the_manifest_says_how_long_they_are(tmp_path):
    rows = [*make_tracks(tmp_path, 2, duration=9.0), {"audio_path": "gone.wav", "duration": 9.0}]
    assert open_corpus(write_manifest(tmp_path, rows)).problems == (
        Problem("gone.wav", "there is no such file"),
    )


def test_full_check_finds_what_headers_hide(tmp_path, capsys):
    rows = make_tracks(tmp_path, 3, duration=9.0)
    spoilt = np.zeros(8_000)
    spoilt[7_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", spoilt, 8_000, subtype="FLOAT")
    write_audio(tmp_path / "cut.flac")
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) - 8])
    rows += [{"audio_path": "nan.wav"}, {"audio_path": "cut.flac"}]
    manifest = write_manifest(tmp_path, rows)
    assert len(open_corpus(manifest)) == 5
    corpus = open_corpus(manifest, check="full", progress=True)
    assert corpus.paths.tolist() == ["00.wav", "01.wav", "02.wav"]
    assert corpus.seconds.tolist() == [1.0, 1.0, 1.0]  # the manifest was wrong
    reasons = {problem.path: problem.reason for problem in corpus.problems}
    assert reasons["nan.wav"] == "holds NaN or infinite samples"
    assert "cut short" in reasons["cut.flac"]
    assert "Checking audio: 100%" in capsys.readouterr().err


def test_only_bad_files(tmp_path):
    rows = [{"audio_path": f"{n}.wav"} for n in range(5)]
    with pytest.raises(
        CorpusError, match=r"none of its 5 files .*0.wav: there is no such file; .*and 2 more"
    ):
        open_corpus(write_manifest(tmp_path, rows))


# Splits


def test_random_splits_by_group_survive_bad_files_and_the_order_of_lines(tmp_path):
    rows = make_tracks(tmp_path, 40, group=lambda n: f"artist {n // 2}")
    corpus = open_corpus(write_manifest(tmp_path, rows))
    assert [len(corpus.indices(split)) for split in ("train", "valid", "test")] == [28, 4, 8]
    for split in ("train", "valid", "test"):
        others = corpus.groups[corpus.splits != split]
        assert not set(corpus.groups[corpus.indices(split)]) & set(others)

    sides = dict(zip(corpus.paths.tolist(), corpus.splits.tolist(), strict=True))
    (tmp_path / "07.wav").unlink()
    again = open_corpus(write_manifest(tmp_path, reversed(rows)))
    assert len(again) == 39
    assert all(sides[path] == split for path, split in zip(again.paths, again.splits, strict=True))

    other = open_corpus(tmp_path, seed=1)
    assert any(sides[path] != split for path, split in zip(other.paths, other.splits, strict=True))


def test_given_splits_that_leak(tmp_path):
    rows = make_tracks(tmp_path, 4, split=split_of, group=lambda n: f"artist {n // 3}")
    with pytest.warns(UserWarning, match="'artist 0' \\(train and valid\\)"):
        open_corpus(write_manifest(tmp_path, rows))


# Labels


def test_unusable_tags_are_named(tmp_path):
    tags = [
        ["a", "all"],
        ["b", "all"],
        ["all", "v"],
        ["a", "b", "all", "t"],
        ["all"],
        ["b", "all"],
        ["all"],
        ["all"],
    ]
    rows = make_tracks(tmp_path, 8, tags=lambda n: tags[n], split=split_of)
    corpus = open_corpus(write_manifest(tmp_path, rows))
    assert corpus.vocabulary == ("a", "b")
    assert corpus.targets.shape == (8, 2)
    assert corpus.excluded_tags == {
        "all": "on every track",
        "t": "only in the test split",
        "v": "only in the validation split",
    }
    corpus.labelled()


def test_tag_that_a_bad_file_took_away(tmp_path):
    rows = make_tracks(tmp_path, 8, label=lambda n: "ab"[n // 4], split=split_of)
    rows.append({"audio_path": "gone.wav", "label": "c", "split": "train"})
    assert open_corpus(write_manifest(tmp_path, rows)).excluded_tags == {"c": "on no usable track"}


def test_one_class_only(tmp_path):
    corpus = open_corpus(write_manifest(tmp_path, make_tracks(tmp_path, 8, label="rock")))
    assert len(corpus) == 8  # good enough for pre-training
    with pytest.raises(CorpusError, match="no usable tag \\('rock' is on every track\\)"):
        corpus.labelled()


@pytest.mark.parametrize("missing", ["train", "valid", "test"])
def test_empty_split(tmp_path, missing):
    others = [split for split in ("train", "valid", "test") if split != missing]
    rows = make_tracks(tmp_path, 8, label=lambda n: "ab"[n // 4], split=lambda n: others[n % 2])
    with pytest.raises(CorpusError, match=f"the {missing} split is empty"):
        open_corpus(write_manifest(tmp_path, rows)).labelled()


def test_tag_groups_beside_the_manifest(tmp_path):
    rows = make_tracks(tmp_path, 8, tags=lambda n: [["guitar"], ["piano"]][n // 4] + ["all"], split=split_of)
    groups = {"instrument": ["piano", "guitar"], "other": ["all"]}
    (tmp_path / "tag_groups.json").write_text(json.dumps(groups))
    manifest = write_manifest(tmp_path, rows)
    assert open_corpus(manifest).tag_groups == {"instrument": ("piano", "guitar")}

    (tmp_path / "tag_groups.json").write_text('{"instrument": ["pinao", "guitar"]}')
    with pytest.warns(UserWarning, match="no track has the tags pinao"):
        assert open_corpus(manifest).tag_groups == {"instrument": ("guitar",)}

    (tmp_path / "tag_groups.json").write_text('["piano"]')
    with pytest.raises(CorpusError, match="must be a JSON object"):
        open_corpus(manifest)


# The Corpus itself


def small_corpus(**changes):
    corpus = Corpus(
        name="small",
        root=Path("/nowhere"),
        paths=np.array(["a.wav", "b.wav", "c.wav"]),
        seconds=np.array([1.0, 2.0, 3.0]),
        splits=np.array(["train", "valid", "test"]),
        vocabulary=("x", "y"),
        targets=np.array([[True, False], [False, True], [True, True]]),
    )
    return replace(corpus, **changes)


def test_indices():
    corpus = small_corpus()
    assert corpus.indices("valid").tolist() == [1]
    assert corpus.indices(None).tolist() == [0, 1, 2]
    assert corpus.indices("test").dtype == np.int64
    with pytest.raises(CorpusError, match="unknown split 'dev'"):
        corpus.indices("dev")


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": np.ones(2)},
        {"splits": np.array(["train", "valid", "dev"])},
        {"targets": np.zeros((3, 1), bool)},
        {"groups": np.array(["g"])},
        {"factors": {"tempo": np.ones(4)}},
    ],
)
def test_columns_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small_corpus(**wrong)


def test_fingerprint_is_of_the_content():
    corpus = small_corpus()
    order = [2, 0, 1]
    reordered = small_corpus(
        root=Path("/elsewhere"),
        paths=corpus.paths[order],
        seconds=corpus.seconds[order],
        splits=corpus.splits[order],
        targets=corpus.targets[order],
    )
    assert reordered.fingerprint() == corpus.fingerprint()
    changes = [
        {"paths": np.array(["a.wav", "b.wav", "d.wav"])},
        {"seconds": np.array([1.0, 2.0, 3.5])},
        {"splits": np.array(["train", "test", "test"])},
        {"vocabulary": ("x", "z")},
        {"targets": ~corpus.targets},
    ]
    prints = {small_corpus(**change).fingerprint() for change in changes}
    assert len(prints | {corpus.fingerprint()}) == 6


def test_a_corpus_and_a_registered_name_are_sources(tmp_path, monkeypatch):
    for number in range(4):
        write_audio(tmp_path / f"{number}.wav", 1.0 + number)
    corpus = small_corpus(
        root=tmp_path,
        paths=np.array(["0.wav", "2.wav", "gone.wav"]),
        seconds=np.array([1.0, 3.0, 3.0]),
        factors={"tempo": np.array([60, 90, 120])},
    )
    assert open_corpus(corpus, min_seconds=99) is corpus

    monkeypatch.setattr(corpora, "_entries", {})
    asked = []

    @corpora.register("small")
    def make(progress=False):
        asked.append(progress)
        return corpus

    opened = open_corpus("small", min_seconds=2.0, progress=True)
    assert asked == [True]
    assert opened.paths.tolist() == ["2.wav"]
    assert opened.factors["tempo"].tolist() == [90]
    assert [problem.path for problem in opened.problems] == ["0.wav", "gone.wav"]


def test_a_corpus_prints_as_one_line(tmp_path):
    manifest = write_manifest(tmp_path, make_tracks(tmp_path, 8, label=lambda n: "ab"[n % 2], split=split_of))
    corpus = open_corpus(manifest)
    assert repr(corpus) == (
        f"Corpus({corpus.name!r}: 8 tracks (4 train, 2 valid, 2 test), 0.0 h, "
        f"{len(corpus.vocabulary)} tags, 0 files left out)"
    )


# Groups


@pytest.mark.filterwarnings("ignore:.*groups are in more than one split")
def test_groups_have_numbers(tmp_path):
    rows = make_tracks(tmp_path, 8, group=lambda n: None if n % 3 == 0 else f"artist {n % 3}", split=split_of)
    corpus = open_corpus(write_manifest(tmp_path, rows))
    numbers = corpus.group_numbers()
    assert numbers.dtype == np.int64
    for number, name in zip(numbers, corpus.groups, strict=True):
        assert (number == -1) == (name == "")
        assert ((numbers == number) == (corpus.groups == name)).all()
    corpus.require_groups()


@pytest.mark.filterwarnings("ignore:.*groups are in more than one split")
def test_groups_that_no_two_training_tracks_share_are_none(tmp_path):
    rows = make_tracks(tmp_path, 8, group=lambda n: n, split=split_of)
    with pytest.raises(CorpusError, match="no two training tracks have the same group; give 'group'"):
        open_corpus(write_manifest(tmp_path, rows)).require_groups()
    for row in rows:
        row["group"] = "one artist" if row["split"] != "train" else None
    with pytest.raises(CorpusError, match="use a pretext that needs no groups"):
        open_corpus(write_manifest(tmp_path, rows)).require_groups()
    for row in rows:
        del row["group"]
    corpus = open_corpus(write_manifest(tmp_path, rows))
    assert corpus.group_numbers() is None
    with pytest.raises(CorpusError, match="no two training tracks"):
        corpus.require_groups()


# Stems


def test_stems_are_a_list_or_named(tmp_path):
    stems = [["b/0.wav", "./c//0.wav"], {"bass": "b/1.wav"}, None, [], str(tmp_path / "b" / "4.wav")]
    rows = make_tracks(tmp_path, 5, stems=lambda n: [stems[n]] if n == 4 else stems[n])
    corpus = open_corpus(write_manifest(tmp_path, rows))
    assert [corpus.stems_of(row) for row in range(5)] == [
        ["b/0.wav", "c/0.wav"], ["b/1.wav"], [], [], ["b/4.wav"],
    ]  # fmt: skip
    assert corpus.stems.shape == (5, 2)
    some = corpus.take(np.array([4, 2]))
    assert [some.stems_of(row) for row in (0, 1)] == [["b/4.wav"], []]
    assert open_corpus(write_manifest(tmp_path, make_tracks(tmp_path, 3, stems=[]))).stems is None
    with pytest.raises(ValueError, match="stems has 1 rows for 5 paths"):
        replace(corpus, stems=corpus.stems[:1])


def test_a_full_check_covers_stems(tmp_path):
    rows = make_tracks(tmp_path, 3, stems=lambda n: [f"stem{n}.wav"])
    write_audio(tmp_path / "stem0.wav")
    (tmp_path / "stem1.wav").write_bytes(b"not audio")
    manifest = write_manifest(tmp_path, rows)
    assert len(open_corpus(manifest)) == 3
    corpus = open_corpus(manifest, check="full")
    assert corpus.paths.tolist() == ["00.wav"]
    assert [problem.path for problem in corpus.problems] == ["01.wav", "02.wav"]
    assert corpus.problems[0].reason.startswith(f"its stem {tmp_path / 'stem1.wav'}: is not audio")
    assert corpus.problems[1].reason == f"its stem {tmp_path / 'stem2.wav'}: there is no such file"
