import io

import numpy as np
import pytest
import torch
from drawn import always, keys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import mvssl
import mvssl.views.transforms as transforms
from mvssl.frontends import LogMel
from mvssl.pretext import SimCLR
from mvssl.views import Same, ViewChain
from mvssl.views.transforms import (
    FrequencyMask,
    FrequencyShift,
    FrequencyWarp,
    LinearFader,
    MelTransform,
    Mixup,
    RandomResizeCrop,
    TimeMask,
)

KINDS = [
    kind
    for kind in vars(transforms).values()
    if isinstance(kind, type) and issubclass(kind, MelTransform) and not kind.__abstractmethods__
]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def mel(frontend, noise):
    return frontend(noise)


def bound(transform, frontend, earlier=None):
    """The transform with its front end, and with what it may remember."""
    transform.bind(frontend)
    if earlier is not None:
        transform(earlier)
        transform.eval()
    return transform


# What all transforms of log-mels promise


def test_all_of_them_are_tested():
    assert {FrequencyMask, FrequencyShift, FrequencyWarp, LinearFader, Mixup, TimeMask} < set(KINDS)


@each_kind
def test_no_value_is_below_silence(kind, frontend, noise):
    quiet = frontend(1e-3 * noise)
    for x in (quiet, torch.full_like(quiet, frontend.silence)):
        y = bound(kind(), frontend, quiet.flip(0))(x, keys(6))
        assert y.min() >= frontend.silence
        assert y.isfinite().all()


@each_kind
def test_dead_bins_stay_dead(kind, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True)
    dead = front_end.centre_frequencies == 0
    mel = front_end(noise)
    y = bound(kind(), front_end, front_end(noise.flip(1)))(mel, keys(6))
    torch.testing.assert_close(y[:, dead], mel[:, dead], atol=1e-5, rtol=0)
    assert not torch.isclose(y[:, ~dead], mel[:, ~dead]).all()


@each_kind
def test_gradients_flow(kind, frontend, mel):
    x = mel.clone().requires_grad_()
    bound(kind(), frontend, mel.flip(1))(x, keys(6)).square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).flatten(1).any(1).all()


@each_kind
def test_autocast_changes_nothing(kind, frontend, mel):
    transform = bound(kind(), frontend, mel.flip(1))
    with torch.autocast("cpu", torch.bfloat16):
        y = transform(mel, keys(6))
    assert torch.equal(y, transform(mel, keys(6)))


NEUTRAL = {
    "fader": always(LinearFader, start_db=0.0, end_db=0.0),
    "mixup": always(Mixup, ratio=0.0),
    "crop": RandomResizeCrop((1.0, 1.0), (1.0, 1.0), canvas=1.0),
    "shift": always(FrequencyShift, semitones=0.0),
    "warp": always(FrequencyWarp, factor=1.0),
    "time mask": always(TimeMask, width=0.0),
    "frequency mask": always(FrequencyMask, width=0.0),
}


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("dead", [False, True])
def test_neutral_parameters_change_nothing(name, dead, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True) if dead else LogMel()
    mel = front_end(noise)
    y = bound(NEUTRAL[name], front_end, mel.flip(1))(mel, keys(6))
    NEUTRAL[name].train()
    torch.testing.assert_close(y, mel, atol=1e-4, rtol=0)


# Linear fader


def test_a_fader_equals_a_naive_loop(frontend, mel):
    y, params = bound(LinearFader(), frontend)(mel, keys(6), return_params=True)
    for row in range(6):
        start, end = float(params["start_db"][row]), float(params["end_db"][row])
        for frame in range(51):
            gain = start + (end - start) * frame / 50
            power = 10 ** (gain / 10) * frontend.power(mel)[row, :, frame]
            expected = frontend.scale(power[None, :, None])[0, :, 0]
            torch.testing.assert_close(y[row, :, frame], expected, atol=1e-4, rtol=0)


