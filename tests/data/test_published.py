"""Every published corpus, on a miniature in its published layout."""

import re
from collections import Counter

import layouts
import numpy as np
import pytest
import soundfile

from mvssl.data import CorpusError, corpora, open_corpus
from mvssl.data.labels import KEYS
from mvssl.data.named import named, named_corpora
from mvssl.data.published.gtzan import filtered_splits
from mvssl.data.published.mtat import TOP_50
from mvssl.evaluation import evaluate

NAMES = [corpus.name for corpus in named_corpora()]
LEAKY = {"mtat", "mtat_tagged", "emomusic"}


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """The folder of the miniature of a corpus."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            layouts.WRITERS[name](made[name])
        return made[name]

    return folder


def splits_of(corpus):
    return {
        path.rpartition("/")[2]: split
        for path, split in zip(corpus.paths.tolist(), corpus.splits.tolist(), strict=True)
    }


# Contract: holds for every registered corpus


def test_every_corpus_has_a_miniature():
    assert set(NAMES) == set(layouts.WRITERS)
    assert set(NAMES) < set(corpora.names())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_a_corpus_is_complete(name):
    corpus = named(name)
    for text in (corpus.title, corpus.licence, corpus.citation, corpus.splits, corpus.instructions):
        assert len(text) > 5
    assert corpus.homepage.startswith(("https://", "http://"))
    assert re.search(r"(https?://|arXiv:)\S+$", corpus.citation)
    assert len({field.name for field in corpus.fields}) == len(corpus.fields)
    assert all(field.name.isidentifier() for field in corpus.fields)  # so that it can stand behind a colon
    assert corpora.entry(name).summary.startswith(corpus.title)
    for remote in corpus.remotes:
        assert re.fullmatch(r"https?://\S+", remote.url)
        assert re.fullmatch(r"(md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|)", remote.checksum)


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_have_it_is_told_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MVSSL_DATA", str(tmp_path))
    corpus = named(name)
    folder = tmp_path / (corpus.folder or name)
    with pytest.raises(CorpusError) as missing:
        open_corpus(name)
    for part in (str(folder), corpus.homepage, corpus.licence, corpus.instructions, f"{name}@"):
        assert part in str(missing.value)
    assert ("mvssl data download" in str(missing.value)) == bool(corpus.remotes)
    folder.mkdir()
    with pytest.raises(CorpusError) as empty:
        open_corpus(name)
    assert corpus.instructions in str(empty.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*groups are in more than one split")
def test_every_field_opens(name, miniature):
    root = miniature(name)
    for field in named(name).fields:
        listed = named(name)(root, field.name)
        if field.vocabulary is not None and not field.unusable:
            assert listed.vocabulary == field.vocabulary
        corpus = open_corpus(f"{name}@{root}:{field.name}")
        assert corpus.name == f"{name}:{field.name}"
        assert corpus.task == field.task
        assert set(corpus.splits) == {"train", "valid", "test"}
        assert [tag for tag in listed.vocabulary if tag in corpus.vocabulary] == list(corpus.vocabulary)
        assert all(corpus.path(row).is_file() for row in range(len(corpus)))
        assert f"{name}:{field.name}" in repr(corpus)
        assert f"{len(corpus.problems)} files left out" in repr(corpus)
        if field.unusable:
            with pytest.raises(CorpusError, match=re.escape(field.unusable)):
                corpus.labelled()
        else:
            assert len(corpus.labelled().vocabulary) > 0


@pytest.mark.parametrize("name", NAMES)
def test_groups_on_two_sides_are_warned_about(name, miniature, recwarn):
    corpus = named(name)(miniature(name))
    if corpus.groups is not None:
        sides = {
            group: set(corpus.splits[corpus.groups == group]) for group in corpus.groups.tolist() if group
        }
        leaks = [group for group, splits in sides.items() if len(splits) > 1]
        assert bool(leaks) == any("groups are in more than one split" in str(one.message) for one in recwarn)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*groups are in more than one split")
def test_what_is_listed_does_not_depend_on_the_place(name, miniature, tmp_path, monkeypatch):
    corpus = named(name)
    (tmp_path / (corpus.folder or name)).symlink_to(miniature(name), target_is_directory=True)
    monkeypatch.setenv("MVSSL_DATA", str(tmp_path))
    at_home, elsewhere = open_corpus(name), open_corpus(name, root=miniature(name))
    assert at_home.fingerprint() == elsewhere.fingerprint()
    assert at_home.root != elsewhere.root


def test_fields_and_folders_that_do_not_exist(miniature, tmp_path):
    with pytest.raises(CorpusError, match="nsynth has no 'genre'; known are instrument, pitch"):
        open_corpus(f"nsynth@{miniature('nsynth')}:genre")
    with pytest.raises(CorpusError, match="no such folder"):
        open_corpus(f"nsynth@{tmp_path}/gone")
    with pytest.raises(ValueError, match="is no published corpus"):
        open_corpus(miniature("nsynth"), root=tmp_path)
    with pytest.raises(ValueError, match="made on first use"):
        open_corpus("synthetic", root=tmp_path)
    with pytest.raises(ValueError, match="those are artist20, emomusic"):
        named("synthetic")


# Of single corpora


def test_mtat_is_split_by_folder_and_lists_its_empty_files(miniature):
    with pytest.warns(UserWarning, match="1 of 8 groups are in more than one split|groups are in more"):
        corpus = _with_a_shared_artist(miniature)
    folders = {
        path.split("/")[1]: split
        for path, split in zip(corpus.paths.tolist(), corpus.splits.tolist(), strict=True)
    }
    assert folders == {"0": "train", "3": "train", "a": "train", "c": "valid", "d": "test", "f": "test"}
    assert len(corpus) == 13
    assert [problem.path for problem in corpus.problems] == [f"mp3/{path}" for path in layouts.EMPTY]
    assert all("0 bytes" in problem.reason and problem.known for problem in corpus.problems)
    assert corpus.vocabulary == TOP_50
    assert corpus.vocabulary[:3] == ("guitar", "classical", "slow")


def _with_a_shared_artist(miniature):
    """MTAT's miniature where one artist is in two folders."""
    info = miniature("mtat") / "clip_info_final.csv"
    text = info.read_text()
    info.write_text(text.replace("artist_c\t", "artist_d\t"))
    try:
        return named("mtat")(miniature("mtat"))
    finally:
        info.write_text(text)


