import math

import numpy as np
import pytest
import scipy.signal
import torch
from drawn import RATE, always, keys
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.frontends import LogMel
from mvssl.views.transforms import Delay, Reverb


@given(ms=st.floats(0, 1_200), mix=st.floats(0, 1), rate=st.sampled_from([8_000, 16_000, 22_050]))
@settings(deadline=None, max_examples=30)
def test_an_echo_is_a_convolution(ms, mix, rate):
    audio = 0.1 * torch.randn(2, 12_000, generator=torch.Generator().manual_seed(0))
    y = Delay((ms, ms), None, (mix, mix), 1.0, rate)(audio, keys(2))
    impulses = np.zeros(round(float(np.float32(ms)) * rate / 1_000) + 1)
    impulses[0] = 1 / (1 + mix)
    impulses[-1] += mix / (1 + mix)
    expected = scipy.signal.fftconvolve(audio.double().numpy(), impulses[None], axes=1)[:, :12_000]
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)


def test_each_row_has_an_echo_of_its_own(noise):
    y, params = Delay((0.0, 900.0), None, (0.1, 1.0), p=1.0)(noise, keys(6), return_params=True)
    assert len(params["ms"].unique()) == 6
    for row, (ms, mix) in enumerate(zip(params["ms"], params["mix"], strict=True)):
        alone = always(Delay, ms=ms.item(), mix=mix.item())(noise[row : row + 1])[0]
        torch.testing.assert_close(y[row], alone)


def test_an_echo_never_exceeds_full_scale():
    square = torch.sign(torch.sin(torch.arange(RATE) * 0.02)).expand(6, -1)
    assert Delay(mix=(0.0, 1.0), p=1.0)(square, keys(6)).abs().max() <= 1 + 1e-6


def test_clmr_delays_lie_on_its_grid():
    ms = Delay(step_ms=50.0).draw(keys(6_000))["ms"]
    values, counts = ms.unique(return_counts=True)
    assert values.tolist() == [200, 250, 300, 350, 400, 450]
    np.testing.assert_allclose(counts, 1_000, rtol=0.15)
    assert Delay((200.0, 449.0), step_ms=50.0).draw(keys(1_000))["ms"].max() == 400


def test_impossible_echoes_are_refused():
    for options in ({"ms": (-1.0, 1.0)}, {"mix": (-0.5, 0.5)}, {"step_ms": 0.0}):
        with pytest.raises(ValueError, match="must not be below 0"):
            Delay(**options)


def reverberation(transform, seconds=4, rate=RATE, seed=0):
    """What a click at the beginning is followed by, (samples,), without the click itself."""
    click = torch.zeros(1, seconds * rate)
    click[0, 0] = 1
    y, params = transform(click, keys(1, seed), return_params=True)
    response = y[0].double()
    response[0] -= (1 - params["wet"][0].double()).sqrt()
    return response.numpy()


def t60(response, rate=RATE):
    """Seconds in which a response falls by 60 dB, from what is left of its energy, −5 to −35 dB."""
    left = np.cumsum(response[::-1] ** 2)[::-1]
    decibels = 10 * np.log10(left / left[0])
    fitted = np.flatnonzero((decibels < -5) & (decibels > -35))
    return -60 / (np.polyfit(fitted / rate, decibels[fitted], 1)[0])