def test_a_fader_is_close_to_a_fader_on_audio(noise, frontend):
    faded = noise * 10 ** (torch.linspace(-12.0, 9.0, 16_000) / 20)
    y = bound(always(LinearFader, start_db=-12.0, end_db=9.0), frontend)(frontend(noise), keys(6))
    inner = slice(2, -2)
    difference = (y - frontend(faded))[:, 2:, inner] * frontend.std
    assert difference.abs().mean() < 0.2  # decibels


# Random resize crop


def boxes(height, length, bottom, left, bins=40, frames=51, canvas=1.5):
    """The crop that cuts whole bins and frames: left counts from the beginning of the canvas."""
    scales = {"frequency": height / bins, "time": length / frames}
    room = {"low": bins - height, "early": canvas * frames - length}
    places = {"low": bottom / max(room["low"], 1e-9), "early": left / max(room["early"], 1e-9)}
    return {name: torch.tensor([value]) for name, value in {**scales, **places}.items()}


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(8, 40), length=st.integers(8, 72), low=st.floats(0, 1), early=st.floats(0, 1),
    fill=st.sampled_from(["zero", "mean", "silence"]),
)  # fmt: skip
def test_crops_are_those_of_interpolate_on_the_canvas(height, length, low, early, fill):
    front_end = LogMel(n_mels=40)
    bins, frames, canvas = 40, 48, 72
    mel = torch.randn(1, bins, frames, generator=torch.Generator().manual_seed(height))
    bottom, left = round(low * (bins - height)), round(early * (canvas - length))
    params = boxes(height, length, bottom, left, frames=frames)
    transform = bound(RandomResizeCrop(fill=fill), front_end)
    y = transform(mel, params={"applied": torch.ones(1, dtype=torch.bool), **params})[0]
    level = {"zero": 0.0, "mean": float(mel.mean()), "silence": front_end.silence}[fill]
    image = torch.full((bins, canvas), level)
    image[:, 12:60] = mel[0]
    box = image[bottom : bottom + height, left : left + length]
    expected = F.interpolate(box[None, None], (bins, frames), mode="bicubic", align_corners=True)[0, 0]
    # Next to its edge, interpolate sees the edge once more in the place of what lies beyond it.
    rows = torch.arange(bins) * (height - 1) / (bins - 1)
    columns = torch.arange(frames) * (length - 1) / (frames - 1)
    clear = ((rows >= 1) & (rows <= height - 2))[:, None] & ((columns >= 1) & (columns <= length - 2))
    assert clear.sum() > 100
    expected = expected.clamp_min(front_end.silence)
    torch.testing.assert_close(y[clear], expected[clear], atol=1e-3, rtol=0)
    for i, j in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(y[i, j], expected[i, j], atol=1e-3, rtol=0)


def test_a_box_that_is_higher_than_the_clip_has_all_bins(frontend, mel):
    high, whole = (
        bound(RandomResizeCrop((scale, scale), (0.8, 0.8)), frontend)(mel, keys(6)) for scale in (1.5, 1.0)
    )
    assert torch.equal(high, whole)


@pytest.mark.parametrize("early", [0.0, 1.0])
def test_beside_the_clip_lies_the_filling(early, frontend, mel):
    for fill, level in (("zero", 0.0), ("silence", frontend.silence), ("mean", mel.mean((1, 2)))):
        transform = bound(RandomResizeCrop((1.0, 1.0), (1.0, 1.0), fill=fill), frontend)
        params = transform.draw(keys(6))
        params["early"] = torch.full((6,), early)
        y = transform(mel, params=params)
        beside = y[:, :, :10] if early == 0 else y[:, :, -10:]  # a quarter of the clip, but for its edge
        torch.testing.assert_close(beside, torch.as_tensor(level).reshape(-1, 1, 1).expand_as(beside))
        shown = slice(15, None) if early == 0 else slice(None, -15)
        assert not torch.isclose(y[:, :, shown], beside[:, :, :1], atol=1e-3).all(2).any()