@pytest.mark.filterwarnings("ignore:.*groups are in more than one split")
def test_mtat_tagged_lacks_untagged_clips_and_those_that_the_lists_lack(miniature):
    every, tagged = named("mtat")(miniature("mtat")), named("mtat_tagged")(miniature("mtat"))
    gone = sorted(set(every.paths.tolist()) - set(tagged.paths.tolist()))
    assert gone == [f"mp3/{layouts.UNLISTED}", "mp3/a/artist_a-album-01-song-1-29.mp3"]
    assert tagged.targets.any(axis=1).all()


def test_mtat_of_another_origin_is_refused(tmp_path):
    layouts.mtat(tmp_path)
    table = tmp_path / "annotations_final.csv"
    table.write_text(table.read_text().replace('"guitar"', '"Guitar"', 1))
    with pytest.raises(CorpusError, match="no column guitar"):
        open_corpus("mtat", root=tmp_path)


def test_a_label_that_is_not_of_the_vocabulary(tmp_path):
    layouts.nsynth(tmp_path)
    table = tmp_path / "nsynth-test/examples.json"
    table.write_text(table.read_text().replace('"flute"', '"kazoo"'))
    with pytest.raises(
        CorpusError, match="nsynth:instrument: has labels that are not of its vocabulary: 'kazoo'"
    ):
        open_corpus("nsynth", root=tmp_path)


def test_damaged_tables_are_no_riddle(tmp_path):
    layouts.mtg_jamendo(tmp_path)
    table = tmp_path / "data/splits/split-0/autotagging_top50tags-test.tsv"
    table.write_text(table.read_text() + "track_9\tartist_9\n")
    with pytest.raises(CorpusError, match="the tables of mtg_jamendo are not as they were published"):
        open_corpus("mtg_jamendo", root=tmp_path)


