import math

import numpy as np
import pytest
import torch
from drawn import RATE, always, keys
from hypothesis import given
from hypothesis import strategies as st

from mvssl.frontends import LogMel
from mvssl.views.transforms import FrequencyShift, FrequencyWarp


@pytest.fixture(scope="module")
def fine():
    """A front end of many narrow bins, without an empty one."""
    return LogMel(RATE, n_fft=2048, hop_length=512, n_mels=128)


def sine(hertz):
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(RATE) / RATE)[None]


def centre(mel, frontend):
    """Centre of the loudest bins of a log-mel (1, bins, frames), in bins."""
    power = frontend.power(mel)[0, :, 4:-4].double().mean(1)
    top = int(power.argmax())
    near = torch.arange(max(0, top - 2), min(len(power), top + 3))
    return float((near * power[near]).sum() / power[near].sum())


@pytest.mark.parametrize("semitones", [-7.0, -2.0, -0.5, 0.5, 2.0, 7.0])
@pytest.mark.parametrize("hertz", [700.0, 1_500.0, 3_000.0])
def test_a_shifted_sine_lies_where_a_higher_one_does(hertz, semitones, fine):
    transform = always(FrequencyShift, semitones=semitones)
    transform.bind(fine)
    found = centre(transform(fine(sine(hertz)), keys(1)), fine)
    expected = centre(fine(sine(hertz * 2 ** (semitones / 12))), fine)
    assert found == pytest.approx(expected, abs=0.6)
    if abs(semitones) > 1:
        assert abs(found - centre(fine(sine(hertz)), fine)) > 1


def piecewise(f, factor, highest=8_000.0, knee=4_800.0):
    """The paper's map of frequencies, from the input to the output."""
    edge = knee * min(factor, 1) / factor
    if f <= edge:
        return f * factor
    return highest - (highest - knee * min(factor, 1)) / (highest - edge) * (highest - f)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
@pytest.mark.parametrize("hertz", [700.0, 3_000.0, 6_500.0])
def test_a_warped_sine_lies_where_the_paper_says(hertz, factor, fine):
    transform = always(FrequencyWarp, factor=factor)
    transform.bind(fine)
    found = centre(transform(fine(sine(hertz)), keys(1)), fine)
    expected = centre(fine(sine(piecewise(hertz, factor))), fine)
    assert found == pytest.approx(expected, abs=0.6)


@given(factor=st.floats(0.5, 2.0), f=st.floats(0.0, 8_000.0))
def test_what_a_warp_reads_is_mapped_back_to_where_it_is_put(factor, f):
    transform = FrequencyWarp()
    transform.bind(LogMel(RATE))
    hertz = torch.tensor([f, 0.0, 8_000.0])
    read = transform.source(hertz, {"factor": torch.tensor([factor])})[0].tolist()
    for target, source in zip(hertz.tolist(), read, strict=True):
        assert piecewise(source, float(torch.tensor(factor))) == pytest.approx(target, abs=0.05)


@pytest.mark.parametrize("transform", [FrequencyShift((-5.0, 5.0)), FrequencyWarp((0.8, 1.25))])
@pytest.mark.parametrize("dead", [False, True])
def test_bins_are_read_as_numpy_interpolates(transform, dead, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True) if dead else LogMel()
    transform.bind(front_end)
    mel = front_end(noise)
    live = (front_end.centre_frequencies > 0).numpy()
    centres = front_end.centre_frequencies.numpy()[live].astype(float)
    y, params = transform(mel, keys(6), return_params=True)
    places = np.arange(len(centres))
    low, high = np.diff(centres)[[0, -1]] / 2
    for row in range(6):
        if isinstance(transform, FrequencyShift):
            read = centres / 2 ** (float(params["semitones"][row]) / 12)
        else:
            read = transform.source(torch.from_numpy(centres), params).numpy()[row]
        inside = (read > centres[0] - low * 0.99) & (read < centres[-1] + high * 0.99)
        beyond = (read < centres[0] - low * 1.01) | (read > centres[-1] + high * 1.01)
        image = mel[row].numpy()[live]
        found = y[row].numpy()[live]
        at = np.interp(read, centres, places)
        for frame in (0, 7, 20):
            expected = np.interp(at, places, image[:, frame])
            np.testing.assert_allclose(found[inside, frame], expected[inside], atol=2e-3)
        assert (found[beyond] == front_end.silence).all()
        assert inside.sum() > 0.7 * len(centres)


def test_there_and_back_again(fine):
    mel = fine(sine(1_000.0))
    up, down = always(FrequencyShift, semitones=2.0), always(FrequencyShift, semitones=-2.0)
    for transform in (up, down):
        transform.bind(fine)
    assert centre(down(up(mel, keys(1)), keys(1)), fine) == pytest.approx(centre(mel, fine), abs=0.3)


@pytest.mark.parametrize("semitones", [-12.0, 12.0])
def test_a_shift_by_an_octave_empties_one_end(semitones, noise):
    front_end = LogMel(RATE, f_min=500.0)
    transform = always(FrequencyShift, semitones=semitones)
    transform.bind(front_end)
    y = transform(front_end(noise), keys(6))
    centres = front_end.centre_frequencies
    empty = centres > 4_100 if semitones < 0 else centres < 960
    full = centres < 3_800 if semitones < 0 else centres > 1_040
    assert empty.sum() > 5
    assert (y[:, empty] == front_end.silence).all()
    assert (y[:, full] > front_end.silence).all()


def test_factors_are_positive():
    with pytest.raises(ValueError, match=r"factor=\(0.0, 1.0\) must be positive"):
        FrequencyWarp((0.0, 1.0))
    assert math.isclose(FrequencyWarp((0.5, 2.0)).ranges["factor"][1], 2.0)
