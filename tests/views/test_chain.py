from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mvssl.frontends import CQT, LogMel, Waveform, create_frontend
from mvssl.seeding import hash_keys
from mvssl.views import Crops, Gain, Polarity, Transform, ViewChain, chain, chains

LENGTH = 0.5


@dataclass
class Batch:
    crops: tuple[torch.Tensor, ...]
    keys: np.ndarray


def batch(views=2, size=5, samples=8_000, same=False):
    rng = torch.Generator().manual_seed(0)
    crops = [0.1 * torch.randn(size, samples, generator=rng) for _ in range(views)]
    return Batch(tuple(crops[:1] * views if same else crops), hash_keys(7, np.arange(size)))


@pytest.fixture(scope="module")
def frontend():
    return LogMel(n_fft=512, hop_length=160, n_mels=32)


class Recorder(Transform):
    """Changes nothing; remembers what it drew."""

    takes_mel = True

    def __init__(self):
        super().__init__(value=(0.0, 1.0))
        self.drawn = []

    def transform(self, x, params):
        self.drawn += params["value"].tolist()
        return x


@pytest.fixture(params=chains.names())
def views(request, frontend):
    return chain(request.param, LENGTH).bind(frontend)


# The contract of every registered chain


def test_views_are_audio_or_log_mels(views, frontend):
    given = batch()
    made = views(given)
    assert len(made) == 2
    for view, crop in zip(made, given.crops, strict=True):
        assert view.shape in (crop.shape, frontend(crop).shape)
        assert view.dtype == torch.float32
        assert view.isfinite().all()
        assert not view.requires_grad


@pytest.mark.parametrize("name", chains.names())
@pytest.mark.parametrize("kind", ["cqt", "musicnn", "deezer2024"])
def test_chains_work_on_any_log_spectrogram(name, kind):
    front_end = CQT(n_bins=36, f_min=440.0, hop_length=160) if kind == "cqt" else create_frontend(kind)
    given = batch()
    for view in chain(name, LENGTH).bind(front_end)(given):
        if view.ndim == 3:
            assert view.isfinite().all()
            assert view.min() >= front_end.silence - 1e-4


@pytest.mark.parametrize("name", chains.names())
def test_chains_on_log_mels_refuse_an_encoder_of_raw_audio(name):
    views = chain(name, LENGTH)
    if views.spectrogram:
        with pytest.raises(ValueError, match=r"takes raw audio: use .* such as 'light_waveform'"):
            views.bind(Waveform(22_050))
        return
    views.bind(Waveform(22_050))
    assert {member.sample_rate for member in views.waveform if hasattr(member, "sample_rate")} <= {22_050}
    assert all(view.shape == (5, 8_000) for view in views(batch()))


def test_crops_are_untouched(views):
    given = batch()
    copies = [crop.clone() for crop in given.crops]
    views(given)
    assert all(map(torch.equal, given.crops, copies))


def test_views_depend_on_their_keys_alone(views):
    given = batch()
    made = views(given)
    for view, again in zip(made, views(given), strict=True):
        assert torch.equal(view, again)
    rows = [3, 1]
    part = views(Batch(tuple(crop[rows] for crop in given.crops), given.keys[rows]))
    for view, few in zip(made, part, strict=True):
        torch.testing.assert_close(few, view[rows], atol=1e-5, rtol=1e-4)


def test_views_of_one_crop_differ_wherever_there_are_transforms(views):
    first, second = views(batch(same=True))
    other = views(Batch(batch(same=True).crops, hash_keys(8, np.arange(5))))[0]
    if not views.waveform and not views.spectrogram:
        assert torch.equal(first, second)
        return
    for view in (second, other):
        assert (view != first).flatten(1).any(1).all()


def test_silence_stays_finite(views):
    for view in views(Batch((torch.zeros(2, 8_000),) * 2, hash_keys(0, np.arange(2)))):
        assert view.isfinite().all()


def test_the_first_views_do_not_depend_on_how_many_follow(views):
    two, three = views(batch(2)), views(batch(3))
    assert len(three) == 3
    for few, more in zip(two, three, strict=False):
        torch.testing.assert_close(few, more, atol=1e-5, rtol=1e-4)


def test_views_of_other_lengths_change_nothing_for_the_rest(views):
    given = batch(2)
    longer = Batch((*given.crops, torch.randn(5, 12_000)), given.keys)
    made = views(longer)
    assert made[2].shape[-1] > made[0].shape[-1]
    for alone, together in zip(views(given), made, strict=False):
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


def test_they_own_nothing_that_is_saved(views):
    views(batch())
    assert not views.state_dict()
    assert not list(views.parameters())
    assert views.frontend not in views.modules()


@pytest.mark.parametrize("name", chains.names())
def test_names_make_chains_with_the_asked_crops(name):
    views = chain(name, 1.5, 3, min_gap=0.5, max_gap=2.0)
    assert views.sampler == Crops(1.5, 3, 0.5, 2.0)
    assert chains.entry(name).summary.endswith(".")


