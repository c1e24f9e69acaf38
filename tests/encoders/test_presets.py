import json

import pytest
import torch
from safetensors.torch import save_file

from mvssl.encoders import ResNet, create_encoder, encoders, load_encoder, save_encoder
from mvssl.encoders.presets import DESCRIPTION, WEIGHTS

each_preset = pytest.mark.parametrize("name", encoders.names())


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    return ResNet(8, (1, 1), embed_dim=16, heads=4, seconds=1.0, frontend=frontend)


@each_preset
def test_overrides_replace_arguments(name):
    encoder = create_encoder(name, embed_dim=8)
    assert encoder.embed_dim == encoder.config["embed_dim"] == 8


def test_deezer2024_has_its_published_size():
    encoder = create_encoder("deezer2024")
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 2_800_392
    assert encoder.embed_dim == 1024
    assert encoder(torch.zeros(2, 64_000)).shape == (2, 1024)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tiny", 768_264), ("samplecnn", 2_368_512), ("convnet5", 12_361_856), ("vit_tiny", 2_693_568)],
)
def test_sizes_of_presets_stay(name, expected):
    assert sum(parameter.numel() for parameter in create_encoder(name).parameters()) == expected


def test_runs_from_before_other_front_ends_and_bodies_load(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    for newer in ("area_normalised", "compression", "backend"):
        del description["arguments"]["frontend"][newer]
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    audio = 0.1 * torch.randn(2, 16_000)
    assert torch.equal(load_encoder(tmp_path)(audio), encoder.eval()(audio))


def test_an_unknown_preset_suggests_close_ones():
    with pytest.raises(ValueError, match=r"no encoder named 'samplecn'; did you mean 'samplecnn'\?"):
        create_encoder("samplecn")


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
