import numpy as np
import torch

from mvssl.evaluation import TimeStatistics, mel_statistics
from mvssl.frontends import LogMel, Waveform


def test_statistics_equal_their_definitions():
    spectrogram = torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0))
    statistics = TimeStatistics()(spectrogram).numpy()
    for clip, row in zip(spectrogram.numpy(), statistics, strict=True):
        expected = np.r_[clip.mean(axis=1), clip.std(axis=1), np.abs(np.diff(clip, axis=1)).mean(axis=1)]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_mel_statistics_embed_audio():
    frontend = LogMel(sample_rate=16_000, n_mels=40)
    audio = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    embedding = mel_statistics(frontend)(audio)
    assert embedding.shape == (2, 120)
    torch.testing.assert_close(embedding, TimeStatistics()(frontend(audio)))


def test_mel_statistics_beside_an_encoder_of_raw_audio_are_those_of_the_default_log_mel():
    audio = 0.1 * torch.randn(2, 22_050, generator=torch.Generator().manual_seed(0))
    expected = mel_statistics(LogMel(22_050))(audio)
    assert torch.equal(mel_statistics(Waveform(22_050))(audio), expected)


def test_silence_does_not_change_over_time():
    mean, deviation, change = mel_statistics(LogMel(n_mels=20))(torch.zeros(1, 16_000)).chunk(3, dim=1)
    assert mean.isfinite().all()
    assert not deviation.any()
    assert not change.any()
