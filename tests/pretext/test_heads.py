import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mvssl.distributed import BatchNorm
from mvssl.pretext.heads import Prototypes, UnitLength, mlp


def test_a_head_is_linear_norm_relu_and_a_bare_linear_layer():
    head = mlp([6, 5, 4, 3])
    kinds = [nn.Linear, BatchNorm, nn.ReLU, nn.Linear, BatchNorm, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in head] == kinds
    assert [layer.out_features for layer in head if isinstance(layer, nn.Linear)] == [5, 4, 3]
    assert [layer.bias is not None for layer in head if isinstance(layer, nn.Linear)] == [False, False, True]
    x = torch.randn(8, 6)
    y = F.relu(head[1](F.linear(x, head[0].weight)))
    y = F.relu(head[4](F.linear(y, head[3].weight)))
    torch.testing.assert_close(head(x), F.linear(y, head[6].weight, head[6].bias))


def test_two_sizes_are_one_linear_layer():
    assert [type(layer) for layer in mlp([6, 3])] == [nn.Linear]


def test_the_last_bias_can_be_left_out():
    assert mlp([6, 5, 3], last_bias=False)[-1].bias is None


@pytest.mark.parametrize("sizes", [[], [4], [4, 0], [4, -1, 3]])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="give at least an input and an output size, all positive"):
        mlp(sizes)


def test_a_plain_head_has_what_it_is_told():
    head = mlp([6, 5, 3], batch_norm=False, hidden_bias=True, activation=nn.GELU)
    assert [type(layer) for layer in head] == [nn.Linear, nn.GELU, nn.Linear]
    assert head[0].bias is not None


def test_rows_of_unit_length_are_exact_under_autocast():
    x = torch.randn(4, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        unit = UnitLength()(x.bfloat16())
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(4))
    assert UnitLength()(torch.zeros(2, 3)).isfinite().all()


def test_prototypes_score_in_full_precision_under_autocast():
    prototypes, z = Prototypes(9, 5), torch.randn(4, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = prototypes(z)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, z @ prototypes.weight.T)


def test_weight_norm_uses_directions_of_prototypes():
    prototypes, z = Prototypes(9, 5, weight_norm=True), F.normalize(torch.randn(4, 9), dim=1)
    expected = F.cosine_similarity(z[:, None], prototypes.weight[None], dim=2)
    torch.testing.assert_close(prototypes(z), expected)


def test_prototypes_can_be_put_on_the_unit_sphere():
    prototypes = Prototypes(9, 5)
    directions = F.normalize(prototypes.weight.detach(), dim=1)
    prototypes.to_unit_length()
    torch.testing.assert_close(prototypes.weight.detach(), directions)


@pytest.mark.parametrize(("dim", "count"), [(0, 3), (3, 0)])
def test_impossible_prototypes_are_refused(dim, count):
    with pytest.raises(ValueError, match=f"dim={dim} and prototypes={count} must be all positive"):
        Prototypes(dim, count)
