from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mvssl.frontends import CQT, LogMel, Waveform, create_frontend
from mvssl.seeding import hash_keys
from mvssl.views import (
    Adjacent,
    Crops,
    Gain,
    Gap,
    Polarity,
    Same,
    Transform,
    ViewChain,
    chain,
    chains,
    register_chain,
)

LENGTH = 1.5


@dataclass
class Batch:
    crops: tuple[torch.Tensor, ...]
    keys: np.ndarray


def batch(views=2, size=5, samples=24_000, same=False):
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
    """A chain that remembers crops before these, if it is one that does, and no longer listens."""
    views = chain(request.param, LENGTH).bind(frontend)
    views(Batch(tuple(crop.flip(1) for crop in crops_for(views).crops), hash_keys(1, np.arange(5))))
    return views.eval()


def samples_of(views):
    return round(views.sampler.length * 16_000)


def crops_for(views, count=2, same=False):
    return batch(count, samples=samples_of(views), same=same)


def remembers(views):
    return any(member.remembers for member in views.spectrogram)


def augmented(views, count=2):
    return range(count) if views.augmented is None else sorted(views.augmented)


# The contract of every registered chain


def test_views_are_audio_or_log_mels(views, frontend):
    given = crops_for(views)
    made = views(given)
    assert len(made) == 2
    for view, crop in zip(made, given.crops, strict=True):
        cut = crop[:, : round(LENGTH * 16_000)]
        assert view.shape in (cut.shape, frontend(cut).shape)
        assert view.dtype == torch.float32
        assert view.isfinite().all()
        assert not view.requires_grad


@pytest.mark.parametrize("name", chains.names())
@pytest.mark.parametrize("kind", ["cqt", "musicnn", "deezer2024"])
def test_chains_work_on_any_log_spectrogram(name, kind):
    front_end = CQT(n_bins=36, f_min=440.0, hop_length=160) if kind == "cqt" else create_frontend(kind)
    views = chain(name, LENGTH).bind(front_end)
    for view in views(crops_for(views)):
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
    assert all(view.ndim == 2 for view in views(crops_for(views)))


def test_crops_are_untouched(views):
    given = crops_for(views)
    copies = [crop.clone() for crop in given.crops]
    views(given)
    assert all(map(torch.equal, given.crops, copies))


def test_views_depend_on_their_keys_alone(views):
    given = crops_for(views)
    made = views(given)
    for view, again in zip(made, views(given), strict=True):
        assert torch.equal(view, again)
    rows = [3, 1]
    part = views(Batch(tuple(crop[rows] for crop in given.crops), given.keys[rows]))
    for view, few in zip(made, part, strict=True):
        torch.testing.assert_close(few, view[rows], atol=1e-5, rtol=1e-4)


def test_views_of_one_crop_differ_wherever_there_are_transforms(views):
    first, second = views(crops_for(views, same=True))
    other = views(Batch(crops_for(views, same=True).crops, hash_keys(8, np.arange(5))))[0]
    if not views.waveform and not views.spectrogram:
        assert torch.equal(first, second)
        return
    assert (second != first).flatten(1).any(1).all()
    if 0 in augmented(views):
        assert (other != first).flatten(1).any(1).all()
    else:
        assert torch.equal(other, first)


def test_silence_stays_finite(views):
    for view in views(Batch((torch.zeros(2, samples_of(views)),) * 2, hash_keys(0, np.arange(2)))):
        assert view.isfinite().all()


def test_the_first_views_do_not_depend_on_how_many_follow(views):
    two, three = views(crops_for(views, 2)), views(crops_for(views, 3))
    assert len(three) == 3
    for few, more in zip(two, three, strict=False):
        torch.testing.assert_close(few, more, atol=1e-5, rtol=1e-4)


