import json
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from mvssl.data import CorpusError, index_manifest, loader, open_corpus
from mvssl.data.columns import Coded, Strings, read_column, write_column
from mvssl.data.saving import INDEX
from mvssl.views import Crops, Group, ViewChain

RATE = 8_000


def write(folder, count, **fields):
    """Tracks in an order that is not that of their names; fields are functions of the number."""
    rng = np.random.default_rng(0)
    rows = []
    for number in rng.permutation(count).tolist():
        path = folder / f"{number % 3}" / f"ü{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.integers(-(2**15), 2**15, RATE // 2 + 100 * number, np.int16), RATE)
        row = {"audio_path": path.relative_to(folder).as_posix()}
        row |= {name: value(number) for name, value in fields.items()}
        rows.append({name: value for name, value in row.items() if value is not None})
    manifest = folder / "songs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return manifest


def same(corpus, other):
    assert corpus.fingerprint() == other.fingerprint()
    assert (corpus.name, corpus.task, corpus.vocabulary) == (other.name, other.task, other.vocabulary)
    assert corpus.paths.tolist() == other.paths.tolist()
    assert corpus.root.resolve() == other.root.resolve()
    assert dict(corpus.excluded_tags) == dict(other.excluded_tags)
    assert dict(corpus.tag_groups) == dict(other.tag_groups)
    assert corpus.problems == other.problems
    assert (corpus.groups is None) == (other.groups is None)
    if other.groups is not None:
        assert corpus.groups.tolist() == other.groups.tolist()
        np.testing.assert_array_equal(corpus.group_numbers(), other.group_numbers())
    for row in range(len(other)):
        assert corpus.stems_of(row) == other.stems_of(row)
    return True


KINDS = {
    "nothing": {},
    "tags": {"tags": lambda n: ["a"] * (n % 2) + ["b"] * (n % 3 == 0) + ["rare"] * (n == 0)},
    "classes": {"label": lambda n: f"class {n % 2}"},
    "splits": {"split": lambda n: ("train", "val", "test")[n % 3], "tags": lambda n: ["a"] * (n % 2)},
    "groups": {"group": lambda n: None if n % 5 == 0 else f"artist {n // 4}"},
    "all grouped": {"group": lambda n: n // 3},
    "durations": {"duration": lambda n: 0.5 + n / 80 if n % 2 else None},
    "stems": {"stems": lambda n: [f"{n}_{part}.wav" for part in range(n % 3)]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_says_what_the_manifest_says(tmp_path, kind):
    manifest = write(tmp_path, 24, **KINDS[kind])
    (tmp_path / "tag_groups.json").write_text('{"first": ["a"]}')
    if kind not in ("tags", "splits"):
        (tmp_path / "tag_groups.json").unlink()
    plain = open_corpus(manifest)
    assert isinstance(plain.paths, np.ndarray)
    index = index_manifest(manifest)
    indexed = open_corpus(manifest)
    assert isinstance(indexed.paths, Strings)
    assert index == tmp_path / "songs.index"
    assert sorted(path.name for path in index.iterdir() if path.name != ".lock") == [
        "columns-0", "index.json", "skipped.csv",
    ]  # fmt: skip
    assert same(indexed, plain)


@pytest.mark.parametrize("field", ["mood", "key"])
def test_labels_of_another_field(tmp_path, field):
    values = {"mood": lambda n: {"valence": n / 10, "arousal": -n}, "key": lambda n: ("C major", "Am")[n % 2]}
    manifest = write(tmp_path, 24, **{field: values[field]})
    plain = open_corpus(f"{manifest}:{field}")
    index_manifest(manifest, field)
    assert same(open_corpus(f"{manifest}:{field}"), plain)
    assert isinstance(open_corpus(manifest).paths, np.ndarray)  # the index has other labels


def test_files_that_cannot_be_used(tmp_path):
    manifest = write(tmp_path, 24, duration=lambda n: 0.5 if n % 2 else None)
    names = [json.loads(line)["audio_path"] for line in manifest.read_text().splitlines()]
    for name, spoil in zip(names[3:7], (b"", b"no sound", None, b"RIFF"), strict=True):
        (tmp_path / name).unlink()
        if spoil is not None:
            (tmp_path / name).write_bytes(spoil)
    plain = open_corpus(manifest)
    assert 3 <= len(plain.problems) <= 4
    index_manifest(manifest)
    assert same(open_corpus(manifest), plain)
    whole = open_corpus(manifest, check="full")
    assert len(whole.problems) == 4
    index_manifest(manifest, check="full")
    assert same(open_corpus(manifest), replace(whole, name="songs"))


def test_trusted_durations_open_no_file(tmp_path):
    rows = [{"audio_path": f"{number}.flac", "duration": 3.5, "group": "g"} for number in range(50)]
    manifest = tmp_path / "songs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(CorpusError, match="none of its 50 files can be used"):
        index_manifest(manifest)
    index_manifest(manifest, check="none")
    corpus = open_corpus(manifest)
    assert len(corpus) == 50
    assert corpus.seconds.tolist() == [3.5] * 50


def test_a_changed_manifest_is_read_itself(tmp_path, caplog):
    manifest = write(tmp_path, 24)
    index_manifest(manifest, seed=3)
    assert isinstance(open_corpus(manifest, seed=3).paths, Strings)
    assert isinstance(open_corpus(manifest, seed=4).paths, np.ndarray)  # random splits are others
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[1:]))
    assert len(open_corpus(manifest, seed=3)) == 23
    assert "is not used, as songs.jsonl has changed since" in caplog.text
    index_manifest(manifest, seed=3)
    assert len(open_corpus(manifest, seed=3)) == 23


def test_crops_from_an_index_are_those_from_the_manifest(tmp_path):
    manifest = write(tmp_path, 24, group=lambda n: f"artist {n // 4}")
    for sampler in (Crops(0.25), Group(0.25)):
        (tmp_path / "songs.index" / INDEX).unlink(missing_ok=True)
        plain = list(loader(manifest, ViewChain(sampler), 4, sample_rate=RATE, steps=6, workers=0))
        index_manifest(manifest)
        found = list(loader(manifest, ViewChain(sampler), 4, sample_rate=RATE, steps=6, workers=1))
        for batch, other in zip(plain, found, strict=True):
            assert torch.equal(batch.items, other.items)
            assert torch.equal(batch.groups, other.groups)
            assert all(torch.equal(a, b) for a, b in zip(batch.crops, other.crops, strict=True))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the manifest is empty"),
        (['{"audio_path": 3}'], "line 1: audio_path must be"),
        (['{"audio_path": "a"}', '{"audio_path": "./a"}'], "a stands in line 1 and in line 2"),
        (['{"audio_path": "a", "tags": []}', '{"audio_path": "b"}'], r"1 of 2 lines have neither .*line 2\)"),
        (['{"audio_path": "a", "split": "test"}', '{"audio_path": "b"}'], "have no split"),
        (['{"audio_path": "a", "tags": ["x"]}', "{"], "line 2: not valid JSON"),
    ],
)
def test_wrong_manifests(tmp_path, lines, message):
    manifest = tmp_path / "songs.jsonl"
    manifest.write_text("\n".join(lines))
    with pytest.raises(CorpusError, match=message):
        index_manifest(manifest)
    assert not (tmp_path / "songs.index" / INDEX).exists()
    assert not list((tmp_path / "songs.index").glob("draft-*"))


