import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

import mvssl
from mvssl.encoders import ResNet, create_encoder, load_encoder, save_encoder
from mvssl.encoders.disk import DESCRIPTION, WEIGHTS
from mvssl.pretext import BYOL


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    return ResNet(8, (1, 1), embed_dim=16, heads=4, seconds=1.0, frontend=frontend)


def test_runs_from_before_other_front_ends_and_bodies_load(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    for newer in ("area_normalised", "compression", "backend"):
        del description["arguments"]["frontend"][newer]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    audio = 0.1 * torch.randn(2, 16_000)
    assert torch.equal(load_encoder(tmp_path)(audio), encoder.eval()(audio))


def test_saved_and_loaded_is_bitwise_the_same(encoder, tmp_path):
    audio = 0.1 * torch.randn(4, 16_000)
    encoder(audio)  # moves the statistics of the batch norms
    encoder.to(memory_format=torch.channels_last)
    save_encoder(encoder, tmp_path / "new" / "folder", licence="CC0")
    loaded = load_encoder(tmp_path / "new" / "folder")
    assert not loaded.training
    assert loaded.config == encoder.config
    expected = encoder.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert torch.equal(loaded(audio), encoder.eval()(audio))


def test_the_description_says_everything_and_nothing_is_left_behind(encoder, tmp_path):
    save_encoder(encoder, tmp_path, licence="CC0")
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    assert description["class"] == "ResNet"
    assert description["licence"] == "CC0"
    assert description["arguments"] == encoder.config
    assert description["arguments"]["frontend"]["floor_db"] == -70.0  # a default, spelt out
    assert sorted(path.name for path in tmp_path.iterdir()) == [DESCRIPTION, WEIGHTS]


def test_saving_replaces_an_older_encoder(encoder, tmp_path):
    save_encoder(create_encoder("tiny"), tmp_path)
    save_encoder(encoder, tmp_path)
    assert load_encoder(tmp_path).config == encoder.config


def test_an_unknown_class_is_not_saved(tmp_path):
    class Other(ResNet): ...

    with pytest.raises(ValueError, match="cannot save a Linear: known are ResNet, SampleCNN, ConvNet5, ViT"):
        save_encoder(torch.nn.Linear(1, 1), tmp_path)
    with pytest.raises(ValueError, match="cannot save a Other"):
        save_encoder(Other(8, (1,), heads=4), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(encoder, tmp_path, name):
    save_encoder(encoder, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"class": "ResNet"}', '{"arguments": {}}'])
def test_a_damaged_description_is_named(encoder, tmp_path, content):
    save_encoder(encoder, tmp_path)
    (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(ValueError, match=f"{DESCRIPTION} is damaged"):
        load_encoder(tmp_path)


def test_an_unknown_class_is_named(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    (tmp_path / DESCRIPTION).write_text('{"class": "os.system", "arguments": {}}')
    with pytest.raises(ValueError, match=f"{DESCRIPTION}: unknown encoder class 'os.system'"):
        load_encoder(tmp_path)


def test_damaged_or_foreign_weights_are_named(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    path = tmp_path / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged"):
        load_encoder(tmp_path)
    save_file({"pool.c_proj.bias": encoder.pool.c_proj.bias.detach()}, path)
    with pytest.raises(ValueError, match=rf"{WEIGHTS} .* not of {DESCRIPTION}[\s\S]*c_proj.weight"):
        load_encoder(tmp_path)


def test_a_checkpoint_gives_the_encoder_of_that_step(encoder, music, tmp_path):
    pretext = BYOL(encoder)  # its target holds another encoder, which must not be taken
    mvssl.fit(pretext, music, "light", steps=2, batch_size=8, out=tmp_path, progress=False, precision="fp32")
    loaded = load_encoder(tmp_path / "last.ckpt")
    assert loaded.config == load_encoder(tmp_path).config
    expected = pretext.encoder.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert not loaded.training


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "encoder": Trap()}, path)
    with pytest.raises(ValueError, match="can be read safely"):
        load_encoder(path)
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(ValueError, match="can be read safely"):
        load_encoder(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "no checkpoint of a pre-training run"),
        ([1, 2], "no checkpoint of a pre-training run"),
        ({"state_dict": {}, "encoder": "{"}, "is damaged"),
    ],
)
def test_other_files_are_no_checkpoints(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path / "other.pt")
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="can be read safely"):
        load_encoder(tmp_path / "song.wav")
