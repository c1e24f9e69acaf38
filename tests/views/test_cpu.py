import random
import warnings

import numpy as np
import pytest
import soundfile
import torch

from mvssl.data import loader, open_corpus
from mvssl.views import Crops, Polarity, Same, ViewChain
from mvssl.views.cpu import CPUTransforms

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import audiomentations as am

RATE = 8_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    rng = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(folder / f"{number:02d}.wav", 0.1 * rng.standard_normal(2 * RATE), RATE)
    return open_corpus(folder)


def composed():
    """Draws from `random` (order, gain) and from `numpy.random` (noise)."""
    noise = am.AddGaussianNoise(min_amplitude=0.01, max_amplitude=0.1, p=0.5)
    return am.Compose([am.Gain(-12.0, 0.0, p=0.5), noise, am.PolarityInversion(p=0.5)], shuffle=True)


def load(corpus, views, workers=0, **options):
    return list(loader(corpus, views, 4, split=None, sample_rate=RATE, workers=workers, **options))


def same(batches, others):
    return all(
        all(map(torch.equal, batch.crops, other.crops)) for batch, other in zip(batches, others, strict=True)
    )


def ones(samples):
    """Arguments of CPUTransforms for two crops."""
    return np.ones((2, samples), np.float32), RATE, 0, np.array([5, 2**63 + 1], np.uint64)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(corpus, workers):
    views = ViewChain(Crops(0.5), cpu=[composed()])
    expected = load(corpus, views, steps=6)
    assert not same(expected, load(corpus, ViewChain(Crops(0.5)), steps=6))
    assert same(expected, load(corpus, views, workers, steps=6))
    assert same(expected[2:], load(corpus, views, workers, steps=6, start_step=2))
    assert not same(expected, load(corpus, views, workers, steps=6, seed=1))


def test_the_global_generators_neither_matter_nor_change(corpus):
    views = ViewChain(Crops(0.5), cpu=[composed()])
    found = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        found.append(load(corpus, views))
        after = random.random(), np.random.random()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        assert after == (random.random(), np.random.random())  # noqa: NPY002
    assert same(*found)


def test_the_generators_are_restored_after_an_error():
    def fails(samples, sample_rate):
        raise RuntimeError

    random.seed(0)
    state = random.getstate()
    with pytest.raises(RuntimeError):
        CPUTransforms([fails])(*ones(4))
    assert random.getstate() == state


def constant(samples, sample_rate):
    return np.full_like(samples, random.random() + np.random.random())  # noqa: NPY002


def test_every_seed_epoch_item_and_view_draws_numbers_of_its_own(corpus):
    views = ViewChain(Crops(0.5, 3), cpu=[constant])
    drawn = [
        crop[:, 0]
        for seed in (0, 1)
        for batch in load(corpus, views, steps=6, seed=seed)
        for crop in batch.crops
    ]
    assert len(torch.cat(drawn).unique()) == 2 * 2 * 12 * 3


def test_members_run_in_order_and_are_told_the_rate():
    told = []

    def double(samples, sample_rate):
        told.append(sample_rate)
        samples *= 2  # in place
        return samples

    crops, *rest = ones(3)
    CPUTransforms([double, lambda samples, _: samples + 1])(crops, *rest)
    np.testing.assert_array_equal(crops, np.full((2, 3), 3))
    assert told == [RATE, RATE]


def test_views_that_are_left_as_they_are(corpus):
    plain = load(corpus, ViewChain(Same(0.5)))
    views = ViewChain(Same(0.5), [Polarity(p=1.0)], augmented=[1], cpu=[composed()])
    for batch, untouched in zip(load(corpus, views), plain, strict=True):
        assert torch.equal(batch.crops[0], untouched.crops[0])
        assert not torch.equal(batch.crops[1], untouched.crops[1])  # repeated, yet a copy of its own


def test_other_crops_are_transformed_alike(corpus):
    views = ViewChain(Crops(0.5), cpu=[composed()])
    assert same(
        load(corpus, views.with_sampler(Crops(0.25))), load(corpus, ViewChain(Crops(0.25), cpu=[composed()]))
    )
    assert ViewChain(Crops(0.5)).with_sampler(Crops(0.25)).on_cpu is None


def test_the_number_of_samples_is_kept():
    stretch = am.TimeStretch(min_rate=1.25, max_rate=1.25, p=1.0)
    CPUTransforms([stretch])(*ones(RATE))
    shortens = am.TimeStretch(min_rate=1.25, max_rate=1.25, p=1.0, leave_length_unchanged=False)
    with pytest.raises(
        ValueError, match=r"TimeStretch\(.* made \(6400,\) of \(8000,\) samples: members must keep"
    ):
        CPUTransforms([shortens])(*ones(RATE))
