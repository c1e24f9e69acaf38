import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from mvssl.data import Corpus, corpora, open_corpus, read_audio
from mvssl.data.synthetic import TAG_GROUPS, draw_causes, render, render_corpus, synthetic
from mvssl.data.synthetic import corpus as corpus_module
from mvssl.data.synthetic.causes import ADHERENCE, INSTRUMENTS, RHYTHMS, STYLES, TEMPOS
from mvssl.data.synthetic.score import PATTERNS, SCALES, Note, harmony, phrases
from mvssl.data.synthetic.sound import Player, draw_timbre, produce
from mvssl.seeding import generator

RATE = 16_000
TRACKS, SECONDS = 12, 1.5
few_tracks = pytest.mark.filterwarnings("ignore:.*no track has the tags")
MANY = [draw_causes(0, index) for index in range(1_500)]


def decibels(x):
    return 10 * np.log10(x)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Causes


def test_causes_depend_on_seed_and_index_alone():
    assert draw_causes(0, 3) == draw_causes(0, 3)
    assert len({draw_causes(seed, index) for seed in range(3) for index in range(20)}) == 60


def test_tags_are_in_their_groups():
    names = [tag for group in TAG_GROUPS.values() for tag in group]
    assert len(names) == len(set(names)) == 25
    expected = {"instrument": 2, "rhythm": 1, "tempo": 1, "harmony": 2, "style": 1}
    for causes in MANY[:200]:
        assert {name: len(set(causes.tags) & set(tags)) for name, tags in TAG_GROUPS.items()} == expected
        assert len(set(causes.tags)) == 7
        low, high = TEMPOS[causes.tempo]
        assert low <= causes.bpm <= high


def test_every_tag_is_common_enough_to_be_learned():
    for tag in (tag for group in TAG_GROUPS.values() for tag in group):
        assert 0.08 < np.mean([tag in causes.tags for causes in MANY]) < 0.7, tag


def test_styles_are_followed_but_not_always():
    for attribute, kinds in (("tempo", TEMPOS), ("rhythm", RHYTHMS), ("lead", INSTRUMENTS)):
        wanted = (
            attribute if attribute == "tempo" else {"rhythm": "rhythms", "lead": "instruments"}[attribute]
        )
        liked = [np.atleast_1d(getattr(STYLES[causes.style], wanted)) for causes in MANY]
        followed = np.mean([getattr(c, attribute) in some for c, some in zip(MANY, liked, strict=True)])
        expected = ADHERENCE + (1 - ADHERENCE) * np.mean([len(some) for some in liked]) / len(kinds)
        assert followed == pytest.approx(expected, abs=0.04)


def test_the_production_says_nothing_about_the_tags():
    production = ("tilt", "low_cut", "high_cut", "room_seconds", "noise_db", "noise_colour", "level_db")
    for name in production:
        values = np.array([getattr(causes, name) for causes in MANY])
        for tag in TAG_GROUPS["style"]:
            has = np.array([tag in causes.tags for causes in MANY])
            assert abs(np.corrcoef(values, has)[0, 1]) < 0.08, (name, tag)


# Score


def score(causes, seconds=16.0, seed=0):
    return list(phrases(causes, seconds, generator(seed)))


def test_every_rhythm_has_a_pattern():
    assert PATTERNS.keys() == set(RHYTHMS)
    assert len(set(PATTERNS.values())) == len(PATTERNS)


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_drums_play_their_pattern(rhythm):
    causes = replace(MANY[0], rhythm=rhythm)
    phrase = score(causes)[1]
    beat = 60 / causes.bpm
    start = min(note.onset for note in phrase.parts["bass"])
    bar = 4 * beat
    for drum, steps in zip(("kick", "snare"), PATTERNS[rhythm], strict=True):
        expected = [start + number * bar + step / 4 * beat for number in range(2) for step in steps]
        np.testing.assert_allclose(phrase.drums[drum], expected, atol=0.02)
    assert (len(phrase.drums["hat"]) == 0) == (rhythm == "no_drums")