def test_gtzan_follows_the_fault_filtered_lists(miniature):
    splits = filtered_splits()
    assert Counter(splits.values()) == {"train": 443, "valid": 197, "test": 290}
    corpus = named("gtzan")(miniature("gtzan"))
    assert Counter(corpus.splits.tolist()) == {"train": 442, "valid": 197, "test": 290}
    assert splits_of(corpus) == {
        f"{name}.wav": split for name, split in splits.items() if name != "jazz.00054"
    }
    reasons = {problem.path: problem.reason for problem in corpus.problems}
    assert "damaged" in reasons["genres/jazz/jazz.00054.wav"]
    assert sum("fault-filtered" in reason for reason in reasons.values()) == 70
    opened = open_corpus("gtzan", root=miniature("gtzan"))
    assert len(opened) == 12
    assert opened.vocabulary == ("blues", "rock")


@pytest.mark.parametrize("folder", ["Data/genres_original", "."])
def test_gtzan_is_found_where_other_copies_put_it(folder, tmp_path):
    layouts.put(tmp_path / folder / "blues/blues.00029.au", layouts.clip(".au"))
    corpus = named("gtzan")(tmp_path)
    assert {"blues.00029.au", "rock.00099.au"} <= set(splits_of(corpus))


def test_fma_sizes_contain_each_other_and_lack_known_faults(miniature):
    root = miniature("fma_large")
    large, other = named("fma_large")(root), named("fma_medium")(root)
    small = named("fma_small")(root)
    assert set(small.paths.tolist()) < set(other.paths.tolist()) < set(large.paths.tolist())
    assert [problem.path for problem in small.problems] == ["fma_large/098/098565.mp3"]
    assert small.problems[0].reason == "is 1.6 s long instead of 30"
    assert large.vocabulary == ("Hip-Hop", "Punk", "Rock")
    by_genre = named("fma_large")(root, "genre")
    assert by_genre.task == "classification"
    assert (
        by_genre.targets.any(axis=1)
        == [path in set(other.paths.tolist()) for path in by_genre.paths.tolist()]
    ).all()


def test_nsynth_knows_pitches_and_instruments(miniature):
    pitch, family = (named("nsynth")(miniature("nsynth"), field) for field in ("pitch", "instrument"))
    name = "nsynth-train/audio/bass_synthetic_train-022-050.wav"
    row = pitch.paths.tolist().index(name)
    assert pitch.vocabulary[pitch.targets[row].argmax()] == "22"
    assert family.vocabulary[family.targets[row].argmax()] == "bass"
    assert pitch.groups[row] == "bass_synthetic_train"
    assert pitch.seconds[row] == 4


def test_giantsteps_uses_certain_keys_and_keeps_artists_apart(miniature):
    corpus = named("giantsteps_key")(miniature("giantsteps_key"))
    assert splits_of(corpus) == {
        "10089.LOFI.mp3": "test", "1004923.LOFI.mp3": "test", "1007941.LOFI.mp3": "test",
        "5061.LOFI.mp3": "train", "5881.LOFI.mp3": "valid", "7217.LOFI.mp3": "valid",
    }  # fmt: skip
    keys = [corpus.vocabulary[column] for column in corpus.targets.argmax(axis=1)]
    by_name = dict(zip((path.rpartition("/")[2] for path in corpus.paths.tolist()), keys, strict=True))
    assert by_name["10089.LOFI.mp3"] == by_name["5061.LOFI.mp3"] == "D# minor"
    assert corpus.vocabulary == KEYS
    reasons = [problem.reason for problem in corpus.problems]
    assert reasons == [
        "its key is not certain (confidence 0 of 2)",
        "its key is not certain (confidence 1 of 2)",
        "is not in one key (B major / E minor)",
    ]


def test_emomusic_gives_two_numbers(miniature):
    corpus = named("emomusic")(miniature("emomusic"))
    assert corpus.vocabulary == ("arousal", "valence")
    row = corpus.paths.tolist().index("clips_45seconds/3.mp3")
    np.testing.assert_allclose(corpus.targets[row], [1.5, 5.5])
    assert Counter(corpus.splits.tolist()) == {"train": 3, "valid": 1, "test": 2}


def test_a_song_without_ratings_is_left_out(tmp_path):
    layouts.emomusic(tmp_path)
    table = tmp_path / "static_annotations.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    corpus = named("emomusic")(tmp_path)
    assert [(problem.path, problem.reason) for problem in corpus.problems] == [
        ("clips_45seconds/7.mp3", "has no emotion")
    ]


