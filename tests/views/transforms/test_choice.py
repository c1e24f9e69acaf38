import copy

import pytest
import torch
from drawn import keys

from mvssl.frontends import LogMel
from mvssl.views import Crops, ViewChain
from mvssl.views.transforms import Delay, Gain, HighPass, LowPass, Mixup, OneOf, Polarity, Transform


class Mels(Transform):
    """Takes log-mels only."""

    takes_audio, takes_mel = False, True

    def transform(self, x, params):
        return x


def clmr_filter():
    return OneOf([LowPass((2_200.0, 4_000.0)), HighPass((200.0, 1_200.0))], p=0.8)


def test_each_row_gets_the_member_it_drew(noise):
    transform = clmr_filter()
    y, params = transform(noise, keys(6, seed=3), return_params=True)
    got = {"low": 0, "high": 0, "none": 0}
    for row in range(6):
        if not params["applied"][row]:
            expected, which = noise[row], "none"
        else:
            which, kind = [("low", LowPass), ("high", HighPass)][int(params["choice"][row])]
            hertz = params[f"{kind.__name__}.hertz"][row].item()
            expected = kind((hertz, hertz), p=1.0)(noise[row : row + 1])[0]
        got[which] += 1
        torch.testing.assert_close(y[row], expected, atol=1e-5, rtol=0)
    assert all(got.values())


def test_members_are_chosen_as_often_as_they_weigh():
    params = clmr_filter().draw(keys(4_000))
    assert params["choice"].mean() == pytest.approx(0.5, abs=0.03)
    assert params["applied"].float().mean() == pytest.approx(0.8, abs=0.03)
    # Drawn apart from whether and where it is used.
    assert params["choice"][params["applied"]].mean() == pytest.approx(0.5, abs=0.03)
    weighted = OneOf([Polarity(p=0.2), Gain(p=0.6), Polarity(p=0.0)]).draw(keys(4_000))["choice"]
    assert torch.bincount(weighted.long(), minlength=3).tolist() == pytest.approx([1_000, 3_000, 0], abs=100)


def test_members_compute_their_own_rows_only(noise):
    seen = []

    class Counting(Gain):
        def transform(self, x, params):
            seen.append(len(x))
            return super().transform(x, params)

    _, params = OneOf([Counting(), Counting()], p=0.7)(noise, keys(6), return_params=True)
    assert sum(seen) == params["applied"].sum() < 6


def test_members_of_one_class_are_told_apart(noise):
    transform = OneOf([Gain((-6.0, -3.0)), Gain((3.0, 6.0)), Delay(step_ms=50.0)])
    y, params = transform(noise, keys(6), return_params=True)
    assert params.keys() == {"applied", "choice", "Gain.db", "Gain_2.db", "Delay.ms", "Delay.mix"}
    assert (params["Gain.db"] < 0).all()
    assert (params["Gain_2.db"] > 0).all()
    assert transform.steps == {"choice": 1.0, "Delay.ms": 50.0}
    assert ((params["Delay.ms"] - 200) % 50 == 0).all()
    assert torch.equal(OneOf(transform.transforms)(noise, params=params), y)


def test_choices_may_be_nested(noise):
    transform = OneOf([OneOf([Polarity(), Gain((-6.0, -3.0))]), Gain((3.0, 6.0))])
    y, params = transform(noise, keys(6), return_params=True)
    assert params.keys() == {"applied", "choice", "OneOf.choice", "OneOf.Gain.db", "Gain.db"}
    factors = (y / noise).median(1).values
    expected = torch.where(
        params["choice"] == 1,
        10 ** (params["Gain.db"] / 20),
        torch.where(params["OneOf.choice"] == 1, 10 ** (params["OneOf.Gain.db"] / 20), -1.0),
    )
    torch.testing.assert_close(factors, expected)
    assert repr(eval(repr(transform))) == repr(transform)
    assert torch.equal(transform.transform(noise, {k: v for k, v in params.items() if k != "applied"}), y)


def test_members_are_bound_with_it(noise):
    transform, front_end = clmr_filter(), LogMel(44_100)
    transform.bind(front_end)
    assert all(member.sample_rate == 44_100 for member in transform.transforms)
    assert transform(front_end(noise), keys(6)).shape == front_end(noise).shape


def test_it_takes_what_all_its_members_take(noise):
    assert clmr_filter().takes_mel
    mixed = OneOf([Polarity(), LowPass()])
    assert mixed.takes_audio
    assert not mixed.takes_mel
    with pytest.raises(ValueError, match=r"OneOf takes audio \(batch, samples\), got"):
        mixed(torch.zeros(2, 40, 30))
    with pytest.raises(ValueError, match="of Polarity, Mels, some take only audio"):
        OneOf([Polarity(), Mels()])


def test_a_member_remembers_what_others_get(noise):
    front_end, transform = LogMel(n_fft=512, n_mels=32), OneOf([Gain(), Mixup(memory=8)])
    assert transform.remembers
    transform.bind(front_end)
    mel = front_end(noise)
    transform(mel, keys(6))
    assert torch.equal(transform.transforms[1].get_extra_state(), mel)
    resumed = OneOf([Gain(), Mixup(memory=8)])
    resumed.bind(front_end)
    resumed.load_state_dict(transform.state_dict())
    assert torch.equal(resumed(mel, keys(6, 1)), transform(mel, keys(6, 1)))


def test_nothing_to_choose_from_is_refused():
    for transforms in ([], [Polarity(p=0.0)]):
        with pytest.raises(ValueError, match="OneOf: nothing to choose from"):
            OneOf(transforms)


def test_it_reaches_as_far_as_its_farthest_member():
    class Faster(Polarity):
        reach = 1.25

    assert OneOf([Polarity(), Faster()]).reach == 1.25
    assert clmr_filter().reach == 1.0


def test_chains_tell_and_replay_what_it_chose(noise):
    chain = ViewChain(Crops(1.0), waveform=[Polarity(), clmr_filter()])

    class Batch:
        crops, keys = (noise, noise), keys(6)

    views, params = chain(Batch, return_params=True)
    assert set(params[1][0]) == {"applied", "choice", "LowPass.hertz", "HighPass.hertz"}
    for view, again in zip(views, copy.deepcopy(chain)(Batch, params=params), strict=True):
        assert torch.equal(view, again)