@given(
    room_size=st.floats(0, 1),
    damping=st.floats(0, 1),
    wet=st.floats(0, 1),
    samples=st.integers(4_000, 40_000),
)
@settings(deadline=None, max_examples=20)
def test_reverberation_is_a_convolution(room_size, damping, wet, samples):
    transform = always(Reverb, room_size=room_size, damping=damping, wet=wet)
    response = reverberation(transform)[:samples]
    response[0] += math.sqrt(1 - wet)
    audio = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    expected = scipy.signal.fftconvolve(audio[0].double().numpy(), response)[:samples]
    np.testing.assert_allclose(transform(audio, keys(1))[0].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("room_size", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_energy_decays_as_the_room_asks(room_size, seed):
    transform = always(Reverb, room_size=room_size, damping=0.0, wet=1.0)
    assert t60(reverberation(transform, seed=seed)) == pytest.approx(0.2 * 10**room_size, rel=0.1)


@pytest.mark.parametrize("hertz", [250, 500, 1_000, 2_000, 4_000])
def test_high_frequencies_decay_as_the_damping_asks(hertz):
    transform = always(Reverb, room_size=1.0, damping=0.4, wet=1.0)
    band = scipy.signal.butter(8, [hertz / 1.2, hertz * 1.2], "bandpass", fs=RATE, output="sos")
    found = [t60(scipy.signal.sosfilt(band, reverberation(transform, seed=seed))) for seed in range(6)]
    assert np.mean(found) == pytest.approx(2 / (1 + 0.4 * hertz / 1_000), rel=0.1)


def test_undamped_reverberation_has_the_power_of_the_sound():
    for room_size in (0.0, 0.5, 1.0):
        transform = Reverb((room_size,) * 2, (0.0, 0.0), (1.0, 1.0), p=1.0)
        click = torch.zeros(40, 3 * RATE)
        click[:, 0] = 1
        energy = transform(click, keys(40)).square().sum(1)
        assert energy.mean() == pytest.approx(1, abs=0.05)
        assert energy.std() < 0.2


def test_wet_is_the_share_of_energy_that_reverberates(noise):
    y, params = Reverb(damping=(0.0, 0.0), p=1.0)(noise, keys(6), return_params=True)
    for row, wet in enumerate(params["wet"].tolist()):
        direct = (y[row] @ noise[row]) / (noise[row] @ noise[row])
        assert direct == pytest.approx(math.sqrt(1 - wet), abs=0.1)
    dry = Reverb(wet=(0.0, 0.0), p=1.0)
    assert torch.equal(dry(noise, keys(6)), noise)


def test_each_row_stands_in_a_room_of_its_own():
    click = torch.zeros(2, RATE)
    click[:, 0] = 1
    rooms = always(Reverb, room_size=0.5, damping=0.0, wet=1.0)(click, keys(2))
    assert abs(np.corrcoef(rooms.numpy())[0, 1]) < 0.1
    left, right = rooms[0], torch.nn.functional.pad(rooms[0], (1, 0))[:-1]
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.1  # white


def test_the_end_of_a_clip_does_not_reverberate_in_its_beginning():
    click = torch.zeros(1, RATE)
    click[0, -1] = 1
    assert Reverb(p=1.0)(click, keys(1))[0, : RATE - 1].abs().max() < 1e-5


def test_rooms_follow_the_sample_rate():
    transform = Reverb((0.5, 0.5), (0.5, 0.5), (1.0, 1.0), p=1.0)
    reverberation(transform)
    transform.bind(LogMel(44_100))
    assert t60(reverberation(transform, rate=44_100)[: 2 * 44_100], 44_100) > 0.1
    direct = Reverb((0.5, 0.5), (0.5, 0.5), (1.0, 1.0), p=1.0, sample_rate=44_100)
    np.testing.assert_array_equal(reverberation(transform, rate=44_100), reverberation(direct, rate=44_100))
    undamped = Reverb((0.5, 0.5), (0.0, 0.0), (1.0, 1.0), p=1.0, sample_rate=44_100)
    assert t60(reverberation(undamped, rate=44_100), 44_100) == pytest.approx(0.2 * 10**0.5, rel=0.1)


def test_rooms_outside_0_to_1_are_refused():
    for name in ("room_size", "damping", "wet"):
        for outside in ((-0.1, 0.5), (0.5, 1.1)):
            with pytest.raises(ValueError, match=f"Reverb: {name}=.* must lie in 0 to 1"):
                Reverb(**{name: outside})