def test_notes_are_as_dense_in_slow_pieces_as_in_fast_ones():
    def density(tempo):
        low, high = TEMPOS[tempo]
        lengths = []
        for seed in range(60):
            causes = replace(MANY[seed], tempo=tempo, bpm=(low + high) / 2)
            lengths += [note.duration for phrase in score(causes, seed=seed) for note in phrase.parts["lead"]]
        return 1 / np.mean(lengths)

    assert density("slow") == pytest.approx(density("fast"), rel=0.15)


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("key", [0, 7])
def test_chords_move_as_the_progression_says(mode, key):
    found = {}
    for progression in TAG_GROUPS["harmony"][2:]:
        causes = replace(MANY[0], mode=mode, progression=progression)
        found[progression] = [harmony(causes, key, generator(seed)) for seed in range(20)]
        for chords in found[progression]:
            assert sum(chord.length for chord in chords) == 8
            assert [chord.start for chord in chords] == list(np.cumsum([0] + [c.length for c in chords[:-1]]))
    for (chord,) in found["static"]:
        assert (chord.root, chord.quality) == (key, mode)
    scale = {(key + step) % 12 for step in SCALES[mode]}
    for chords in found["cadential"]:
        assert (chords[0].root, chords[0].quality) == (key, mode)
        assert {(chord.root + interval) % 12 for chord in chords for interval in chord.intervals} <= scale
    chromatic = [
        {(chord.root + interval) % 12 for chord in chords for interval in chord.intervals}
        for chords in found["chromatic"]
    ]
    assert all({chord.quality for chord in chords} == {mode} for chords in found["chromatic"])
    assert np.mean([not pitches <= scale for pitches in chromatic]) > 0.9


# Sound


@pytest.fixture
def causes():
    """Some piece, without noise, clicks or moving faders."""
    return replace(MANY[1], noise_db=90.0, crackle_rate=0.0, fader_db=0.0)


@pytest.mark.parametrize("index", range(4))
def test_audio_is_finite_and_does_not_clip(index):
    audio = render(MANY[index], 0, index, SECONDS, RATE)
    assert audio.dtype == np.float32
    assert audio.shape == (24_000,)
    assert np.isfinite(audio).all()
    assert 0 < np.abs(audio).max() < 1


def test_audio_depends_on_seed_and_index_alone(causes):
    audio = render(causes, 0, 0, SECONDS, RATE)
    np.testing.assert_array_equal(render(causes, 0, 0, SECONDS, RATE), audio)
    for seed, index in ((0, 1), (1, 0)):
        assert abs(np.corrcoef(render(causes, seed, index, SECONDS, RATE), audio)[0, 1]) < 0.5


def test_the_level_is_the_asked_one_unless_it_would_clip(causes):
    audio = render(replace(causes, level_db=-25.0), 0, 0, 4.0, RATE)
    assert decibels(np.mean(audio**2)) == pytest.approx(-25, abs=0.2)
    loud = render(replace(causes, level_db=0.0), 0, 0, 4.0, RATE)
    assert np.abs(loud).max() == pytest.approx(0.99)


def play(instrument, seed, duration=1.0):
    rng = generator(seed)
    player = Player("", rate=4.0, decay=0.2, glide=0.1, interval=3.0)
    note = Note(0.0, duration, float(rng.uniform(50, 70)), 1.0)
    return replace(player, instrument=instrument).play(note, draw_timbre(rng), RATE, rng)


@pytest.mark.parametrize(("one", "other"), [("pluck", "swell"), ("throb", "surge"), ("scoop", "fall")])
def test_mirrored_instruments_share_their_average_spectrum_but_not_their_course(one, other):
    def spectrum(instrument):
        power = sum(np.abs(np.fft.rfft(play(instrument, seed), 2 * RATE)) ** 2 for seed in range(60))
        # In bands of 50 Hz from 100 Hz, below which there are only the clicks of attacks.
        return decibels(power[200:8_000].reshape(-1, 100).sum(1) / power.sum())

    one_spectrum, other_spectrum = spectrum(one), spectrum(other)
    audible = one_spectrum > -40
    assert audible.sum() > 20
    np.testing.assert_allclose(one_spectrum[audible], other_spectrum[audible], atol=0.5)
    forwards, backwards = play(one, 0), play(other, 0)
    assert np.abs(forwards - backwards).max() > 0.1


