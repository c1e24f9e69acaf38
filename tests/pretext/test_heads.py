import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mvssl.pretext.heads import mlp


def test_a_head_is_linear_norm_relu_and_a_bare_linear_layer():
    head = mlp([6, 5, 4, 3])
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
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
