import math

import audiomentations
import numpy as np
import pytest
import torch
import torchaudio.functional as AF
from drawn import RATE, always, keys
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.frontends import LogMel
from mvssl.views.transforms import BandPass, Equalizer, Gain, HighPass, LowPass, Noise, Tilt


def test_gain_is_a_factor_on_audio(noise):
    gain = Gain((-20.0, -1.0))
    y, params = gain(noise, keys(6), return_params=True)
    torch.testing.assert_close(y, noise * 10 ** (params["db"][:, None] / 20))
    for row, db in enumerate(params["db"].tolist()):
        same = audiomentations.Gain(db, db, p=1.0)(noise[row].numpy(), RATE)
        np.testing.assert_allclose(y[row].numpy(), same, rtol=1e-5)


RESPONSES = {
    "tilt": (always(Tilt, db_per_octave=-3.0), lambda f: -3.0 * math.log2(f / 1000)),
    "low-pass": (always(LowPass, hertz=2_000.0), lambda f: -10 * math.log10(1 + (f / 2_000) ** 4)),
    "high-pass": (always(HighPass, hertz=300.0), lambda f: -10 * math.log10(1 + (300 / f) ** 4)),
    "gain": (always(Gain, db=-7.0), lambda f: -7.0),
    "band-pass": (
        always(BandPass, hertz=1_000.0, octaves=1.0),
        lambda f: -10 * math.log10(1 + 2 * (f / 1_000 - 1_000 / f) ** 2),
    ),
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
        always(BandPass, hertz=1_000.0, octaves=2.0), always(Equalizer, hertz=1_500.0, db=-4.0, q=1.0),
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


@pytest.mark.parametrize("kind", [BandPass, Equalizer, Gain, Tilt, LowPass, HighPass, Noise])
def test_dead_bins_stay_dead(kind, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True)
    dead = front_end.centre_frequencies == 0
    mel = front_end(noise)
    transform = kind(p=1.0)
    transform.bind(front_end)
    y = transform(mel, keys(6))
    torch.testing.assert_close(y[:, dead], mel[:, dead], atol=1e-5, rtol=0)
    assert not torch.isclose(y[:, ~dead], mel[:, ~dead]).all()


def response(transform, hertz, rate=RATE):
    """Gain in dB at frequencies in Hz, of a clip of four seconds with a click in its middle."""
    click = torch.zeros(1, 4 * rate)
    click[0, 2 * rate] = 1
    spectrum = torch.fft.rfft(transform(click)[0].double()).abs()
    return 20 * np.log10(np.interp(hertz, np.arange(len(spectrum)) / 4, spectrum.numpy()))


def crossing(transform, low, high, rate=RATE):
    """The frequency in Hz between two others at which the response is −3 dB."""
    hertz = np.geomspace(low, high, 20_000)
    return hertz[np.abs(response(transform, hertz, rate) + 10 * math.log10(2)).argmin()]


@given(hertz=st.floats(30, 6_000), rate=st.sampled_from([16_000, 22_050, 44_100]))
@settings(deadline=None, max_examples=15)
def test_the_cut_off_is_3_decibels_down(hertz, rate):
    for kind in (LowPass, HighPass):
        transform = kind((hertz, hertz), p=1.0, sample_rate=rate)
        assert crossing(transform, hertz / 1.2, hertz * 1.2, rate) == pytest.approx(hertz, rel=0.01)


@given(hertz=st.floats(100, 3_000), octaves=st.floats(0.3, 3.0))
@settings(deadline=None, max_examples=15)
def test_the_edges_of_a_band_are_3_decibels_down(hertz, octaves):
    transform = always(BandPass, hertz=hertz, octaves=octaves)
    upper = hertz * 2 ** (octaves / 2)
    if upper < RATE / 2.5:
        assert crossing(transform, hertz, upper * 1.1) == pytest.approx(upper, rel=0.02)
    lower = hertz * 2 ** (-octaves / 2)
    assert crossing(transform, lower / 1.1, hertz) == pytest.approx(lower, rel=0.02)
    assert response(transform, hertz) == pytest.approx(0, abs=0.05)


def test_filters_are_those_of_torchaudio_far_below_the_nyquist_frequency():
    rate, hertz = 44_100, np.geomspace(100, 4_000, 50)
    q = 1 / (2 * math.sinh(math.log(2) / 2 * 1.5))
    pairs = [
        (LowPass((900, 900), 1.0, rate), lambda x: AF.lowpass_biquad(x, rate, 900)),
        (HighPass((300, 300), 1.0, rate), lambda x: AF.highpass_biquad(x, rate, 300)),
        (BandPass((500, 500), (1.5, 1.5), 1.0, rate), lambda x: AF.bandpass_biquad(x, rate, 500, q)),
        (
            Equalizer((700, 700), (-9, -9), (2, 2), 1, 1.0, rate),
            lambda x: AF.equalizer_biquad(x, rate, 700, -9, 2),
        ),
    ]
    for transform, biquad in pairs:
        # The biquads warp frequencies: half a decibel at 4 kHz, where the low-pass falls by 12 per octave.
        np.testing.assert_allclose(response(transform, hertz, rate), response(biquad, hertz, rate), atol=0.6)


def test_bands_of_an_equaliser_add_up(noise):
    bands = [(200.0, 6.0, 1.0), (1_500.0, -10.0, 3.0), (6_000.0, 3.0, 0.6)]
    transform = Equalizer(p=1.0)
    params = transform.draw(keys(1))
    for number, (hertz, db, q) in enumerate(bands, 1):
        drawn = {f"hertz_{number}": hertz, f"db_{number}": db, f"q_{number}": q}
        params |= {name: torch.tensor([value]) for name, value in drawn.items()}
    transform.freeze(params)
    hertz = np.geomspace(60, 7_500, 40)
    s = 2j * np.pi * hertz
    expected = 0.0
    for centre, db, q in bands:
        amplitude, s_relative = 10 ** (db / 40), s / (2 * np.pi * centre)
        above = s_relative**2 + s_relative * amplitude / q + 1
        below = s_relative**2 + s_relative / (amplitude * q) + 1
        expected = expected + 20 * np.log10(np.abs(above / below))
    np.testing.assert_allclose(response(transform, hertz), expected, atol=0.1)


def test_an_equaliser_without_gain_changes_nothing(noise):
    torch.testing.assert_close(Equalizer(db=(0.0, 0.0), p=1.0)(noise, keys(6)), noise, atol=1e-6, rtol=0)


def test_filters_that_let_nothing_through_are_refused():
    with pytest.raises(ValueError, match=r"octaves=.* must be above 0"):
        BandPass(octaves=(0.0, 1.0))
    with pytest.raises(ValueError, match="bands=0 changes nothing"):
        Equalizer(bands=0)
    with pytest.raises(ValueError, match="not a range"):
        Equalizer(q=(0.0, 1.0))


def test_any_length_is_filtered_alike(noise):
    whole = always(LowPass, hertz=2_000.0)(noise)
    for samples in (15_999, 15_731, 4_001):  # padded to what an FFT is fast at
        part = always(LowPass, hertz=2_000.0)(noise[:, :samples])
        torch.testing.assert_close(part[:, :-200], whole[:, : samples - 200], atol=1e-4, rtol=0)
