import pytest
import torch
import torchaudio

from mvssl.frontends import CQT, LogMel, Waveform, create_frontend, frontends
from mvssl.frontends.presets import describe_frontend

each = pytest.mark.parametrize("name", frontends.names())


@pytest.fixture
def audio():
    return 0.1 * torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0))


@each
def test_every_preset_is_a_front_end(name, audio):
    front_end = create_frontend(name)
    out = front_end(audio)
    assert out.shape == (2, front_end.n_mels, 1 + 24_000 // front_end.hop_length)
    assert out.isfinite().all()
    assert front_end.centre_frequencies.shape == (front_end.n_mels,)
    entry = frontends.entry(name)
    assert entry.summary.endswith(".")


@each
def test_its_description_makes_it_again(name, audio):
    front_end = create_frontend(name, mean=-3.0)
    described = describe_frontend(front_end)
    assert "sample_rate" not in described
    again = create_frontend(described, sample_rate=front_end.sample_rate)
    assert type(again) is type(front_end)
    assert again.config == front_end.config
    assert again.mean == -3.0
    assert torch.equal(again(audio), front_end(audio))


@each
def test_the_sample_rate_can_be_another(name):
    if name == "deezer2024":  # at 44.1 kHz, nothing of it is dead
        assert (create_frontend(name, sample_rate=44_100).centre_frequencies > 0).all()
    assert create_frontend(name, sample_rate=22_050).sample_rate == 22_050


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_deezer2024_equals_torchaudio_as_published(audio):
    power = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=1024, f_max=11_025, n_mels=128, normalized=True, mel_scale="slaney"
    )
    decibels = torchaudio.transforms.AmplitudeToDB(top_db=100)
    clips = torch.cat([audio, torch.zeros(1, 24_000)])[:, None]  # with a channel, top_db is that of a clip
    expected = decibels(power(clips))[:, 0]
    front_end = create_frontend("deezer2024")
    torch.testing.assert_close(front_end(clips[:, 0]), expected, atol=1e-3, rtol=0)
    assert (front_end.centre_frequencies == 0).sum() == 11


def test_byola_is_what_its_paper_says():
    front_end = create_frontend("byola")
    assert front_end(torch.zeros(1, 15_200)).shape == (1, 64, 96)  # 0.95 s
    assert front_end.centre_frequencies.min() > 60
    assert front_end.centre_frequencies.max() < 7_800


def test_musicnn_compresses_as_it_does(audio):
    front_end = create_frontend("musicnn")
    power = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, hop_length=256, n_mels=96, norm="slaney", mel_scale="slaney"
    )(audio)
    torch.testing.assert_close(front_end(audio), (10_000 * power + 1).log10(), atol=1e-4, rtol=0)


def test_arguments_and_classes():
    assert isinstance(create_frontend(), LogMel)
    assert isinstance(create_frontend({"class": "CQT", "n_bins": 60}), CQT)
    assert create_frontend({"n_mels": 32}, sample_rate=8_000).config["n_mels"] == 32
    with pytest.raises(ValueError, match="no front end of class 'MFCC': known are LogMel, CQT"):
        create_frontend({"class": "MFCC"})
    with pytest.raises(ValueError, match=r"no front end named 'musicn'; did you mean 'musicnn'\?"):
        create_frontend("musicn")


def test_a_waveform_is_left_alone(audio):
    front_end = Waveform(22_050)
    assert front_end(audio) is audio
    assert front_end.overlap == 0
    assert not front_end.state_dict()
