import json
import signal
import subprocess
import tracemalloc
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from mvssl import seeding
from mvssl.data import AudioReader, CorpusError, loader, open_corpus, read_audio, remarks
from mvssl.data.batches import signals_left_to_the_run
from mvssl.data.crops import CropReader
from mvssl.views import chain

RATE = 8_000


@dataclass
class RandomCrops:
    """Independent crops, one per view, anywhere in the track."""

    seconds: tuple[float, ...] = (0.5, 0.25)
    sources: tuple[int, ...] = (0, 0)
    partners: str | None = None
    short: str = "drop"

    @property
    def span(self):
        return max(self.seconds)

    @property
    def min_seconds(self):
        return self.span if self.short == "drop" else 0.0

    def starts(self, duration, rng):
        return tuple(float(rng.uniform(0, duration - seconds)) for seconds in self.seconds)


def views(on_cpu=None, **sampler):
    return SimpleNamespace(sampler=RandomCrops(**sampler), on_cpu=on_cpu)


def write_tracks(folder, count, seconds=2.0):
    """Ramps: every sample tells its track and its place."""
    time = np.arange(round(seconds * RATE)) / RATE
    for number in range(count):
        soundfile.write(folder / f"{number:02d}.wav", number / 100 + time / 1000, RATE, subtype="FLOAT")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    write_tracks(folder, 20)
    return open_corpus(folder)


def load(data, batch_size=4, views=views(), **options):  # noqa: B008
    return list(
        loader(data, views, batch_size, **{"split": None, "sample_rate": RATE, "workers": 0, **options})
    )


def same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch.items, other.items)
        assert np.array_equal(batch.keys, other.keys)
        assert all(torch.equal(a, b) for a, b in zip(batch.crops, other.crops, strict=True))
        assert batch.problems == other.problems
    return True


def test_shapes_and_contents(corpus):
    for batch in load(corpus):
        assert len(batch) == 4
        assert [crop.shape for crop in batch.crops] == [(4, 4_000), (4, 2_000)]
        assert all(crop.dtype == torch.float32 for crop in batch.crops)
        assert batch.items.dtype == torch.int64
        assert batch.problems == ()
        for row, item in enumerate(batch.items.tolist()):
            whole = read_audio(corpus.path(item))
            for crop in batch.crops:
                first = int(np.abs(whole - crop[row, 0].item()).argmin())
                np.testing.assert_array_equal(crop[row], whole[first : first + crop.shape[1]])