def test_instruments_do_in_time_what_they_are_named_after():
    def centre(instrument):
        energy = sum(play(instrument, seed).astype(float) ** 2 for seed in range(5))
        return np.average(np.arange(len(energy)), weights=energy) / len(energy)

    assert centre("pluck") < 0.25
    assert centre("swell") > 0.75

    def pitch(sound):
        return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 4 * RATE))) / 4

    sine = np.tile(np.sin(2 * np.pi * np.arange(2048) / 2048).astype(np.float32), (4, 1))
    note = Note(0.0, 1.0, 69.0, 1.0)
    for instrument, begins_low, ends_low in (("scoop", True, False), ("fall", False, True)):
        sound = Player(instrument, 4.0, 0.2, 0.1, 3.0).play(note, sine, RATE, generator(0))
        begin, middle, end = (pitch(sound[at : at + 1_200]) for at in (80, 7_400, 14_800))
        assert middle == pytest.approx(440, abs=4)
        assert (begin < 430) == begins_low
        assert (end < 430) == ends_low


def test_the_production_does_what_its_numbers_say(causes):
    music = generator(1).standard_normal(4 * RATE).astype(np.float32)

    def produced(**changes):
        # Quiet enough not to clip; levels are relative to a level of one.
        made = produce(music, replace(causes, room_wet=0.0, level_db=-40.0, **changes), RATE, generator(0))
        return made.astype(float) * 100

    def octave(audio, hertz):
        power = np.abs(np.fft.rfft(audio)) ** 2
        return decibels(power[round(hertz * 4 / 2**0.5) : round(hertz * 4 * 2**0.5)].mean())

    band = {"low_cut": 1.0, "high_cut": 1e6}
    dark, bright = produced(tilt=-4.0, **band), produced(tilt=4.0, **band)
    slopes = [octave(audio, 4_000) - octave(audio, 500) for audio in (dark, bright)]
    assert slopes == pytest.approx([-12, 12], abs=0.7)
    plain, narrow = produced(tilt=0.0, **band), produced(tilt=0.0, low_cut=250.0, high_cut=3_000.0)
    assert octave(narrow, 6_000) - octave(narrow, 1_000) < octave(plain, 6_000) - octave(plain, 1_000) - 9
    assert octave(narrow, 80) - octave(narrow, 1_000) < octave(plain, 80) - octave(plain, 1_000) - 15
    hiss = produced(noise_db=10.0) - produced(noise_db=90.0)
    assert decibels(np.mean(hiss**2)) == pytest.approx(-10, abs=0.3)
    clicks = produced(crackle_rate=5.0, crackle_db=0.0) - produced()
    assert 5 <= (np.abs(clicks) > 1).sum() <= 40
    assert np.abs(clicks).max() >= 7.9


# Corpus


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    render_corpus(folder, TRACKS, SECONDS, seed=0)
    return folder


@pytest.fixture
def folder(rendered, tmp_path):
    """A copy that may be damaged."""
    for name, content in contents(rendered).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_folder_holds_tracks_a_manifest_and_nothing_else(rendered):
    names = [f"{index:05d}.wav" for index in range(TRACKS)]
    assert list(contents(rendered)) == [*names, "manifest.jsonl", "tag_groups.json"]
    for index, name in enumerate(names):
        info = soundfile.info(rendered / name)
        assert (info.samplerate, info.channels, info.frames) == (RATE, 1, 24_000)
        expected = render(draw_causes(0, index), 0, index, SECONDS, RATE)
        np.testing.assert_allclose(read_audio(rendered / name), expected, atol=2**-15)
    lines = [json.loads(line) for line in (rendered / "manifest.jsonl").read_text().splitlines()]
    assert [line["audio_path"] for line in lines] == names
    assert [line["causes"] for line in lines] == [draw_causes(0, index).asdict() for index in range(TRACKS)]


