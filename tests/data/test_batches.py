from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from mvssl import seeding
from mvssl.data import CorpusError, loader, open_corpus, read_audio

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
