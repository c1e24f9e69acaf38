import copy
import math

import numpy as np
import pytest
import torch

from mvssl.frontends import LogMel
from mvssl.seeding import hash_keys
from mvssl.views import Filter, Gain, HighPass, LowPass, Noise, Polarity, Tilt, Transform

RATE = 16_000
KINDS = (Polarity, Gain, Tilt, LowPass, HighPass, Noise)
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def frontend():
    return LogMel(RATE, n_fft=1024, hop_length=320, n_mels=40)


@pytest.fixture(scope="module")
def noise():
    """Six clips of white noise, (6, 16 000)."""
    return 0.1 * torch.randn(6, RATE, generator=torch.Generator().manual_seed(0))


CASES = [(kind, "audio") for kind in KINDS] + [(kind, "mel") for kind in KINDS if kind.takes_mel]


@pytest.fixture(params=CASES, ids=lambda pair: f"{pair[0].__name__}-{pair[1]}")
def case(request, frontend, noise):
    """A maker of each transform, with input in each of its domains."""
    kind, domain = request.param
    if domain == "audio":
        return kind, noise

    def make(**options):
        transform = kind(**options)
        transform.bind(frontend)
        return transform

    return make, frontend(noise)


def keys(count, seed=0):
    return hash_keys(seed, np.arange(count))


def always(kind, **ranges):
    """A transform with fixed parameters."""
    return kind(p=1.0, **{name: (value, value) for name, value in ranges.items()})


# What all of them promise


def test_output_is_like_input_and_input_is_untouched(case):
    make, x = case
    before = x.clone()
    y = make(p=1.0)(x, keys(6))
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert y.isfinite().all()
    assert torch.equal(x, before)


def test_p_is_the_share_that_is_transformed(case):
    make, x = case
    assert torch.equal(make(p=0.0)(x, keys(6)), x)
    assert (make(p=1.0)(x, keys(6)) != x).flatten(1).any(1).all()
    transform = make(p=0.3)
    assert transform.draw(keys(4_000))["applied"].float().mean() == pytest.approx(0.3, abs=0.03)
    y, params = transform(x, keys(6, seed=1), return_params=True)
    assert 0 < params["applied"].sum() < 6
    assert torch.equal((y != x).flatten(1).any(1), params["applied"])