def test_views_of_other_lengths_change_nothing_for_the_rest(views):
    given = batch(2)
    longer = Batch((*given.crops, torch.randn(5, samples_of(views) * 3 // 2)), given.keys)
    if remembers(views):
        with pytest.raises(ValueError, match="give it views of one length"):
            views(longer)
        return
    made = views(longer)
    assert made[2].shape[-1] > made[0].shape[-1]
    for alone, together in zip(views(given), made, strict=False):
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


def test_they_own_nothing_that_is_saved(views):
    views(crops_for(views))
    assert remembers(views) or not views.state_dict()
    assert not list(views.parameters())
    assert views.frontend not in views.modules()


PAPERS = {
    "byola": Same(1.5, 2),
    "byola_v2": Same(1.5, 2),
    "choi2022": Adjacent(1.5 * 1.2, 2),
    "choi2022_anchor": Adjacent(1.5 * 1.2, 2),
    "choi2022_positive": Adjacent(1.5 * 1.2, 2),
    "deezer2024": Gap(1.5, 2, min_gap=4.0),
    "myna": Same(1.5, 2),
}


@pytest.mark.parametrize("name", chains.names())
def test_names_make_chains_with_their_own_crops_or_those_asked_for(name):
    assert chain(name, 1.5).sampler == PAPERS.get(name, Crops(1.5, 2))
    views = chain(name, 1.5, 3, "adjacent", min_gap=0.2, max_gap=None)
    assert views.sampler == Adjacent(1.5 * views.reach, 3, min_gap=0.2)
    assert chains.entry(name).summary.endswith(".")


def test_options_go_to_the_sampler_of_the_chain():
    assert chain("deezer2024", min_gap=1.0).sampler.min_gap == 1.0
    assert chain("deezer2024", sampler="gap").sampler.min_gap == 4.0
    with pytest.raises(ValueError, match="sampler 'random' takes no min_gap"):
        chain("light", min_gap=1.0)


def test_packages_may_register_their_own(monkeypatch):
    monkeypatch.setattr(chains, "_entries", dict(chains._entries))

    @register_chain("mine", sampler="gap", min_gap=2.0)
    def _mine(sampler):
        """Louder."""
        return ViewChain(sampler, [Gain((6.0, 6.0))])

    assert chain("mine", 1.0).sampler == Gap(1.0, 2, min_gap=2.0)
    with pytest.raises(ValueError, match="already registered"):
        register_chain("mine")(_mine)


# Chains in general


def test_log_mel_members_need_a_front_end():
    views = ViewChain(Crops(LENGTH), spectrogram=[Gain()])
    with pytest.raises(ValueError, match=r"call views.bind\(encoder.frontend\) first"):
        views(batch())


def test_crops_need_no_front_end():
    given = batch()
    made = chain("crops", LENGTH)(given)
    assert all(map(torch.equal, made, given.crops))
    assert chain("light_waveform", LENGTH)(given)[0].shape == (5, 24_000)


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


def test_what_was_drawn_is_told_and_can_be_replayed(views):
    given = crops_for(views)
    made, drawn = views(given, return_params=True)
    members = [*views.waveform, *views.spectrogram]
    assert [len(views_of_member) for views_of_member in drawn] == [2] * len(members)
    for member, views_of_member in zip(members, drawn, strict=True):
        told = [params for view, params in enumerate(views_of_member) if view in augmented(views)]
        assert all(params.keys() == {"applied", *member.ranges} for params in told)
        assert all(len(value) == 5 for params in told for value in params.values())
        assert sum(map(bool, views_of_member)) == len(told)
    other_keys = Batch(given.crops, hash_keys(8, np.arange(5)))
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
    views = ViewChain(Gap(LENGTH, min_gap=0.5), [_Faster()])
    assert views.sampler == Gap(2 * LENGTH, min_gap=0.5)
    given = batch(samples=48_000)
    for view, crop in zip(views(given), given.crops, strict=True):
        assert torch.equal(view, crop[:, ::2])
    on_mels = ViewChain(Crops(LENGTH), [_Faster()], [Gain((0.0, 0.0))]).bind(frontend)
    assert torch.equal(on_mels(given)[0], frontend(given.crops[0][:, ::2]))
    assert on_mels.with_sampler(Crops(1.0)).sampler.length == 2.0


def test_wrong_names_and_arguments():
    with pytest.raises(ValueError, match=r"no view chain named 'lite'; did you mean 'light'\?"):
        chain("lite")
    with pytest.raises(
        ValueError, match=r"min_gap=1.0: sampler 'random' takes no min_gap; gap and adjacent would"
    ):
        chain("crops", min_gap=1.0)
    with pytest.raises(ValueError, match="n_views=0"):
        chain("crops", n_views=0)
