import copy

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from mvssl.frontends import LogMel, base

SETTINGS = {
    "default": {},
    "small": {"n_fft": 512, "hop_length": 320, "n_mels": 32},
    "band": {"sample_rate": 22_050, "n_fft": 2048, "n_mels": 96, "f_min": 60.0, "f_max": 8_000.0},
    "scaled": {"mean": -31.5, "std": 9.0, "floor_db": -100.0, "window_normalised": True},
    "top_db": {"top_db": 40.0},
    "log1p": {"compression": "log1p", "mean": 0.5, "std": 0.8},
    "peaks": {"area_normalised": False},
    "nnaudio": {"backend": "nnaudio"},
    "nnaudio, small": {"backend": "nnaudio", "n_fft": 512, "hop_length": 320, "n_mels": 32},
}


@pytest.fixture(params=SETTINGS, ids=SETTINGS)
def settings(request):
    return SETTINGS[request.param]


@pytest.fixture(scope="module")
def audio():
    """Four clips between silence and full scale: noise, a sweep, clicks, and nothing in the second half."""
    rng = np.random.default_rng(0)
    time = np.arange(24_000) / 16_000
    noise = 0.1 * rng.standard_normal(len(time))
    sweep = 0.9 * np.sin(2 * np.pi * (100 * time + 1_500 * time**2))
    clicks = (np.arange(len(time)) % 4_000 == 0).astype(float)
    half = np.where(time < 0.75, sweep, 0)
    return torch.tensor(np.stack([noise, sweep, clicks, half]), dtype=torch.float32)


def librosa_log_mel(audio, sample_rate=16_000, n_fft=1024, hop_length=512, n_mels=64, f_min=0.0, f_max=None,
                    floor_db=-70.0, top_db=None, window_normalised=False, area_normalised=True,
                    compression="decibels", mean=-20.0, std=20.0, backend=None):  # fmt: skip
    power = librosa.feature.melspectrogram(
        y=audio.numpy().astype(np.float64), sr=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels,
        fmin=f_min, fmax=f_max, power=2.0, htk=False, norm="slaney" if area_normalised else None,
        pad_mode="reflect",
    )  # fmt: skip
    if window_normalised:
        power = power / (librosa.filters.get_window("hann", n_fft) ** 2).sum()
    if compression == "log1p":
        return (np.log10(1 + 10_000 * power) - mean) / std
    decibels = 10 * np.log10(np.maximum(power, 10 ** (floor_db / 10)))
    if top_db is not None:
        decibels = np.maximum(decibels, decibels.max(axis=(1, 2), keepdims=True) - top_db)
    return (decibels - mean) / std