def test_a_result_depends_on_its_key_alone(case):
    make, x = case
    transform, drawn = make(p=0.7), keys(6)
    batch = transform(x, drawn)
    assert torch.equal(transform(x, drawn), batch)
    for i in (0, 3, 5):
        alone = make(p=0.7)(x[i : i + 1], drawn[i : i + 1])[0]
        torch.testing.assert_close(alone, batch[i], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(transform(x.flip(0), drawn[::-1].copy()).flip(0), batch, atol=1e-6, rtol=1e-5)
    assert not torch.equal(transform(x, keys(6, seed=1)), batch)


def test_without_keys_the_global_generator_decides(case):
    make, x = case
    transform = make(p=1.0) if make is not Polarity else make(p=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = transform(x), transform(x)
        torch.manual_seed(0)
        again = transform(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@each_kind
def test_parameters_fill_their_ranges(kind):
    transform = kind()
    params = transform.draw(keys(4_000))
    assert params.keys() == {"applied", *transform.ranges}
    assert params["applied"].dtype == torch.bool
    for name, (low, high) in transform.ranges.items():
        values = params[name].double()
        assert values.dtype == torch.float64
        assert params[name].dtype == torch.float32
        if name in transform.logarithmic:
            values, low, high = values.log(), math.log(low), math.log(high)
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        counts = np.histogram(values.numpy(), 5, (low, high))[0]
        np.testing.assert_allclose(counts, 800, rtol=0.15)
    drawn = [values.float() for values in params.values()]
    if kind is not Polarity:
        correlations = np.corrcoef(torch.stack([drawn[0] + torch.rand(4_000) * 1e-9, *drawn[1:]]).numpy()[1:])
        np.testing.assert_allclose(correlations, np.eye(len(drawn) - 1), atol=0.06)


def test_returned_parameters_are_the_drawn_ones(case):
    make, x = case
    transform = make(p=0.5)
    y, params = transform(x, keys(6), return_params=True)
    assert torch.equal(transform(x, keys(6)), y)
    for name, values in transform.draw(keys(6)).items():
        assert torch.equal(params[name], values)


@each_kind
def test_log_mels_need_a_front_end(kind):
    message = "takes audio" if kind is Polarity else r"call bind\(encoder.frontend\) before passing log-mels"
    with pytest.raises(ValueError, match=f"{kind.__name__}.*{message}"):
        kind()(torch.zeros(2, 40, 30), keys(2))


@each_kind
def test_impossible_arguments_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: p=1.5 is not a probability"):
        kind(p=1.5)
    for name in set(kind().ranges) - {"place"}:
        with pytest.raises(ValueError, match=rf"{kind.__name__}: {name}=\(2.0, 1.0\) is not a range"):
            kind(**{name: (2.0, 1.0)})
        if name in kind.logarithmic:
            with pytest.raises(ValueError, match="not a range"):
                kind(**{name: (0.0, 1.0)})


@each_kind
def test_they_are_modules_that_own_nothing(kind, frontend):
    transform = kind()
    transform.bind(frontend)
    assert not transform.state_dict()
    assert not list(transform.children())
    visited = []
    transform.apply(visited.append)
    assert visited == [transform]
    x = torch.zeros(2, 4_000)
    assert torch.equal(copy.deepcopy(transform)(x, keys(2)), transform(x, keys(2)))
    assert all(name in repr(transform) for name in [kind.__name__, *transform.ranges])


def test_own_transforms_must_say_what_they_do():
    with pytest.raises(TypeError, match=r"abstract method '?transform"):
        Transform()
    with pytest.raises(TypeError, match=r"abstract method '?response_db"):
        Filter()


# What each of them does


def test_polarity_flips_the_sign(noise):
    assert torch.equal(always(Polarity)(noise), -noise)


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


# Noise


@pytest.mark.parametrize("slope", [-6.0, -3.0, 0.0, 3.0])
@pytest.mark.parametrize("snr", [5.0, 40.0])
def test_noise_on_audio_has_the_asked_level_and_colour(snr, slope):
    sine = 0.5 * torch.sin(torch.arange(2 * RATE) * 0.1).expand(4, -1)
    y = always(Noise, snr_db=snr, db_per_octave=slope)(sine, keys(4))
    added = y - sine
    found = 10 * torch.log10(sine.square().mean(1) / added.square().mean(1))
    torch.testing.assert_close(found, torch.full((4,), snr), atol=0.5, rtol=0)
    power = torch.fft.rfft(added.double()).abs().square().mean(0)
    low, high = (power[2 * f : 4 * f].mean() for f in (250, 2_000))  # an octave each, three octaves apart
    assert float(10 * torch.log10(high / low)) / 3 == pytest.approx(slope, abs=0.4)


@pytest.mark.parametrize("snr", [0.0, 12.0])
@pytest.mark.parametrize("slope", [-6.0, 0.0, 3.0])
def test_noise_on_log_mels_has_the_asked_level_and_colour(snr, slope, frontend):
    transform = always(Noise, snr_db=snr, db_per_octave=slope)
    transform.bind(frontend)
    power = torch.ones(2, 40, 300)
    added = frontend.power(transform(frontend.scale(power), keys(2))).double() - power
    decibels = 10 * added.mean((1, 2)).log10()
    torch.testing.assert_close(decibels, torch.full_like(decibels, -snr), atol=0.5, rtol=0)
    octaves = (frontend.centre_frequencies[3:] / 1000).log2()
    by_bin = 10 * added.mean((0, 2))[3:].log10()
    assert np.polyfit(octaves.numpy(), by_bin.numpy(), 1)[0] == pytest.approx(slope, abs=0.3)


def test_noise_on_log_mels_fluctuates_like_noise_on_audio():
    front_end = LogMel(RATE, hop_length=320, n_mels=40, floor_db=-120.0)
    hum = torch.sin(torch.arange(2 * RATE) * (2 * torch.pi * 50 / RATE)).expand(2, -1)
    transform = always(Noise, snr_db=10.0, db_per_octave=0.0)
    on_audio = front_end(transform(hum, keys(2)))[:, 20:]  # bins that the hum does not reach
    transform.bind(front_end)
    on_mel = transform(front_end(hum), keys(2))[:, 20:]
    torch.testing.assert_close(on_mel.std(2), on_audio.std(2), rtol=0.3, atol=0)
    deviations = (on_mel - on_mel.mean(2, keepdim=True)).flatten(1)
    assert abs(np.corrcoef(deviations.numpy())[0, 1]) < 0.2  # each example hears noise of its own


def test_silence_gets_no_noise():
    silence = torch.zeros(2, 4_000)
    assert torch.equal(always(Noise, snr_db=5.0)(silence, keys(2)), silence)


def test_one_noise_serves_audio_and_log_mels(frontend, noise):
    transform = Noise(p=1.0)
    transform.bind(frontend)
    audio, mel = transform(noise, keys(6)), transform(frontend(noise), keys(6))
    assert torch.equal(transform(noise, keys(6)), audio)
    assert torch.equal(transform(frontend(noise), keys(6)), mel)


def test_clips_may_be_longer_than_the_recorded_noise(frontend, noise, monkeypatch):
    monkeypatch.setattr(Noise, "SECONDS", 1)
    clips = noise.repeat(1, 3)
    transform = always(Noise, snr_db=0.0)
    added = transform(clips, keys(6)) - clips
    assert added.square().mean() == pytest.approx(clips.square().mean().item(), rel=0.01)
    transform.bind(frontend)
    assert (transform(frontend(clips), keys(6)) > frontend(clips)).all()
