import inspect

import pytest
import torch
from torch import nn

from mvssl.distributed import BatchNorm
from mvssl.functional import barlow_twins, byol, nt_xent, vicreg_terms
from mvssl.pretext import BYOL, DINO, BarlowTwins, SimCLR, VICReg, create_pretext
from mvssl.pretext.presets import presets

STUDY = {"simclr": SimCLR, "byol": BYOL, "dino": DINO, "barlow_twins": BarlowTwins, "vicreg": VICReg}


class Point:
    @presets(deezer2024={"x": 10, "z": 30})
    def __init__(self, x: int = 1, y: int = 2, *, z: int = 3, preset: str = "paper") -> None:
        self.values = (x, y, z)


def test_arguments_win_over_the_preset_and_the_preset_over_defaults():
    assert Point().values == (1, 2, 3)
    assert Point(preset="paper", y=5).values == (1, 5, 3)
    assert Point(preset="deezer2024").values == (10, 2, 30)
    assert Point(7, preset="deezer2024").values == (7, 2, 30)
    assert Point(7, 8, z=9, preset="deezer2024").values == (7, 8, 9)


def test_the_signature_is_that_of_the_constructor():
    assert list(inspect.signature(Point).parameters) == ["x", "y", "z", "preset"]
    with pytest.raises(TypeError, match="nonsense"):
        Point(nonsense=1, preset="deezer2024")
    with pytest.raises(ValueError, match="preset='deezer': use 'paper' or 'deezer2024'"):
        Point(preset="deezer")


class Flat(nn.Module):
    """An encoder of the size that the study has, without a cost."""

    embed_dim = 1024

    def forward(self, x):
        return x.repeat(1, 256)


@pytest.fixture
def study(request):
    torch.manual_seed(0)
    return create_pretext(request.param, Flat(), preset="deezer2024")


each = pytest.mark.parametrize("study", STUDY, indirect=True)


def widths(module):
    return [tuple(p.shape)[::-1] for p in module.parameters() if p.ndim == 2]


@each
def test_heads_of_the_study(study):
    hidden = [(1024, 1024), (1024, 1024)]
    last = {DINO: (1024, 256)}.get(type(study), (1024, 2048))
    assert widths(study.projector) == [*hidden, last]
    linear = [layer for layer in study.projector if isinstance(layer, nn.Linear)]
    assert all(layer.bias is None for layer in linear)
    assert sum(isinstance(layer, BatchNorm) for layer in study.projector) == (
        3 if isinstance(study, DINO) else 2
    )
    if isinstance(study, BYOL):
        assert widths(study.predictor) == [(2048, 256), (256, 2048)]
        assert study.target.momentum == 0.996
    if isinstance(study, DINO):
        assert tuple(study.prototypes.weight.shape) == (4096, 256)
        assert not study.prototypes.weight_norm
        assert study.temperatures == (0.02, 0.04)
        assert study.teacher.momentum == 0.996


@each
def test_losses_of_the_study(study):
    output = study([torch.randn(6, 4) for _ in range(3)])
    z = output.projections
    if isinstance(study, SimCLR):
        expected = nt_xent(z, 0.1, "multi_positive")
    elif isinstance(study, BarlowTwins):
        expected = barlow_twins(z, 1.0, "mean", correction=1)
    elif isinstance(study, VICReg):
        expected = torch.stack(vicreg_terms(z, 1e-5, "correlation")).sum()
    elif isinstance(study, BYOL):
        expected = None
        assert study.sum_over == "batch"
    else:
        expected = None
        assert study.student_temperature == 0.1
        assert study.temperature.item() == pytest.approx(0.02)
    if expected is not None:
        torch.testing.assert_close(output.loss, expected)


def test_the_slip_of_byol_shrinks_its_cosines():
    torch.manual_seed(0)
    pretext = BYOL(Flat(), preset="deezer2024").eval()
    views = [torch.randn(6, 4) for _ in range(2)]
    predictions = [pretext.predictor(z) for z in pretext(views).projections]
    targets = [pretext.target(view) for view in views]
    torch.testing.assert_close(2 - pretext(views).loss, 6 / 2048 * (2 - byol(predictions, targets)))


@pytest.mark.parametrize("kind", STUDY.values())
def test_the_default_is_the_paper(kind, encoder):
    torch.manual_seed(0)
    first = kind(encoder).state_dict()
    torch.manual_seed(0)
    second = kind(encoder, preset="paper").state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kind", STUDY.values())
def test_an_argument_replaces_that_of_the_preset(kind, encoder):
    pretext = kind(encoder, projection_dim=12, preset="deezer2024")
    assert widths(pretext.projector)[-1] == (1024, 12)
    with pytest.raises(ValueError, match="preset='mine': use 'paper' or 'deezer2024'"):
        kind(encoder, preset="mine")