def test_keys_are_those_of_seed_epoch_and_item(corpus):
    batches = load(corpus, seed=3, steps=7)  # five batches make an epoch
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.keys, seeding.hash_keys(3, step // 5, batch.items.numpy()))


def test_an_epoch_visits_every_track_once_in_its_own_order(corpus):
    batches = load(corpus, steps=10)
    orders = [torch.cat([batch.items for batch in batches[i : i + 5]]).tolist() for i in (0, 5)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] != orders[1]
    assert not torch.equal(batches[0].crops[0], batches[5].crops[0])


def test_orders_too_long_to_be_listed(corpus, monkeypatch):
    listed = load(corpus, steps=10)
    monkeypatch.setattr("mvssl.data.batches.LISTED", 19)
    batches = load(corpus, steps=10)
    orders = [torch.cat([batch.items for batch in batches[i : i + 5]]).tolist() for i in (0, 5)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] != orders[1]
    assert same(batches[7:], load(corpus, steps=10, start_step=7, workers=1))
    # A track's crops of an epoch do not depend on when it is visited.
    for one, two in ((listed[:5], batches[:5]), (listed[5:], batches[5:])):
        crops = [
            {
                item: crop
                for batch in run
                for item, crop in zip(batch.items.tolist(), batch.crops[0], strict=True)
            }
            for run in (one, two)
        ]
        assert all(torch.equal(crops[0][item], crops[1][item]) for item in range(20))


def test_what_does_not_fill_a_batch_is_left_out(corpus):
    batches = load(corpus, batch_size=6, steps=6)
    assert [len(batch) for batch in batches] == [6] * 6
    for epoch in (0, 3):
        items = torch.cat([batch.items for batch in batches[epoch : epoch + 3]]).tolist()
        assert len(set(items)) == 18


def test_the_seed_decides_and_the_global_state_does_not(corpus):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = load(corpus)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert same(first, load(corpus))
    assert not torch.equal(first[0].items, load(corpus, seed=1)[0].items)


def test_a_track_gets_other_crops_with_another_seed(corpus):
    def crops(seed):
        batches = load(corpus, seed=seed)
        return {
            item: batch.crops[0][row] for batch in batches for row, item in enumerate(batch.items.tolist())
        }

    first, second = crops(0), crops(1)
    assert sum(torch.equal(first[item], second[item]) for item in first) < 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(corpus, workers):
    assert same(load(corpus, steps=12), load(corpus, steps=12, workers=workers))


@pytest.mark.parametrize("threads", [1, 3, 7])
def test_the_number_of_threads_changes_nothing(corpus, threads, monkeypatch):
    expected = load(corpus, steps=12, workers=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert same(load(corpus, steps=12), expected)


@pytest.mark.parametrize("start_step", [0, 3, 5, 11, 12])
def test_a_resumed_run_goes_on_with_the_same_batches(corpus, start_step):
    assert same(load(corpus, steps=12)[start_step:], load(corpus, steps=12, start_step=start_step))


@pytest.mark.parametrize("workers", [0, 1])
def test_without_steps_each_pass_is_the_next_epoch(corpus, workers):
    run = load(corpus, steps=15)
    passes = loader(corpus, views(), 4, split=None, sample_rate=RATE, start_step=2, workers=workers)
    assert len(passes) == 3
    assert same(list(passes), run[2:5])
    assert len(passes) == 5
    assert same(list(passes), run[5:10])
    assert same(list(passes), run[10:15])


@pytest.mark.parametrize("workers", [0, 1])
def test_with_steps_each_pass_is_the_same_run(corpus, workers):
    batches = loader(corpus, views(), 4, split=None, sample_rate=RATE, steps=7, workers=workers)
    assert len(batches) == 7
    assert same(list(batches), list(batches))


def test_only_tracks_of_the_split(corpus):
    for split in ("train", "valid", "test"):
        batches = list(loader(corpus, views(), 2, split=split, sample_rate=RATE, workers=0))
        items = torch.cat([batch.items for batch in batches]).tolist()
        assert sorted(items) == corpus.indices(split).tolist()


def test_crops_at_another_sample_rate(corpus):
    batches = list(loader(corpus, views(), 4, split=None, sample_rate=16_000, workers=0))
    assert [crop.shape[1] for crop in batches[0].crops] == [8_000, 4_000]


def test_a_path_is_opened_without_its_short_tracks(tmp_path):
    write_tracks(tmp_path, 6)
    soundfile.write(tmp_path / "short.wav", np.zeros(100), RATE)
    items = torch.cat([batch.items for batch in load(tmp_path, batch_size=2)])
    assert sorted(items.tolist()) == list(range(6))


def test_tracks_that_are_too_short_for_the_views(tmp_path):
    write_tracks(tmp_path, 3)
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE // 4), RATE)
    with pytest.raises(
        CorpusError, match=r"4 of 7 tracks .* 0.5 s .*a.wav \(0.25 s\); b.wav .*min_seconds=0.5"
    ):
        load(open_corpus(tmp_path))


def test_more_tracks_per_batch_than_there_are(corpus):
    with pytest.raises(
        CorpusError, match=r"batch_size=96 is larger than the 14 usable training tracks: pass --batch_"
    ):
        loader(corpus, views(), 96)
    with pytest.raises(CorpusError, match=r"the 20 usable tracks: pass --batch_size 20 or less"):
        loader(corpus, views(), 21, split=None)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"seed": -1}, {"start_step": -1}, {"sample_rate": 0}, {"workers": -1}]
)
def test_arguments_out_of_range(corpus, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        load(corpus, **wrong)


def test_a_file_that_fails_is_replaced_and_reported(tmp_path):
    write_tracks(tmp_path, 12)
    corpus = open_corpus(tmp_path)
    spoilt = [2, 7]
    (tmp_path / "02.wav").unlink()
    soundfile.write(tmp_path / "07.wav", np.full(2 * RATE, np.nan), RATE, subtype="FLOAT")
    batches = load(corpus, batch_size=3, steps=8)
    assert same(batches, load(corpus, batch_size=3, steps=8, workers=2))

    problems = [problem for batch in batches for problem in batch.problems]
    # Each spoilt file is scheduled once in each of the two epochs, and may be drawn as a stand-in.
    counts = Counter(problem.path for problem in problems)
    assert set(counts) == {"02.wav", "07.wav"}
    assert min(counts.values()) >= 2
    assert {p.reason for p in problems} == {"there is no such file", "holds NaN or infinite samples"}
    items = torch.cat([batch.items for batch in batches])
    assert not np.isin(items, spoilt).any()
    assert all(torch.isfinite(crop).all() for batch in batches for crop in batch.crops)
    # A stand-in does not repeat the crop of the same track elsewhere.
    firsts = torch.cat([batch.crops[0][:, 0] for batch in batches])
    assert len(firsts.unique()) == 24
    # The others are as if nothing had happened.
    write_tracks(tmp_path, 12)
    for batch, intact in zip(batches, load(corpus, batch_size=3, steps=8), strict=True):
        sound = ~np.isin(intact.items, spoilt)
        assert torch.equal(batch.crops[0][sound], intact.crops[0][sound])
        assert np.array_equal(batch.keys, intact.keys)


def test_a_track_that_is_shorter_than_its_manifest_says(tmp_path):
    write_tracks(tmp_path, 4)
    soundfile.write(tmp_path / "03.wav", np.zeros(RATE // 10), RATE)
    lines = [f'{{"audio_path": "{n:02d}.wav", "duration": 2.0, "split": "train"}}' for n in range(4)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    (batch,) = load(tmp_path)
    assert "03.wav" in {problem.path for problem in batch.problems}
    assert "is 0.10 s long (the corpus says 2.00 s)" in batch.problems[0].reason


def test_nothing_but_failures(tmp_path):
    write_tracks(tmp_path, 4)
    corpus = open_corpus(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match=r"20 files in a row cannot be read.*there is no such file"):
        load(corpus)


def test_to_device(corpus):
    batch = load(corpus)[0]
    moved = batch.to("meta")
    assert [crop.device.type for crop in moved.crops] == ["meta", "meta"]
    assert moved.items.device.type == "meta"
    assert moved.keys is batch.keys
    assert batch.crops[0].device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_batches_are_in_page_locked_memory(corpus):
    batch = load(corpus, workers=1)[0]
    assert all(crop.is_pinned() for crop in batch.crops)
    assert torch.equal(batch.to("cuda").crops[0].cpu(), batch.crops[0])


def test_groups_of_the_items(corpus):
    assert all(batch.groups is None for batch in load(corpus))
    names = np.array([f"artist {n // 3}" if n % 4 else "" for n in range(20)])
    grouped = replace(corpus, groups=names)
    for workers in (0, 1):
        for batch in load(grouped, workers=workers):
            assert batch.groups.dtype == torch.int64
            np.testing.assert_array_equal(batch.groups, grouped.group_numbers()[batch.items])
    assert batch.to("meta").groups.device.type == "meta"


# Tracks that are too short


def ramps(seconds):
    return np.arange(round(seconds * RATE)) / RATE


@pytest.fixture
def some_short(tmp_path):
    """Eight tracks; two of them are shorter than the crops."""
    write_tracks(tmp_path, 6)
    soundfile.write(tmp_path / "short.wav", 1 + ramps(0.3), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "shorter.wav", 2 + ramps(0.1), RATE, subtype="FLOAT")
    return tmp_path


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
@pytest.mark.parametrize(("short", "done"), [("pad", "followed by silence"), ("loop", "repeated")])
def test_short_tracks_can_be_lengthened(some_short, short, done, rate, caplog):
    lengthened = views(short=short, seconds=(0.5, 0.25))
    batches = load(some_short, views=lengthened, steps=12, sample_rate=rate)
    found = dict.fromkeys(("short.wav", "shorter.wav"), 0)
    corpus = open_corpus(some_short)
    assert len(corpus) == 8
    for batch in batches:
        assert batch.problems == ()
        for row, item in enumerate(batch.items.tolist()):
            path = str(corpus.paths[item])
            if path not in found:
                continue
            found[path] += 1
            audio = read_audio(corpus.path(item), sample_rate=rate)
            whole = (
                np.resize(audio, rate // 2) if short == "loop" else np.pad(audio, (0, rate // 2 - len(audio)))
            )
            np.testing.assert_array_equal(batch.crops[0][row], whole)
            windows = np.lib.stride_tricks.sliding_window_view(whole, rate // 4)
            assert (windows == batch.crops[1][row].numpy()).all(1).any()
    assert set(found.values()) == {6}
    message = (
        f"2 of 8 tracks are shorter than the 0.5 s that the views need and are {done}: short.wav (0.30 s); "
    )
    assert message in caplog.text
    assert remarks(corpus, lengthened.sampler, None)[0].startswith(message)
    assert same(batches, load(some_short, views=lengthened, steps=12, sample_rate=rate, workers=2))


def test_by_default_short_tracks_are_left_out_and_listed(some_short):
    corpus = open_corpus(some_short, min_seconds=views().sampler.min_seconds)
    assert [problem.path for problem in corpus.problems] == ["short.wav", "shorter.wav"]
    assert remarks(corpus, views().sampler, None) == ()


# Views from other tracks of a group


def grouped(corpus, *sizes):
    """The corpus with groups of these sizes; the rest has none."""
    names = [f"group {number}" for number, size in enumerate(sizes) for _ in range(size)]
    return replace(corpus, groups=np.array([*names, *[""] * (len(corpus) - len(names))]))


def track_of(crops):
    """The numbers of the tracks that crops are from; see write_tracks."""
    return torch.floor(crops[:, 0] * 100 + 1e-4).long()


MATES = views(seconds=(0.25,) * 3, sources=(0, 1, 2), partners="group")


def test_partners_are_other_tracks_of_the_same_group(corpus):
    data = grouped(corpus, 1, 2, 3, 10)  # four tracks have no group
    numbers = data.group_numbers()
    met = set()
    for batch in load(data, views=MATES, steps=200):
        track, *mates = (track_of(crop) for crop in batch.crops)
        assert torch.equal(track, batch.items)
        for row, item in enumerate(batch.items.tolist()):
            group, size = numbers[item], (numbers == numbers[item]).sum()
            found = [int(mate[row]) for mate in mates]
            if group < 0 or size == 1:
                assert found == [item, item]
                # Alone, a track is still cropped anew for each view.
                assert len({float(crop[row, 0]) for crop in batch.crops}) > 1
                continue
            assert item not in found
            assert (numbers[found] == group).all()
            assert len(set(found)) == min(2, size - 1)  # different ones where there are as many
            met.update((item, mate) for mate in found)
    # Every pair that is possible, in either direction.
    assert met == {(a, b) for a in range(16) for b in range(16) if a != b and numbers[a] == numbers[b]}


def test_partners_are_of_the_same_split(corpus):
    data = grouped(corpus, 20)
    rows = data.indices("train")
    for batch in load(data, views=MATES, split="train", steps=30):
        for crop in batch.crops:
            assert np.isin(track_of(crop), rows).all()


def test_partners_do_not_depend_on_workers_or_resuming(corpus):
    data = grouped(corpus, 5, 10)
    expected = load(data, views=MATES, steps=12)
    assert same(expected, load(data, views=MATES, steps=12, workers=2))
    assert same(expected[5:], load(data, views=MATES, steps=12, start_step=5))


def test_tracks_without_a_mate_are_counted(corpus, caplog):
    load(grouped(corpus, 1, 2, 3), views=MATES, steps=1)
    counted = (
        "15 of 20 tracks have no other track of their group: all their views are crops of the track itself"
    )
    assert counted in caplog.text
    assert remarks(grouped(corpus, 20), MATES.sampler) == ()


def test_groups_are_needed(corpus):
    for data in (corpus, grouped(corpus, 1, 1), grouped(corpus, 2)):
        split = "valid" if data.groups is not None else None
        with pytest.raises(
            CorpusError, match=r"no two .*tracks have the same group; give 'group' .*in a manifest"
        ):
            load(data, views=MATES, split=split, batch_size=1)


def test_a_mate_that_fails_is_named(tmp_path):
    write_tracks(tmp_path, 6)
    corpus = grouped(open_corpus(tmp_path), 3, 3)
    (tmp_path / "01.wav").unlink()
    batches = load(corpus, views=MATES, batch_size=3, steps=8)
    problems = {problem for batch in batches for problem in batch.problems}
    assert {problem.path for problem in problems} == {"01.wav"}
    assert not any((track_of(crop) == 1).any() for batch in batches for crop in batch.crops)


# Views from separated sources

STEMS = views(seconds=(0.25,) * 2, sources=(0, 1), partners="stems")


@pytest.fixture
def with_stems(tmp_path):
    """Ten tracks n with stems n + 100 and n + 200, of which the last two have none."""
    write_tracks(tmp_path, 10)
    lines = []
    for number in range(10):
        line = {"audio_path": f"{number:02d}.wav", "split": "train"}
        if number < 8:
            names = [f"{part}_{number}.wav" for part in (100, 200)]
            for part, name in zip((100, 200), names, strict=True):
                ramp = (number + part) / 100 + ramps(2.0) / 1000
                soundfile.write(tmp_path / name, ramp, RATE, subtype="FLOAT")
            line["stems"] = names if number % 2 else dict(zip(("bass", "drums"), names, strict=True))
        lines.append(json.dumps(line))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_a_stem_of_the_same_track_at_a_time_of_its_own(with_stems, caplog):
    met, times = set(), []
    batches = load(with_stems, views=STEMS, batch_size=5, steps=60)
    for batch in batches:
        mix, stem = batch.crops
        assert torch.equal(track_of(mix), batch.items)
        met.update(zip(batch.items.tolist(), track_of(stem).tolist(), strict=True))
        times.append(torch.stack([crop[:, 0] * 100 % 1 for crop in (mix, stem)]))
    assert met == {(n, n + part) for n in range(8) for part in (100, 200)} | {(8, 8), (9, 9)}
    assert abs(np.corrcoef(torch.cat(times, 1))[0, 1]) < 0.2
    assert "2 of 10 tracks have no stems: all their views are crops of the track itself" in caplog.text
    assert same(batches, load(with_stems, views=STEMS, batch_size=5, steps=60, workers=2))


def test_silent_stretches_of_stems_are_not_taken(with_stems):
    for number in range(8):
        half = np.r_[np.zeros(RATE), np.full(RATE, 5.0)]
        soundfile.write(with_stems / f"100_{number}.wav", np.zeros(2 * RATE), RATE)
        soundfile.write(with_stems / f"200_{number}.wav", 1e-4 * (half == 0) + half, RATE, subtype="FLOAT")
    for number in (0, 1):  # nothing but silence
        soundfile.write(with_stems / f"200_{number}.wav", np.full(2 * RATE, 1e-4), RATE, subtype="FLOAT")
    from_mix, total = 0, 0
    for batch in load(with_stems, views=STEMS, batch_size=5, steps=100):
        sounds = batch.crops[1][:, -1] == 5
        known = (batch.items > 1) & (batch.items < 8)
        assert not sounds[~known].any()
        assert torch.equal(track_of(batch.crops[1])[~sounds], batch.items[~sounds])
        from_mix, total = from_mix + int((~sounds[known]).sum()), total + int(known.sum())
    assert 0 < from_mix < 0.15 * total  # a draw finds sound with a chance of about 0.29


def test_stems_are_needed(corpus):
    with pytest.raises(CorpusError, match=r"none of the tracks has stems; give 'stems' .* in a manifest"):
        load(corpus, views=STEMS)


def test_a_stem_that_fails_is_named(with_stems):
    (with_stems / "100_3.wav").unlink()
    (with_stems / "200_3.wav").unlink()
    problems = [
        problem for batch in load(with_stems, views=STEMS, batch_size=5) for problem in batch.problems
    ]
    assert {problem.path for problem in problems} <= {"100_3.wav", "200_3.wav"}
    assert problems[0].reason == "there is no such file"


# Reading


@pytest.mark.parametrize("short", ["drop", "loop"])
def test_repeated_crops_are_read_once(corpus, short, monkeypatch):
    class Same(RandomCrops):
        def starts(self, duration, rng):
            return (float(rng.uniform(0, duration - 0.5)),) * 3

    reads = []
    read = AudioReader.read

    def counted(self, *args, **kwargs):
        reads.append(self.path)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(AudioReader, "read", counted)
    sampler = Same(seconds=(0.5, 0.5, 0.25), sources=(0, 0, 0), short=short)
    batch = load(corpus, views=SimpleNamespace(sampler=sampler, on_cpu=None))[0]
    assert torch.equal(batch.crops[0], batch.crops[1])
    assert torch.equal(batch.crops[0][:, : RATE // 4], batch.crops[2])
    assert len(reads) == 2 * 20  # once for each length


@pytest.mark.parametrize("partners", ["group", "stems"])
def test_the_work_per_track_does_not_grow_with_the_corpus(corpus, partners, monkeypatch):
    """Operations on arrays of the size of the corpus are made when a loader is made, not for a track."""
    large = 200_000
    big = replace(
        corpus.take(np.arange(large) % 20),
        groups=np.arange(large).astype(str) if partners == "stems" else np.arange(large) // 4 % 2,
        stems=np.array(corpus.paths)[:, None][np.arange(large) % 20],
    )
    sampler = RandomCrops((0.25, 0.25), (0, 1), partners)
    items = np.arange(large)
    reader = CropReader(big, items, sampler, RATE)
    crops = [np.empty(RATE // 4, np.float32) for _ in range(2)]
    reader.read(5, np.random.default_rng(0), crops)
    tracemalloc.start()
    for item in range(50):
        reader.read(item, np.random.default_rng(item), crops)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < large  # bytes: no array with a number per track


def test_what_is_done_to_crops_where_they_are_read(corpus):
    calls = []

    def negate(crops, sample_rate, view, keys):
        crops *= -1
        calls.append((crops.shape, sample_rate, view, keys.tolist()))

    for batch, plain in zip(load(corpus, views=views(negate), steps=2), load(corpus, steps=2), strict=True):
        assert all(torch.equal(a, -b) for a, b in zip(batch.crops, plain.crops, strict=True))
        keys = plain.keys.tolist()
        assert [calls.pop(0), calls.pop(0)] == [((4, 4_000), RATE, 0, keys), ((4, 2_000), RATE, 1, keys)]
    assert not calls


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="no signal says here who sent it")
def test_a_reader_ends_when_the_run_says_so_and_not_when_others_do(music):
    with signals_left_to_the_run():
        batches = iter(loader(music, chain("crops", 1.0), 4, steps=40, workers=1))
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    next(batches)
    (reader,) = batches._workers
    for name in ("TERM", "INT", "USR1"):
        subprocess.run(["sh", "-c", f"kill -{name} {reader.pid}"], check=True)
    assert len([next(batches) for _ in range(8)]) == 8  # more than are read ahead
    assert reader.is_alive()
    reader.terminate()
    reader.join(60)
    assert reader.exitcode == 0
