import pytest
import torch

from mvssl.encoders import create_encoder, encoders

each_preset = pytest.mark.parametrize("name", encoders.names())


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
    [
        ("tiny", 768_264),
        ("samplecnn", 2_368_512),
        ("convnet5", 12_361_856),
        ("vit_tiny", 2_693_568),
        ("wave_tiny", 912_272),
    ],
)
def test_sizes_of_presets_stay(name, expected):
    assert sum(parameter.numel() for parameter in create_encoder(name).parameters()) == expected


def test_an_unknown_preset_suggests_close_ones():
    with pytest.raises(ValueError, match=r"no encoder named 'samplecn'; did you mean 'samplecnn'\?"):
        create_encoder("samplecn")
