import copy
import io
import math

import pytest
import torch
from torch import nn

from mvssl.pretext.ema import MovingAverage


class Counting(nn.Module):
    """Holds one buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([1.0, 2.0]))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("seen", torch.tensor([True, False]))

    def forward(self, x):
        return x * self.scale


@pytest.fixture
def online():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), Counting())


def disturb(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    network[2].scale.add_(1)
    network[2].count.add_(5)
    network[2].seen.logical_not_()


def test_it_starts_as_a_copy_without_gradients(online):
    average = MovingAverage(*online, momentum=0.9)
    assert all(map(torch.equal, average.network.state_dict().values(), online.state_dict().values()))
    own = {tensor.data_ptr() for tensor in average.network.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in online.state_dict().values())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in online.parameters())
    output = average(torch.randn(4, 3, requires_grad=True))
    assert not output.requires_grad


def test_parameters_and_floating_buffers_are_averaged_and_the_rest_copied(online):
    average = MovingAverage(*online, momentum=0.9)
    before = copy.deepcopy(average.network)
    disturb(online)
    average.update(*online)
    for now, new, old in zip(average.parameters(), online.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * new)
    assert average.network[2].scale.tolist() == pytest.approx([1.1, 2.1])
    assert average.network[2].count == 5
    assert average.network[2].seen.tolist() == [False, True]


def test_batch_norms_keep_statistics_of_their_own(online):
    average = MovingAverage(*online, momentum=0.0)
    online(torch.randn(8, 3))
    statistics = [online[1].running_mean, online[1].running_var, online[1].num_batches_tracked]
    average.update(*online)
    norm = average.network[1]
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert norm.num_batches_tracked == 0
    disturb(online)
    average.update(*online)
    average(torch.randn(8, 3))
    assert norm.num_batches_tracked == 1
    assert online[1].num_batches_tracked == 1
    assert not torch.equal(norm.running_mean, statistics[0])
    torch.testing.assert_close(norm.weight, online[1].weight)


@pytest.mark.parametrize(
    ("step", "total", "momentum"),
    [
        (0, None, 0.9),
        (7, None, 0.9),
        (0, 100, 0.9),
        (25, 100, 1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2),
        (50, 100, 0.95),
        (100, 100, 1.0),
        (150, 100, 1.0),  # a run that goes on stays at its end
    ],
)
def test_the_momentum_rises_with_the_steps(online, step, total, momentum):
    average = MovingAverage(*online, momentum=0.9)
    assert average.momentum_at(step, total) == pytest.approx(momentum)
    disturb(online)
    average.update(*online, step=step, total_steps=total)
    assert average.network[2].scale.tolist() == pytest.approx([2 - momentum, 3 - momentum])


def test_what_is_shared_moves_once():
    shared = nn.Linear(2, 2)
    average = MovingAverage(shared, nn.ReLU(), shared, momentum=0.5)
    before = average.network[0].weight.clone()
    with torch.no_grad():
        shared.weight.add_(1)
    average.update(shared, nn.ReLU(), shared)
    torch.testing.assert_close(average.network[0].weight, before + 0.5)


def test_it_goes_on_from_its_state_and_its_copies_are_independent(online):
    average = MovingAverage(*online, momentum=0.9)
    disturb(online)
    average.update(*online, step=3, total_steps=10)
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    file.seek(0)
    resumed = MovingAverage(*copy.deepcopy(online), momentum=0.9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    other = copy.deepcopy(average)
    kept = copy.deepcopy(average.state_dict())
    disturb(online)
    for network in (resumed, other):
        network.update(*online, step=4, total_steps=10)
    assert all(torch.equal(value, kept[name]) for name, value in average.state_dict().items())
    average.update(*online, step=4, total_steps=10)
    for network in (resumed, other):
        assert all(map(torch.equal, network.state_dict().values(), average.state_dict().values()))


def test_another_network_is_refused(online):
    with pytest.raises(ValueError, match="shorter"):
        MovingAverage(*online, momentum=0.9).update(online[0])


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_the_momentum_must_be_a_share(online, momentum):
    with pytest.raises(ValueError, match=rf"momentum={momentum} must lie in \[0, 1\]"):
        MovingAverage(*online, momentum=momentum)
