import numpy as np
import pytest
import torch
import torchaudio.functional as AF
from drawn import RATE, always, keys
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.frontends import LogMel
from mvssl.views.transforms import Noise


@pytest.mark.parametrize("slope", [-6.0, -3.0, 0.0, 3.0])
@pytest.mark.parametrize("snr", [5.0, 40.0])
def test_noise_on_audio_has_the_asked_level_and_colour(snr, slope):
    sine = 0.5 * torch.sin(torch.arange(2 * RATE) * 0.1).expand(4, -1)
    y = always(Noise, snr_db=snr, db_per_octave=slope)(sine, keys(4))
    added = y - sine
    found = 10 * torch.log10(sine.square().mean(1) / added.square().mean(1))
    torch.testing.assert_close(found, torch.full((4,), snr), atol=0.01, rtol=0)
    power = torch.fft.rfft(added.double()).abs().square().mean(0)
    low, high = (power[2 * f : 4 * f].mean() for f in (250, 2_000))  # an octave each, three octaves apart
    assert float(10 * torch.log10(high / low)) / 3 == pytest.approx(slope, abs=0.4)


@pytest.mark.parametrize("snr", [0.0, 12.0])
@pytest.mark.parametrize("slope", [-6.0, 0.0, 3.0])
def test_noise_on_log_mels_has_the_asked_level_and_colour(snr, slope, frontend):
    transform = always(Noise, snr_db=snr, db_per_octave=slope)
    transform.bind(frontend)
    power = torch.ones(8, 40, 300)
    added = frontend.power(transform(frontend.scale(power), keys(8))).double() - power
    decibels = 10 * added.mean((1, 2)).log10()
    torch.testing.assert_close(decibels, torch.full_like(decibels, -snr), atol=0.01, rtol=0)
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


def test_clmr_noise_is_white_and_hardly_heard(noise):
    y, params = Noise((40.0, 80.0), (0.0, 0.0), p=1.0)(noise, keys(6), return_params=True)
    found = 10 * torch.log10(noise.square().mean(1) / (y - noise).double().square().mean(1))
    torch.testing.assert_close(found, params["snr_db"].double(), atol=0.05, rtol=0)


@given(
    snr=st.floats(-10, 60),
    slope=st.floats(-6, 3),
    samples=st.integers(2_000, 40_000),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_the_ratio_is_that_of_torchaudio(snr, slope, samples, seed):
    audio = torch.randn(2, samples, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [[0.5], [0.01]]
    )
    y = always(Noise, snr_db=snr, db_per_octave=slope)(audio, keys(2, seed))
    same = AF.add_noise(audio, 7 * (y - audio), torch.full((2,), snr))
    torch.testing.assert_close(y, same, atol=1e-5, rtol=1e-3)
    found = 10 * torch.log10(audio.square().mean(1) / (y - audio).double().square().mean(1))
    torch.testing.assert_close(found, torch.full((2,), snr).double(), atol=0.05, rtol=0)


def test_silence_gets_no_noise():
    silence = torch.zeros(2, 4_000)
    assert always(Noise, snr_db=5.0)(silence, keys(2)).abs().max() < 1e-9


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