def test_a_shorter_box_slows_down(frontend):
    mel = torch.full((1, 40, 101), frontend.silence)
    mel[:, :, [30, 50, 70]] = 1.0
    params = {"applied": torch.tensor([True]), "frequency": torch.ones(1), "low": torch.zeros(1)}
    params |= {"time": torch.tensor([51 / 101]), "early": torch.tensor([0.5])}
    y = bound(RandomResizeCrop(), frontend)(mel, params=params)[0, 20]
    assert y.topk(3).indices.sort().values.tolist() == [10, 50, 90]


@pytest.mark.parametrize("arguments", [{"time": (0.0, 1.0)}, {"frequency": (-1.0, 1.0)}, {"canvas": 0.9}])
def test_impossible_crops_are_refused(arguments):
    with pytest.raises(ValueError, match="scales must be positive and the canvas at least 1"):
        RandomResizeCrop(**arguments)
    with pytest.raises(ValueError, match="fill='nothing'"):
        RandomResizeCrop(fill="nothing")


# Mixup


def clips(*levels):
    """Log-mels (clips, 40, 8), each of one level."""
    return torch.tensor(levels).reshape(-1, 1, 1).expand(-1, 40, 8).clone()


def mixing(frontend, memory=4, **options):
    return bound(Mixup((0.25, 0.25), memory, **options), frontend)


def partners(transform, frontend, count=400):
    """Which levels a silent clip meets, one per draw."""
    transform.eval()
    y = transform(clips(*[frontend.silence] * count), keys(count))
    transform.train()
    power = (frontend.power(y) - 0.75 * frontend.power(torch.tensor(frontend.silence))) / 0.25
    return frontend.scale(power)[:, 0, 0]


def test_mixing_equals_the_formula(frontend, mel):
    earlier = frontend(0.03 * torch.randn(20, 16_000))
    transform = bound(Mixup(memory=16), frontend, earlier)
    y, params = transform(mel, keys(6), return_params=True)
    newest_first = earlier.flip(0)[:16]
    for row in range(6):
        ratio, z = float(params["ratio"][row]), newest_first[int(params["partner"][row] * 16)]
        x, z = (10 ** ((each.double() * frontend.std + frontend.mean) / 10) for each in (mel[row], z))
        expected = (10 * ((1 - ratio) * x + ratio * z).log10() - frontend.mean) / frontend.std
        torch.testing.assert_close(y[row].double(), expected, atol=1e-4, rtol=0)


def test_the_first_batch_has_nothing_to_mix_with_and_none_meets_itself(frontend):
    transform = mixing(frontend)
    first, second = clips(1.0, 0.5), clips(-0.5, -1.0)
    assert torch.equal(transform(first, keys(2)), first)
    y = transform(second, keys(2))
    power = frontend.power
    for row in range(2):
        possible = [0.75 * power(second[row]) + 0.25 * power(one) for one in first]
        assert any(torch.allclose(power(y[row]), mixed, rtol=1e-4) for mixed in possible)


def test_partners_are_the_newest_alike_often(frontend):
    transform = mixing(frontend)
    levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    for number, level in enumerate(levels):
        transform(clips(level), keys(1))
        met = partners(transform, frontend)
        there = levels[max(0, number - 3) : number + 1]
        counts = [(met - level).abs().lt(1e-3).sum().item() for level in there]
        assert sum(counts) == 400
        np.testing.assert_allclose(counts, 400 / len(there), rtol=0.3)
    transform(clips(*levels, 0.7, 0.8), keys(8))  # more than it can remember
    assert sorted(set((partners(transform, frontend) * 10).round().int().tolist())) == [5, 6, 7, 8]