def test_numbers_on_some_tracks_only(tmp_path):
    manifest = tmp_path / "songs.jsonl"
    manifest.write_text('{"audio_path": "a", "mood": 1}\n{"audio_path": "b", "mood": "sad"}')
    with pytest.raises(CorpusError, match="line 2: mood is a number on some tracks, and not on all"):
        index_manifest(manifest, "mood")
    manifest.write_text('{"audio_path": "a", "mood": {"x": 1}}\n{"audio_path": "b", "mood": {"y": 1}}')
    with pytest.raises(CorpusError, match="line 2: its numbers are"):
        index_manifest(manifest, "mood")


# Columns


STRINGS = ["", "a", "Ærøskøbing", "音楽/テスト.flac", "a" * 300]


@pytest.mark.parametrize("kind", ["strings", "array", "coded"])
def test_columns_of_strings(tmp_path, kind):
    codes = np.array([4, 2, 2, 0, 3], np.int8)
    plain = np.array(STRINGS) if kind != "coded" else np.array(STRINGS)[codes]
    given = {"strings": Strings.of(STRINGS), "array": plain, "coded": Coded(codes, STRINGS)}[kind]
    write_column(tmp_path, "names", given)
    column = read_column(tmp_path, "names")
    assert len(column) == 5
    assert column.tolist() == list(column) == plain.tolist()
    assert column[2] == column[np.int64(2)] == column[-3] == plain[2]
    np.testing.assert_array_equal(np.asarray(column), plain)
    for rows in (np.array([3, 0]), slice(1, 3), [2], plain == "a", np.array([], int)):
        np.testing.assert_array_equal(column[rows], plain[rows])
        assert column.take(rows).tolist() == plain[rows].tolist()
    with pytest.raises(IndexError):
        column[5]
    if kind == "coded":
        np.testing.assert_array_equal(column == plain[1], plain == plain[1])
        assert not (column == "unknown").any()


def test_columns_that_lost_something(tmp_path):
    write_column(tmp_path, "names", Strings.of(STRINGS))
    os.truncate(tmp_path / "names.utf8", 100)
    with pytest.raises(ValueError, match="is not as long as"):
        read_column(tmp_path, "names")
