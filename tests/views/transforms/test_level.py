import audiomentations
import numpy as np
import pytest
import torch
from drawn import RATE, always, keys
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.views.transforms import Clip, Polarity, Saturate, Shift, SpanDropout


def rms(x):
    return x.square().mean(-1).sqrt()


def test_polarity_flips_the_sign(noise):
    y = Polarity(p=1.0)(noise)
    assert torch.equal(y, -noise)
    np.testing.assert_array_equal(y[0], audiomentations.PolarityInversion(p=1.0)(noise[0].numpy(), RATE))


@pytest.mark.parametrize("percent", [2, 10, 40])
def test_clipping_is_that_of_audiomentations(percent, noise):
    same = audiomentations.ClippingDistortion(percent, percent, p=1.0)(noise[0].numpy(), RATE)
    ceiling = 20 * np.log10(same.max() / rms(noise[0]).item())
    # There, the two sides have thresholds of their own, which differ a little.
    np.testing.assert_allclose(always(Clip, headroom_db=ceiling)(noise[:1])[0], same, atol=0.005)


@given(headroom=st.floats(-6, 15), gain=st.floats(1e-3, 1.0), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_the_ceiling_follows_the_level(headroom, gain, seed):
    audio = gain * torch.randn(3, 4_000, generator=torch.Generator().manual_seed(seed))
    y = always(Clip, headroom_db=headroom)(audio)
    ceiling = rms(audio)[:, None] * 10 ** (headroom / 20)
    assert (y.abs() <= ceiling * (1 + 1e-5)).all()
    below = audio.abs() < ceiling * (1 - 1e-5)
    assert torch.equal(y[below], audio[below])
    assert torch.equal(y.sign(), audio.sign())


@pytest.mark.parametrize(("headroom", "share"), [(0.0, 0.317), (9.0, 0.0048)])
def test_clip_says_how_much_of_noise_it_clips(headroom, share):
    audio = torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0))
    assert (always(Clip, headroom_db=headroom)(audio) != audio).float().mean() == pytest.approx(
        share, rel=0.05
    )


@given(drive=st.floats(-12, 12), gain=st.floats(1e-3, 1.0))
@settings(deadline=None, max_examples=20)
def test_saturation_is_a_tangent_that_keeps_the_level(drive, gain):
    audio = gain * torch.randn(2, 4_000, generator=torch.Generator().manual_seed(0))
    y = always(Saturate, drive_db=drive)(audio)
    torch.testing.assert_close(rms(y), rms(audio))
    curve = torch.tanh(audio / rms(audio)[:, None] * 10 ** (drive / 20))
    torch.testing.assert_close(y, curve * (rms(audio) / rms(curve))[:, None], atol=1e-6, rtol=1e-4)


def test_saturation_makes_odd_harmonics():
    sine = 0.3 * torch.sin(2 * torch.pi * 500 * torch.arange(RATE) / RATE)[None]
    levels = []
    for drive in (-30.0, 0.0, 12.0):
        spectrum = torch.fft.rfft(always(Saturate, drive_db=drive)(sine)[0].double()).abs()
        harmonics = 20 * torch.log10(spectrum[[1_000, 1_500, 2_500]] / spectrum[500])
        assert harmonics[0] < -80
        levels.append(harmonics[1].item())
    assert levels[0] < -60 < -30 < levels[1] < levels[2] < -9.5  # 1/3, that of a square wave


@given(fraction=st.floats(-1, 1), circular=st.booleans(), samples=st.integers(100, 3_000))
@settings(deadline=None, max_examples=50)
def test_shifts_are_those_of_numpy(fraction, circular, samples):
    audio = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    y = Shift((fraction, fraction), circular, p=1.0)(audio)
    by = int(np.rint(np.float32(fraction) * np.float32(samples)))
    expected = np.roll(audio.numpy(), by, axis=1)
    if not circular:
        expected[:, : max(by, 0)] = 0
        expected[:, samples + min(by, 0) :] = 0
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("circular", [True, False])
def test_shifts_are_those_of_audiomentations(circular, noise):
    y, params = Shift(circular=circular, p=1.0)(noise, keys(6), return_params=True)
    assert (params["fraction"] < 0).any()
    assert (params["fraction"] > 0).any()
    for row, fraction in enumerate(params["fraction"].tolist()):
        shift = audiomentations.Shift(fraction, fraction, "fraction", circular, fade_duration=0.0, p=1.0)
        np.testing.assert_array_equal(y[row], shift(noise[row].numpy(), RATE))


@given(
    spans=st.tuples(st.integers(1, 6), st.integers(0, 4)),
    ms=st.tuples(st.floats(0.1, 100), st.floats(0, 100)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_spans_are_silenced_where_it_says(spans, ms, seed):
    transform = SpanDropout((spans[0], sum(spans)), (ms[0], sum(ms)), p=1.0)
    audio = torch.ones(3, 5_000)
    y, params = transform(audio, keys(3, seed), return_params=True)
    for row in range(3):
        expected = np.ones(5_000)
        for span in range(1, int(params["spans"][row]) + 1):
            length = min(round(params[f"ms_{span}"][row].item() * 16), 5_000)
            start = int(params[f"place_{span}"][row].item() * (5_000 - length))
            expected[start : start + length] = 0
        # A span may begin a sample earlier, where fp32 rounds its place differently.
        assert np.count_nonzero(y[row].numpy() != expected) <= 2 * sum(spans)


def test_spans_may_be_longer_than_the_clip(noise):
    assert not always(SpanDropout, ms=5_000.0, spans=1)(noise, keys(6)).any()


def test_the_number_and_length_of_spans_are_as_drawn(noise):
    transform = always(SpanDropout, ms=10.0, spans=3)
    silent = (transform(noise, keys(6)) == 0).sum(1)
    assert (silent <= 3 * 160).all()
    assert silent.max() == 3 * 160  # where none overlap
    counts = torch.bincount(SpanDropout().draw(keys(5_000))["spans"].long())
    assert len(counts) == 6
    assert counts[0] == 0


def test_spans_that_silence_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one span above 0 ms"):
        SpanDropout(spans=(0, 3))
    with pytest.raises(ValueError, match="at least one span above 0 ms"):
        SpanDropout(ms=(0.0, 10.0))
    with pytest.raises(ValueError, match="not a range"):
        SpanDropout(ms=(20.0, 10.0))