def test_vocalset_reads_singers_and_techniques_from_folders(miniature):
    technique, singer = (named("vocalset")(miniature("vocalset"), field) for field in ("technique", "singer"))
    sides = dict(zip(technique.groups.tolist(), technique.splits.tolist(), strict=True))
    assert sides["female2"] == sides["male3"] == "test"
    assert sorted(sides.values()) == ["test", "test", "train", "train", "train", "train", "valid"]
    assert sides["male2"] == "valid"
    no_technique = ["fast_forte" in path for path in technique.paths.tolist()]
    np.testing.assert_array_equal(technique.targets.any(axis=1), np.invert(no_technique))
    assert singer.targets.any(axis=1).all()
    shares = [(singer.splits == split).sum() for split in ("train", "valid", "test")]
    assert shares == [28, 21, 14]  # 7 singers × 9 recordings: 12:8:5 as near as can be
    of_one = singer.splits[["/male3/" in path for path in singer.paths.tolist()]]
    assert set(of_one) == {"train", "valid", "test"}
    assert [problem.reason for problem in technique.problems] == [
        "is a second copy of f2_scales_vibrato_a.wav"
    ]


def test_openmic_has_labels_only_where_somebody_listened(miniature):
    piano, voice = (named("openmic")(miniature("openmic"), field) for field in ("piano", "voice"))
    assert len(voice) == 6
    assert set(voice.paths.tolist()) - set(piano.paths.tolist()) == {
        "openmic-2018/audio/000/000141_153600.ogg"
    }
    assert voice.targets.sum() == 3
    assert splits_of(voice)["000139_119040.ogg"] == "valid"
    every = named("openmic")(miniature("openmic"))
    assert every.vocabulary == ()
    assert len(every) == 6


def test_mtg_jamendo_finds_either_quality(miniature, tmp_path):
    low = named("mtg_jamendo")(miniature("mtg_jamendo"), "moodtheme")
    assert low.vocabulary == ("mood/theme---dark", "mood/theme---happy")
    assert low.paths[0] == "audio-low/00/00.low.mp3"
    np.testing.assert_allclose(low.seconds, 0.2)
    layouts.mtg_jamendo(tmp_path)
    for path in (tmp_path / "audio-low").rglob("*.low.mp3"):
        path.rename(path.with_name(path.name.replace(".low", "")))
    (tmp_path / "audio-low").rename(tmp_path / "audio")
    assert open_corpus("mtg_jamendo", root=tmp_path).paths[0] == "audio/00/00.mp3"


def test_artist20_splits_by_album(miniature):
    corpus = named("artist20")(miniature("artist20"))
    albums = dict(zip(corpus.groups.tolist(), corpus.splits.tolist(), strict=True))
    assert Counter(albums.values()) == {"train": 6, "valid": 2, "test": 4}
    assert [problem.reason for problem in corpus.problems] == ["its artist has less than three albums"]
    assert corpus.vocabulary == ("aerosmith", "beatles")


def test_singer_folder_counts_albums_and_single_tracks(miniature):
    corpus = named("singer_folder")(miniature("singer_folder"))
    sides = dict(zip(corpus.groups.tolist(), corpus.splits.tolist(), strict=True))
    expected = {"Album 0": "train", "Album 1": "train", "Album 2": "valid", "Zugabe.wav": "test"}
    assert sides == {f"{who}/{what}": split for who in ("ella", "nina") for what, split in expected.items()}
    assert {problem.reason for problem in corpus.problems} == {
        "its singer has less than three albums or tracks"
    }
    assert corpus.vocabulary == ("ella", "nina")


# From end to end


def test_an_encoder_is_judged_on_a_corpus_by_its_name(encoder, tmp_path):
    layouts.gtzan(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("*.wav"))):
        if "jazz" not in path.name:
            audio = 0.1 * np.random.default_rng(number).standard_normal(9_600)
            soundfile.write(path, audio, 8_000)
    result = evaluate(encoder, f"gtzan@{tmp_path}:genre", fractions=(1.0,), repeats=1)
    assert result.corpus.name == "gtzan:genre"
    assert result.corpus.vocabulary == ("blues", "rock")
    assert len(result.truth) == 4