# Chains in general


def test_log_mel_members_need_a_front_end():
    views = ViewChain(Crops(LENGTH), spectrogram=[Gain()])
    with pytest.raises(ValueError, match=r"call views.bind\(encoder.frontend\) first"):
        views(batch())


def test_crops_need_no_front_end():
    given = batch()
    made = chain("crops", LENGTH)(given)
    assert all(map(torch.equal, made, given.crops))
    assert chain("light_waveform", LENGTH)(given)[0].shape == (5, 8_000)


def test_members_run_in_order(frontend):
    gain, given = 20.0, batch()
    views = ViewChain(Crops(LENGTH), waveform=[Polarity(p=1.0)], spectrogram=[Gain((gain, gain))])
    views.bind(frontend)
    for view, crop in zip(views(given), given.crops, strict=True):
        torch.testing.assert_close(view, frontend(-crop) + gain / frontend.std, atol=1e-5, rtol=0)


def test_every_member_view_and_example_draws_numbers_of_its_own(frontend):
    recorders = [Recorder() for _ in range(4)]
    views = ViewChain(Crops(LENGTH), waveform=recorders[:2], spectrogram=recorders[2:]).bind(frontend)
    views(batch(views=3, size=6))
    drawn = [value for recorder in recorders for value in recorder.drawn]
    assert len(drawn) == 4 * 3 * 6
    assert len(set(drawn)) == len(drawn)


def test_binding_tells_every_member():
    frontend = LogMel(22_050)
    views = chain("light_waveform", LENGTH)
    assert views.bind(frontend) is views
    assert {member.sample_rate for member in views.waveform if hasattr(member, "sample_rate")} == {22_050}
    views = chain("light", LENGTH).bind(frontend)
    assert all(member.frontend is frontend for member in views.spectrogram)


def test_other_crops_with_the_same_members(frontend):
    views = chain("light", LENGTH).bind(frontend)
    other = views.with_sampler(Crops(1.0, 4))
    assert (other.sampler, views.sampler) == (Crops(1.0, 4), Crops(LENGTH))
    assert other.frontend is frontend
    assert all(map(torch.equal, other(batch()), views(batch())))
    assert chain("light").with_sampler(Crops(1.0)).frontend is None


@pytest.mark.parametrize("name", chains.names())
def test_what_was_drawn_is_told_and_can_be_replayed(name, frontend):
    views = chain(name, LENGTH).bind(frontend)
    made, drawn = views(batch(), return_params=True)
    members = [*views.waveform, *views.spectrogram]
    assert [len(views_of_member) for views_of_member in drawn] == [2] * len(members)
    for member, views_of_member in zip(members, drawn, strict=True):
        assert all(params.keys() == {"applied", *member.ranges} for params in views_of_member)
        assert all(len(value) == 5 for params in views_of_member for value in params.values())
    other_keys = Batch(batch().crops, hash_keys(8, np.arange(5)))
    for view, again in zip(made, views(other_keys, params=drawn), strict=True):
        torch.testing.assert_close(view, again, atol=1e-6, rtol=1e-5)


def test_views_can_be_left_as_they_are(frontend):
    given = batch()
    views = ViewChain(Crops(LENGTH), [Polarity(p=1.0)], [Gain((20.0, 20.0))], augmented=[1]).bind(frontend)
    (anchor, positive), drawn = views(given, return_params=True)
    assert torch.equal(anchor, frontend(given.crops[0]))
    torch.testing.assert_close(positive, frontend(-given.crops[1]) + 1, atol=1e-5, rtol=0)
    assert [params[0] for params in drawn] == [{}, {}]
    assert views.with_sampler(Crops(1.0)).augmented == views.augmented


class _Faster(Transform):
    """Keeps every other sample; silence fills what is left."""

    reach = 2.0

    def transform(self, x, params):
        return torch.nn.functional.pad(x[:, ::2], (0, x.shape[1] // 2))


def test_what_plays_faster_is_made_of_longer_crops(frontend):
    views = ViewChain(Crops(LENGTH, 2, min_gap=0.5), [_Faster()])
    assert views.sampler == Crops(2 * LENGTH, 2, min_gap=0.5)
    given = batch(samples=16_000)
    for view, crop in zip(views(given), given.crops, strict=True):
        assert torch.equal(view, crop[:, ::2])
    on_mels = ViewChain(Crops(LENGTH), [_Faster()], [Gain((0.0, 0.0))]).bind(frontend)
    assert torch.equal(on_mels(given)[0], frontend(given.crops[0][:, ::2]))
    assert on_mels.with_sampler(Crops(1.0)).sampler.length == 2.0


def test_wrong_names_and_arguments():
    with pytest.raises(ValueError, match=r"no view chain named 'lite'; did you mean 'light'\?"):
        chain("lite")
    with pytest.raises(TypeError, match="gap"):
        chain("crops", gap=1.0)
    with pytest.raises(ValueError, match="n_views=0"):
        chain("crops", n_views=0)