def test_every_input_is_remembered_in_training_and_none_in_evaluation(frontend):
    transform = mixing(frontend, p=0.0)
    transform(clips(0.1, 0.2), keys(2))
    assert transform.count == 2
    transform.eval()
    transform(clips(0.3), keys(1))
    assert transform.count == 2
    assert torch.equal(transform.get_extra_state(), clips(0.1, 0.2))


def test_what_is_remembered_is_neither_changed_later_nor_part_of_a_graph(frontend):
    transform = mixing(frontend)
    x = clips(0.1, 0.2).requires_grad_()
    transform(x, keys(2))
    with torch.no_grad():
        x.zero_()
    assert torch.equal(transform.get_extra_state(), clips(0.1, 0.2))
    assert not transform.bank.requires_grad


def rerun(transform, mel, steps):
    return [transform(mel.roll(step, 2), keys(6, step)) for step in steps]


@pytest.mark.parametrize("steps", [1, 2, 3, 7])  # before the memory is full, and after
def test_a_resumed_run_repeats_exactly(steps, frontend, mel):
    whole, part = (bound(Mixup(memory=15), frontend) for _ in range(2))
    expected = rerun(whole, mel, range(steps + 4))[steps:]
    rerun(part, mel, range(steps))
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    resumed = bound(Mixup(memory=15), frontend)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert all(map(torch.equal, rerun(resumed, mel, range(steps, steps + 4)), expected))
    other = bound(Mixup(memory=15), frontend)
    assert not torch.equal(rerun(other, mel, range(steps, steps + 4))[0], expected[0])


def test_a_state_of_another_size_gives_its_newest(frontend):
    large, small = mixing(frontend, memory=6), mixing(frontend, memory=2)
    large(clips(0.1, 0.2, 0.3, 0.4), keys(4))
    small.load_state_dict(large.state_dict())
    assert torch.equal(small.get_extra_state(), clips(0.3, 0.4))
    large.load_state_dict(mixing(frontend).state_dict())
    assert large.count == 0


def test_another_front_end_means_another_memory(frontend):
    transform = mixing(frontend)
    transform(clips(0.1), keys(1))
    transform.bind(frontend)
    assert transform.count == 0
    transform(torch.zeros(2, 40, 9), keys(2))
    with pytest.raises(ValueError, match="remembers log-mels of 40 × 9 bins and frames, got 40 × 8"):
        transform(clips(0.1), keys(1))


@pytest.mark.parametrize("arguments", [{"ratio": (-0.1, 0.4)}, {"ratio": (0.0, 1.1)}, {"memory": 0}])
def test_impossible_mixtures_are_refused(arguments):
    with pytest.raises(ValueError, match=r"a ratio lies in \[0, 1\], and a memory holds something"):
        Mixup(**arguments)


class _Stopping(ViewChain):
    """A chain that is interrupted in its fifth batch."""

    calls = 0

    def forward(self, batch, **options):
        self.calls += 1
        if self.calls == 5:
            raise KeyboardInterrupt
        return super().forward(batch, **options)


def test_training_goes_on_with_what_was_remembered(music, tmp_path, encoder):
    state = {name: value.clone() for name, value in encoder.state_dict().items()}

    def weights(kind, folder, members, **options):
        torch.manual_seed(1)
        encoder.load_state_dict(state)
        chain = kind(Same(1.0, 2), spectrogram=members)
        mvssl.fit(
            SimCLR(encoder), music, chain, steps=6, out=tmp_path / folder, batch_size=8, progress=False,
            checkpoint_every=3, precision="fp32", **options,
        )  # fmt: skip
        return torch.cat([value.flatten() for value in encoder.parameters()]).clone()

    whole = weights(ViewChain, "whole", [Mixup(memory=40), LinearFader()])
    with pytest.raises(KeyboardInterrupt):
        weights(_Stopping, "parts", [Mixup(memory=40), LinearFader()])
    assert torch.equal(weights(ViewChain, "parts", [Mixup(memory=40), LinearFader()], resume=True), whole)