@few_tracks
def test_rendering_goes_on_where_it_was_killed(rendered, folder):
    (folder / "manifest.jsonl").unlink()
    for name in ("00003.wav", "00011.wav"):
        (folder / name).unlink()
    (folder / "00003.wav.1.part").write_bytes(b"RIFF, and no more")
    kept = folder / "00005.wav"
    modified = kept.stat().st_mtime_ns
    render_corpus(folder, TRACKS, SECONDS, seed=0)
    left_over = contents(folder)
    assert left_over.pop("00003.wav.1.part") == b"RIFF, and no more"
    assert left_over == contents(rendered)
    assert kept.stat().st_mtime_ns == modified
    assert len(open_corpus(folder)) == TRACKS


@pytest.mark.parametrize("damage", ["delete", "truncate", "empty"])
def test_damaged_tracks_are_rendered_again(rendered, folder, damage):
    path = folder / "00007.wav"
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1_000] if damage == "truncate" else b"")
    render_corpus(folder, TRACKS, SECONDS, seed=0)
    assert contents(folder) == contents(rendered)


def test_a_complete_folder_is_left_alone(folder, monkeypatch):
    monkeypatch.setattr(corpus_module, "ProcessPoolExecutor", None)
    render_corpus(folder, TRACKS, SECONDS, seed=0)


def test_two_processes_may_render_into_one_folder(rendered, tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path, TRACKS, SECONDS, 0)
    processes = [context.Process(target=render_corpus, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert contents(tmp_path) == contents(rendered)


@few_tracks
def test_the_named_corpus_is_the_folder_and_knows_its_causes(monkeypatch, tmp_path):
    monkeypatch.setenv("MVSSL_CACHE", str(tmp_path))
    assert corpora.entry("synthetic").target is synthetic
    corpus = synthetic(TRACKS, SECONDS, seed=2)
    assert isinstance(corpus, Corpus)
    assert corpus.root.parent == tmp_path
    assert corpus.vocabulary == tuple(tag for group in TAG_GROUPS.values() for tag in group)
    assert [np.sum(corpus.splits == split) for split in ("train", "valid", "test")] == [8, 1, 3]
    causes = [draw_causes(2, index) for index in range(TRACKS)]
    for row, cause in zip(corpus.targets, causes, strict=True):
        assert {tag for tag, has in zip(corpus.vocabulary, row, strict=True) if has} == set(cause.tags)
    assert corpus.factors["bpm"].tolist() == [cause.bpm for cause in causes]
    assert corpus.factors.keys() == causes[0].asdict().keys()

    listed = open_corpus(corpus.root)
    np.testing.assert_array_equal(listed.paths, corpus.paths)
    np.testing.assert_array_equal(listed.splits, corpus.splits)
    np.testing.assert_array_equal(listed.seconds, corpus.seconds)
    assert not listed.problems
    columns = [corpus.vocabulary.index(tag) for tag in listed.vocabulary]
    np.testing.assert_array_equal(listed.targets, corpus.targets[:, columns])
    # With so few tracks, some tags are on no or on all tracks of a split.
    assert set(listed.vocabulary) | set(listed.excluded_tags) == {
        tag for cause in causes for tag in cause.tags
    }
    for name, tags in listed.tag_groups.items():
        assert set(tags) <= set(TAG_GROUPS[name])


def test_different_corpora_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("MVSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(corpus_module, "render_corpus", lambda *arguments: None)
    roots = {synthetic(*given).root for given in ((12, 1.5, 0), (12, 1.5, 1), (12, 2.0, 0), (13, 1.5, 0))}
    assert len(roots) == 4


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.delenv("MVSSL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpus_module.cache_folder() == tmp_path / ".cache" / "mvssl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert corpus_module.cache_folder() == tmp_path / "xdg" / "mvssl"
    monkeypatch.setenv("MVSSL_CACHE", str(tmp_path / "own"))
    assert corpus_module.cache_folder() == tmp_path / "own"


@pytest.mark.parametrize(("tracks", "seconds"), [(9, 2.0), (12, 0.5)])
def test_too_small_corpora_are_refused(tmp_path, tracks, seconds):
    with pytest.raises(ValueError, match=f"tracks={tracks}, seconds={seconds:g}: at least 10 tracks of 1 s"):
        render_corpus(tmp_path, tracks, seconds, seed=0)


def test_a_file_in_the_way_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        render_corpus(tmp_path / "file" / "corpus", TRACKS, SECONDS, seed=0)
