from itertools import pairwise

import pytest
import torch
from torch import nn

from mvssl.encoders import ViT, create_encoder, encoders
from mvssl.optim import adamw, layers_of, make_optimiser, warmup_cosine


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    model[2].weight.requires_grad_(False)
    decayed, free = adamw([model], 1e-3, 0.1).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight)}
    expected = {id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[2].bias)}
    assert {id(p) for p in free["params"]} == expected


def test_schedule_rises_then_falls_to_zero():
    factors = [warmup_cosine(step / 100, warmup=0.1) for step in range(101)]
    assert factors[0] == 0
    assert factors[5] == pytest.approx(0.5)
    assert max(factors) == factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))


def test_progress_beyond_the_end_stays_at_zero():
    assert warmup_cosine(1.7) == pytest.approx(0, abs=1e-12)


def test_one_step_moves_the_weights():
    layer = nn.Linear(2, 1)
    before = layer.weight.clone()
    optimiser = adamw([layer], 1e-2, 0.0)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    assert not torch.equal(before, layer.weight)


def test_learning_rates_fall_towards_the_input():
    encoder = ViT(16, depth=2, heads=2, seconds=1.0, frontend={"n_fft": 512, "hop_length": 320, "n_mels": 32})
    model = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(16, 4)})
    optimiser = make_optimiser("adamw", model, 1e-2, 0.1, layers=encoder, layer_decay=0.5)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))  # each once
    parts = [encoder.embed.weight, encoder.blocks[0].linear1.weight, encoder.blocks[1].linear1.bias,
             encoder.norm.weight, model["head"].weight]  # fmt: skip
    assert [rates[id(part)] for part in parts] == pytest.approx([1.25e-3, 2.5e-3, 5e-3, 1e-2, 1e-2])
    assert rates[id(encoder.positions)] == rates[id(encoder.embed.weight)]
    decayed = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in model.parameters() if p.ndim > 1}


@pytest.mark.parametrize("name", encoders.names())
def test_every_encoder_falls_into_layers(name):
    encoder = create_encoder(name)
    layers = layers_of(encoder)
    assert len(layers) >= 5
    assert sorted(id(p) for layer in layers for p in layer) == sorted(id(p) for p in encoder.parameters())
