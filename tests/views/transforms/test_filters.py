import math

import pytest
import torch
from drawn import RATE, always, keys

from mvssl.frontends import LogMel
from mvssl.views.transforms import Gain, HighPass, LowPass, Noise, Tilt


def test_gain_is_a_factor_on_audio(noise):
    gain = Gain((-20.0, -1.0))
    y, params = gain(noise, keys(6), return_params=True)
    torch.testing.assert_close(y, noise * 10 ** (params["db"][:, None] / 20))


RESPONSES = {
    "tilt": (always(Tilt, db_per_octave=-3.0), lambda f: -3.0 * math.log2(f / 1000)),
    "low-pass": (always(LowPass, hertz=2_000.0), lambda f: -10 * math.log10(1 + (f / 2_000) ** 4)),
    "high-pass": (always(HighPass, hertz=300.0), lambda f: -10 * math.log10(1 + (300 / f) ** 4)),
    "gain": (always(Gain, db=-7.0), lambda f: -7.0),
}


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("hertz", [80.0, 300.0, 1_000.0, 2_000.0, 6_500.0])
def test_filters_have_their_response_on_sines(name, hertz):
    transform, response = RESPONSES[name]
    cycles = hertz * torch.arange(2 * RATE, dtype=torch.float64) / RATE
    sine = torch.sin(2 * torch.pi * cycles).float() * torch.hann_window(2 * RATE)
    found = transform(sine[None])[0]
    amplitude = (found @ sine) / (sine @ sine)
    assert 20 * math.log10(amplitude) == pytest.approx(response(hertz), abs=0.1)
    # Zero phase: nothing is left once the scaled sine is subtracted.
    assert (found - amplitude * sine).abs().max() < 3e-3 * max(1, amplitude)


def test_filters_follow_the_sample_rate():
    hertz, rate = 4_000.0, 44_100
    sine = torch.sin(2 * torch.pi * hertz * torch.arange(rate) / rate)[None]
    filtered = LowPass((hertz, hertz), p=1.0, sample_rate=rate)(sine)
    assert 20 * math.log10(filtered.std() / sine.std()) == pytest.approx(-3.01, abs=0.1)
    bound = LowPass((hertz, hertz), p=1.0)
    bound.bind(LogMel(rate))
    torch.testing.assert_close(bound(sine), filtered)


def test_the_end_of_a_clip_does_not_leak_into_its_beginning():
    click = torch.zeros(1, RATE)
    click[0, -1] = 1
    for name, (transform, _) in RESPONSES.items():
        assert transform(click)[0, : RATE // 2].abs().max() < 1e-3, name


@pytest.mark.parametrize("gain", [-12.0, 9.0])
def test_gain_is_exact_on_log_mels(gain, frontend, noise):
    transform = always(Gain, db=gain)
    transform.bind(frontend)
    torch.testing.assert_close(transform(frontend(noise)), frontend(transform(noise)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "transform",
    [
        always(Tilt, db_per_octave=4.0), always(Tilt, db_per_octave=-4.0), always(LowPass, hertz=1_500.0),
        always(LowPass, hertz=6_000.0), always(HighPass, hertz=60.0), always(HighPass, hertz=600.0),
    ],
)  # fmt: skip
def test_filters_on_log_mels_are_close_to_filters_on_audio(transform, frontend, noise):
    transform.bind(frontend)
    difference = (transform(frontend(noise)) - frontend(transform(noise))) * frontend.std
    per_bin = difference.mean((0, 2))
    assert per_bin[2:].abs().max() < 1.0  # decibels; the lowest bins are wider than an octave
    assert per_bin.abs().mean() < 0.5


def test_filters_do_not_go_below_the_floor(frontend, noise):
    quiet = frontend(1e-3 * noise)
    for transform in always(Gain, db=-30.0), always(HighPass, hertz=600.0), always(Tilt, db_per_octave=-4.0):
        transform.bind(frontend)
        assert transform(quiet).min() >= frontend.silence
    transform = always(Gain, db=-30.0)
    transform.bind(frontend)
    torch.testing.assert_close(transform(quiet), frontend(transform(1e-3 * noise)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [Gain, Tilt, LowPass, HighPass, Noise])
def test_dead_bins_stay_dead(kind, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True)
    dead = front_end.centre_frequencies == 0
    mel = front_end(noise)
    transform = kind(p=1.0)
    transform.bind(front_end)
    y = transform(mel, keys(6))
    torch.testing.assert_close(y[:, dead], mel[:, dead], atol=1e-5, rtol=0)
    assert not torch.isclose(y[:, ~dead], mel[:, ~dead]).all()
