import copy

import librosa
import numpy as np
import pytest
import torch

from mvssl.frontends import CQT

RATE = 16_000


@pytest.fixture(scope="module")
def front_end():
    return CQT(n_bins=48, f_min=110.0)


@pytest.fixture(scope="module")
def audio():
    """Three clips of 1.5 s: noise, a tone of 440 Hz, and the tone in the first half only."""
    rng = np.random.default_rng(0)
    time = np.arange(24_000) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    clips = [0.1 * rng.standard_normal(len(time)), tone, np.where(time < 0.75, tone, 0)]
    return torch.tensor(np.stack(clips), dtype=torch.float32)


def naive_power(clip, front_end):
    """The definition, bin by bin and frame by frame, in double precision."""
    made_of = front_end.config
    hop, rate, margin = made_of["hop_length"], made_of["sample_rate"], front_end.margin
    padded = np.pad(clip.numpy().astype(float), margin, mode="reflect")
    q = 1 / (2 ** (1 / made_of["bins_per_octave"]) - 1)
    power = np.zeros((made_of["n_bins"], 1 + len(clip) // hop))
    for bin in range(made_of["n_bins"]):
        frequency = made_of["f_min"] * 2 ** (bin / made_of["bins_per_octave"])
        length = int(np.ceil(q * rate / frequency))
        window = np.hanning(length + 1)[:-1]
        # Centred on the frame; of an odd length, the middle sample lies on it.
        places = np.arange(length) - length // 2
        for frame in range(power.shape[1]):
            piece = padded[margin + frame * hop + places]
            bend = np.exp(-2j * np.pi * frequency / rate * places)
            power[bin, frame] = abs((piece * window * bend).sum() / window.sum()) ** 2 * length
    return power


def test_it_equals_its_definition(front_end, audio):
    found = front_end(audio[:1])
    assert found.dtype == torch.float32
    assert found.shape == (1, 48, 1 + 24_000 // 512)
    expected = front_end.scale(torch.from_numpy(naive_power(audio[0], front_end))).float()
    # A window may lie a sample to the left or right of the frame.
    assert (found[0] - expected).abs().median() < 0.01
    assert (found[0].mean(1) - expected.mean(1)).abs().max() < 0.02


def test_it_equals_librosa(front_end, audio):
    made_of = front_end.config
    magnitude = np.abs(
        librosa.cqt(
            audio.numpy()[1].astype(float), sr=RATE, hop_length=512, fmin=made_of["f_min"], n_bins=48,
            tuning=0.0, sparsity=0, pad_mode="reflect",
        )
    )  # fmt: skip
    found = front_end(audio[1:2])[0]
    loud = magnitude > 0.3 * magnitude.max()
    loud[:, [0, -1]] = False  # where half a window is a mirror image
    expected = front_end.scale(torch.from_numpy(magnitude**2)).float()
    # librosa resamples for the lower octaves, and its windows are a fraction of a sample longer.
    assert (found - expected)[torch.from_numpy(loud)].abs().max() < 0.02


def test_a_transposition_is_a_shift(front_end):
    time = torch.arange(32_000) / RATE
    tones = torch.stack([(2 * torch.pi * 440 * 2 ** (step / 12) * time).sin() for step in (0, 5)])
    low, high = front_end(tones)[:, :, 20:40].mean(2)
    assert low.argmax() == 24
    assert high.argmax() == 29
    shorter = 10 * 5 / 12 * np.log10(2) / 20  # power goes with the length of the window
    torch.testing.assert_close(low[20:30], high[25:35] + shorter, atol=0.02, rtol=0)


def test_a_clip_does_not_depend_on_its_batch(front_end, audio):
    for each in (front_end, CQT(n_bins=48, f_min=110.0, top_db=40.0)):
        for clip, row in zip(audio, each(audio), strict=True):
            torch.testing.assert_close(each(clip[None])[0], row, atol=1e-5, rtol=0)


def test_silence_is_finite_and_has_no_gradient(front_end):
    silence = torch.zeros(2, 16_000, requires_grad=True)
    out = front_end(silence)
    torch.testing.assert_close(out, torch.full_like(out, front_end.silence))
    out.sum().backward()
    assert not silence.grad.any()


def test_sound_has_a_finite_gradient(front_end, audio):
    audio = audio.clone().requires_grad_()
    front_end(audio).sum().backward()
    assert audio.grad.isfinite().all()
    assert audio.grad.abs().sum(1).min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(front_end, audio, dtype):
    with torch.autocast("cpu", dtype=dtype):
        inside = front_end(audio)
    assert torch.equal(inside, front_end(audio))


def test_it_has_nothing_to_save_or_train_and_is_quiet(capsys):
    front_end = CQT(n_bins=12, f_min=440.0)
    assert not front_end.state_dict()
    assert not list(front_end.parameters())
    assert capsys.readouterr() == ("", "")


def test_its_configuration_makes_it_again(audio):
    front_end = CQT(n_bins=36, f_min=220.0, bins_per_octave=24, mean=-30.0, std=9.0)
    again = CQT(**front_end.config)
    assert again.config == front_end.config
    assert torch.equal(again(audio), front_end(audio))
    assert torch.equal(copy.deepcopy(front_end)(audio), front_end(audio))


def test_frames_further_away_than_the_overlap_share_no_sample(front_end):
    assert front_end.overlap == -(-front_end.window_length // 512) - 1
    audio = 0.1 * torch.randn(1, 32_768, generator=torch.Generator().manual_seed(0))
    changed, middle = audio.clone(), 30
    half = front_end.window_length // 2
    changed[:, middle * 512 - half : middle * 512 + half] *= -1.7
    moved = (front_end(changed) - front_end(audio)).abs().amax(1).gt(1e-4).nonzero()[:, 1]
    assert middle - front_end.overlap <= moved.min()
    assert moved.max() <= middle + front_end.overlap


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="84 bins from 110 Hz on reach up to 13679 Hz, above the Nyquist"):
        CQT(f_min=110.0)
    with pytest.raises(ValueError, match="bins_per_octave=0 must be all positive"):
        CQT(bins_per_octave=0)
    with pytest.raises(ValueError, match="clips of 4096 samples: more than half a window, 8192 samples"):
        CQT()(torch.zeros(1, 4_096))