def test_it_equals_librosa(audio, settings):
    front_end = LogMel(**settings)
    expected = librosa_log_mel(audio, **settings)
    mel = front_end(audio)
    assert mel.dtype == torch.float32
    assert mel.shape == (4, front_end.n_mels, 1 + audio.shape[1] // front_end.hop_length)
    noise_and_clicks = [0, 2]
    np.testing.assert_allclose(mel.numpy()[noise_and_clicks], expected[noise_and_clicks], atol=1e-4, rtol=0)
    # Some 100 dB below a sine, fp32 shows: up to a few hundredths of a decibel.
    np.testing.assert_allclose(mel.numpy(), expected, atol=5e-3, rtol=0)


def test_it_equals_torchaudio(audio, settings):
    front_end = LogMel(**settings)
    made_of = front_end.config
    power = torchaudio.transforms.MelSpectrogram(
        made_of["sample_rate"], made_of["n_fft"], hop_length=made_of["hop_length"], f_min=made_of["f_min"],
        f_max=made_of["f_max"], n_mels=made_of["n_mels"], mel_scale="slaney",
        norm="slaney" if made_of["area_normalised"] else None,
        normalized="window" if made_of["window_normalised"] else False,
    )(audio)  # fmt: skip
    torch.testing.assert_close(front_end(audio), front_end.scale(power), atol=5e-3, rtol=0)


def test_a_clip_does_not_depend_on_its_batch(audio, settings):
    front_end = LogMel(**settings)
    batch = front_end(audio)
    for clip, mel in zip(audio, batch, strict=True):
        torch.testing.assert_close(front_end(clip[None])[0], mel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cached", [1, 100_000, 2**30])
def test_clips_at_once_do_not_matter(audio, cached, monkeypatch):
    expected = LogMel()(audio)
    monkeypatch.setattr(base, "CACHED_SAMPLES", cached)
    torch.testing.assert_close(LogMel()(audio), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [513, 1_000, 1_023, 1_024, 8_191])
def test_any_length_has_one_frame_per_hop_and_one_more(samples):
    assert LogMel()(torch.randn(2, samples)).shape == (2, 64, 1 + samples // 512)


def test_silence_is_finite_and_has_no_gradient(settings):
    front_end = LogMel(**settings)
    silence = torch.zeros(2, 16_000, requires_grad=True)
    mel = front_end(silence)
    torch.testing.assert_close(mel, torch.full_like(mel, front_end.silence))
    mel.sum().backward()
    assert not silence.grad.any()


def test_nothing_is_below_silence(audio, settings):
    front_end = LogMel(**settings)
    assert front_end(1e-6 * audio).min() >= front_end.silence - 1e-5


def test_sound_has_a_finite_gradient(audio):
    audio = audio.clone().requires_grad_()
    LogMel()(audio).sum().backward()
    assert audio.grad.isfinite().all()
    assert audio.grad[:3].abs().sum(1).min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(audio, dtype):
    front_end = LogMel()
    with torch.autocast("cpu", dtype=dtype):
        inside = front_end(audio)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, front_end(audio))


def test_a_full_scale_sine_in_half_precision_is_finite():
    sine = torch.sin(torch.arange(16_000) * (2 * torch.pi * 1_000 / 16_000)).half()
    mel = LogMel()(sine[None])
    assert mel.dtype == torch.float32
    assert mel.isfinite().all()


def test_twice_the_amplitude_is_six_decibels_more(audio):
    front_end = LogMel(floor_db=-200.0)
    louder = front_end(2 * audio[:1]) - front_end(audio[:1])
    torch.testing.assert_close(louder, torch.full_like(louder, 20 * np.log10(2) / 20), atol=1e-4, rtol=0)


def test_power_is_the_inverse_of_scale(settings):
    front_end = LogMel(**settings)
    decibels = torch.linspace(-38, 0, 60).reshape(1, 4, 15)  # within every floor and top_db
    power = 10 ** (decibels / 10)
    torch.testing.assert_close(front_end.power(front_end.scale(power)), power, rtol=1e-4, atol=0)
    mel = front_end.scale(power)
    torch.testing.assert_close(front_end.scale(front_end.power(mel)), mel, atol=1e-5, rtol=0)


def test_top_db_is_relative_to_the_clip_alone():
    front_end = LogMel(top_db=40.0, floor_db=-100.0)
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    quiet, loud = front_end(torch.cat([1e-3 * noise, noise]))
    for mel in (quiet, loud):
        assert mel.max() - mel.min() <= 40 / 20 + 1e-5
    torch.testing.assert_close(loud - quiet, torch.full_like(loud, 60 / 20), atol=1e-3, rtol=0)


def test_centre_frequencies_are_where_sines_come_out():
    front_end = LogMel(n_fft=2048, n_mels=40)
    centres = front_end.centre_frequencies
    assert (centres.diff() > 0).all()
    time = torch.arange(16_000) / 16_000
    sines = torch.sin(2 * torch.pi * centres[5:35:3, None] * time)
    loudest = front_end(sines).mean(2).argmax(1)
    assert loudest.tolist() == list(range(5, 35, 3))


def test_dead_bins_are_refused_unless_they_are_meant():
    with pytest.raises(ValueError, match=r"\d+ of 128 mel bins .* lower n_mels or raise n_fft=256"):
        LogMel(n_fft=256, n_mels=128)
    with pytest.raises(ValueError, match="f_max=11025 Hz is above the Nyquist frequency 8000 Hz"):
        LogMel(f_max=11_025.0)
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True)
    assert (front_end.centre_frequencies == 0).sum() == 11
    mel = front_end(torch.randn(1, 16_000))
    assert (mel.amax(2) <= front_end.silence + 1e-5).sum() == 11


def test_clips_shorter_than_half_a_window_are_refused():
    with pytest.raises(ValueError, match="clips of 512 samples: more than half a window, 512 samples, are "):
        LogMel()(torch.zeros(1, 512))


def test_it_has_nothing_to_save_or_train(settings):
    front_end = LogMel(**settings)
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


def test_its_configuration_makes_it_again(audio, settings):
    front_end = LogMel(**settings)
    again = LogMel(**front_end.config)
    assert again.config == front_end.config
    assert torch.equal(again(audio), front_end(audio))
    assert torch.equal(copy.deepcopy(front_end)(audio), front_end(audio))


@pytest.mark.parametrize(
    ("n_fft", "hop_length", "overlap"), [(512, 512, 0), (512, 320, 1), (512, 256, 1), (512, 128, 3)]
)
def test_frames_further_away_than_the_overlap_share_no_sample(n_fft, hop_length, overlap):
    frontend = LogMel(n_fft=n_fft, hop_length=hop_length, n_mels=32)
    assert frontend.overlap == overlap
    audio = 0.1 * torch.randn(1, 8_192, generator=torch.Generator().manual_seed(0))
    changed, middle = audio.clone(), 8
    changed[:, middle * hop_length - n_fft // 2 : middle * hop_length + n_fft // 2] *= -1.7
    moved = (frontend(changed) != frontend(audio)).any(1).nonzero()[:, 1]
    assert moved.min() >= middle - overlap
    assert moved.max() <= middle + overlap


def test_backends_are_one_front_end(audio, capsys):
    ours, other = LogMel(), LogMel(backend="nnaudio")
    torch.testing.assert_close(other(audio), ours(audio), atol=5e-3, rtol=0)
    assert other.config == {**ours.config, "backend": "nnaudio"}
    assert capsys.readouterr() == ("", "")


def test_names_and_what_goes_together_are_checked():
    with pytest.raises(ValueError, match="backend='sox': use 'torchaudio' or 'nnaudio'"):
        LogMel(backend="sox")
    with pytest.raises(ValueError, match="compression='root': use 'decibels' or 'log1p'"):
        LogMel(compression="root")
    with pytest.raises(ValueError, match="top_db=80 goes with compression='decibels' only"):
        LogMel(compression="log1p", top_db=80.0)


def test_amplified_bands_are_those_of_louder_audio(audio, settings):
    """Where nothing is near a floor."""
    front_end = LogMel(**settings)
    noise = audio[:1]
    gain = torch.full((1, front_end.n_mels, 1), 6.0)
    louder = front_end(10 ** (6 / 20) * noise)
    torch.testing.assert_close(front_end.amplified(front_end(noise), gain), louder, atol=1e-3, rtol=0)


def test_amplified_bands_stay_above_silence(audio, settings):
    front_end = LogMel(**settings)
    softer = front_end.amplified(front_end(audio), torch.full((4, front_end.n_mels, 1), -200.0))
    torch.testing.assert_close(softer, torch.full_like(softer, front_end.silence), atol=1e-5, rtol=0)
