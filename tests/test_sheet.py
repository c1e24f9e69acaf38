import numpy as np
import pytest
import soundfile
import torch

from mvssl.cli import main
from mvssl.frontends import LogMel
from mvssl.sheet import caption, impose, write_views
from mvssl.views import LowPass, OneOf, Polarity, chains

RATE = 16_000


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("songs") / "song.flac"
    seconds = torch.arange(9 * RATE) / RATE
    tone = 0.2 * torch.sin(2 * torch.pi * 330 * seconds) * (1 + torch.sin(2 * torch.pi * 2 * seconds))
    noise = 0.02 * torch.randn(9 * RATE, generator=torch.Generator().manual_seed(0))
    soundfile.write(path, (tone + noise).numpy(), RATE)
    return path


@pytest.mark.parametrize("name", chains.names())
def test_every_chain_can_be_heard_and_seen(name, song, tmp_path):
    sheet = write_views(str(song), name, str(tmp_path), n_views=2, seconds=1.0)
    assert sheet == tmp_path / "views.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")
    for view in ("view1", "view2", "view1-crop", "view2-crop"):
        audio, rate = soundfile.read(tmp_path / f"{view}.wav")
        assert (rate, audio.shape) == (RATE, (RATE,))
        assert np.abs(audio).max() > 0.01


def test_the_command_line_writes_them_and_repeats_them(song, tmp_path, capsys):
    for folder in ("a", "b"):
        main(["views", str(song), "--chain", "light_waveform", "--out", str(tmp_path / folder)])
        assert capsys.readouterr().out.strip() == str(tmp_path / folder / "views.png")
    for name in ("view4.wav", "views.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_crops_are_written_as_they_are(song, tmp_path):
    write_views(str(song), "crops", str(tmp_path), seconds=1.0)
    crop, view = (soundfile.read(tmp_path / f"view1{part}.wav")[0] for part in ("-crop", ""))
    assert np.array_equal(crop, view)


def test_a_missing_file_and_one_too_short_are_named(song, tmp_path, capsys):
    for file, seconds, words in (("gone.wav", "1", "gone.wav"), (str(song), "10", "song.flac")):
        with pytest.raises(SystemExit):
            main(["views", file, "--seconds", seconds, "--out", str(tmp_path)])
        assert words in capsys.readouterr().err


def test_an_imposed_log_mel_is_heard():
    frontend = LogMel(RATE, n_fft=1024, hop_length=256, n_mels=40)
    audio = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(impose(frontend(audio), audio, frontend), audio, atol=1e-4, rtol=0)
    filtered = LowPass((1000.0, 1000.0), p=1.0)
    filtered.bind(frontend)
    wanted = filtered(frontend(audio))
    heard = frontend(impose(wanted, audio, frontend))
    assert ((heard - wanted) * frontend.std)[:, 2:-2].abs().mean() < 1.5  # decibels


def test_captions_tell_what_was_applied_to_the_first_example():
    filtered = LowPass((3477.0, 3477.0), p=0.5)
    params = {"applied": torch.tensor([True, False]), "hertz": torch.tensor([3477.0, 3477.0])}
    assert caption(filtered, params) == "LowPass hertz 3,477"
    choice = OneOf([filtered, Polarity()])
    told = {**params, "choice": torch.zeros(2), "LowPass.hertz": params["hertz"]}
    assert caption(choice, told) == "LowPass hertz 3,477"
    assert caption(choice, {**told, "choice": torch.ones(2)}) == "Polarity"
    params["applied"] = torch.tensor([False, True])
    assert caption(filtered, params) == caption(filtered, {}) == ""
