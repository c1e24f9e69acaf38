"""Gathering, sums, means and batch norms on two gloo processes against one, and what lightly does there."""

import copy
import textwrap

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mvssl import distributed, functional
from mvssl.distributed import BatchNorm, convert_batch_norms, gather, mean, total
from mvssl.pretext import SimCLR

SIZE = 2
EVEN, UNEVEN = (4, 4), (5, 1)
NORMS = {
    "rows": (nn.BatchNorm1d, {}, (7,)),
    "sequences": (nn.BatchNorm1d, {"momentum": 0.3, "eps": 1e-3}, (7, 5)),
    "images": (nn.BatchNorm2d, {}, (7, 2, 3)),
    "cumulative statistics": (nn.BatchNorm1d, {"momentum": None}, (7,)),
    "no weights": (nn.BatchNorm1d, {"affine": False}, (7,)),
    "no statistics": (nn.BatchNorm1d, {"track_running_stats": False}, (7,)),
}


def rows(batch, *shape, seed=0, dtype=torch.float64):
    """Of the whole batch, far from zero."""
    rng = torch.Generator().manual_seed(seed)
    return 3 + torch.randn(sum(batch), *shape, generator=rng, dtype=dtype) * torch.rand(shape, generator=rng)


def mine(whole, batch):
    """This process's share of them, as a leaf."""
    return whole.split(batch)[dist.get_rank()].clone().requires_grad_()


def everything():
    return {
        "gather": gathered(), "weighted": weighted(), "total": summed(), "mean": averaged(),
        "norms": {(name, batch): normalised(name, batch) for name in NORMS for batch in (EVEN, UNEVEN)},
        "bfloat16": in_bfloat16(), "evaluated": evaluated(), "refused": refused(),
        "barlow twins": {name: barlow_twins(name) for name in ("mvssl", "lightly")}, "example": example(),
    }  # fmt: skip


def coupled(a, b):
    """A scalar in which every row meets every other."""
    return (a @ a.T).sin().sum() + (a.sum(1) * b.sum((1, 2)).cos()).square().mean()


@pytest.fixture(scope="module")
def processes(on_processes):
    return on_processes(everything, SIZE)


def close(found, expected, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12)


def gathered():
    a, b = mine(rows(EVEN, 6), EVEN), mine(rows(EVEN, 2, 3, seed=1), EVEN)
    constant = torch.arange(4) + 2**24 + 1 + 4 * dist.get_rank()
    *together, mask = gather([a, b, a > 3])
    coupled(*together).backward()
    ungraded = gather([a.detach(), b])[0].requires_grad
    return *together, a.grad, b.grad, gather([constant])[0], ungraded, mask, gather([a > 3])[0]


def test_gathered_rows_and_their_gradients_are_those_of_the_whole_batch(processes):
    a, b = rows(EVEN, 6).requires_grad_(), rows(EVEN, 2, 3, seed=1).requires_grad_()
    coupled(a, b).backward()
    for found in processes:
        assert torch.equal(found["gather"][0], a.detach())
        assert torch.equal(found["gather"][1], b.detach())
        assert torch.equal(found["gather"][4], torch.arange(8) + 2**24 + 1)
        assert not found["gather"][5]
        assert torch.equal(found["gather"][6], a > 3)
        assert torch.equal(found["gather"][7], a > 3)
    # Each process has the whole loss: their sum is what is differentiated, and averaged over processes later.
    for i, whole in ((2, a), (3, b)):
        close(torch.cat([found["gather"][i] for found in processes]) / SIZE, whole.grad)


def weighted():
    a = mine(rows(EVEN, 6), EVEN)
    (whole,) = gather([a])
    ((dist.get_rank() + 1) * whole.sin().sum()).backward()
    return a.grad


def test_the_gradient_of_a_row_is_what_all_processes_ask_for(processes):
    found = torch.cat([process["weighted"] for process in processes])
    close(found, (1 + 2) * rows(EVEN, 6).cos())


def summed():
    a, b = mine(rows(EVEN, 6), EVEN), mine(rows(EVEN, seed=1, dtype=torch.float32), EVEN)
    sums = total([a.exp().sum(), b.sum()])
    (sums[0].log() * sums[1]).backward()
    return [s.detach() for s in sums], a.grad, b.grad


def test_sums_are_over_all_processes(processes):
    a, b = rows(EVEN, 6).requires_grad_(), rows(EVEN, seed=1, dtype=torch.float32).requires_grad_()
    sums = a.exp().sum(), b.sum()
    (sums[0].log() * sums[1]).backward()
    for found in processes:
        torch.testing.assert_close(found["total"][0], [s.detach() for s in sums])
    for i, whole in ((1, a), (2, b)):
        gradients = torch.cat([found["total"][i] for found in processes]) / SIZE
        torch.testing.assert_close(gradients, whole.grad)


def averaged():
    a = mine(rows(UNEVEN, 6), UNEVEN)
    scalar, row = mean([a.exp().mean(), a.square().mean(0)], rows=len(a))
    (scalar * row.sin().sum()).backward()
    return scalar.detach(), row.detach(), a.grad


def test_means_are_over_all_rows_however_they_are_shared_out(processes):
    a = rows(UNEVEN, 6).requires_grad_()
    scalar, row = a.exp().mean(), a.square().mean(0)
    (scalar * row.sin().sum()).backward()
    for found in processes:
        close(found["mean"][:2], (scalar.detach(), row.detach()))
    close(torch.cat([found["mean"][2] for found in processes]) / SIZE, a.grad)


def norm_of(name):
    kind, arguments, shape = NORMS[name]
    norm = kind(shape[0], **arguments).double()
    for i, parameter in enumerate(norm.parameters()):
        nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(i))
    return norm, shape


def normalised(name, batch):
    norm, shape = norm_of(name)
    return steps_of(convert_batch_norms(norm), lambda whole: mine(whole, batch), shape, batch)


def steps_of(norm, share, shape, batch):
    """Outputs, gradients of inputs, gradients of weights and state after three steps of one norm."""
    outputs, inputs = [], []
    for seed in range(3):
        x = share(rows(batch, *shape, seed=seed))
        y = norm(x)
        (y * share(rows(batch, *shape, seed=seed + 9)).detach()).tanh().sum().backward()
        outputs.append(y.detach())
        inputs.append(x.grad)
    return outputs, inputs, [p.grad for p in norm.parameters()], norm.state_dict()


@pytest.mark.parametrize("batch", [EVEN, UNEVEN])
@pytest.mark.parametrize("name", NORMS)
def test_a_batch_norm_is_that_of_the_whole_batch(processes, name, batch):
    norm, shape = norm_of(name)
    whole = steps_of(norm, lambda x: x.requires_grad_(), shape, batch)
    found = [process["norms"][name, batch] for process in processes]
    for part in (0, 1):
        shares = zip(*(process[part] for process in found), strict=True)
        close([torch.cat(rows) for rows in shares], whole[part])
    close([sum(gradients) for gradients in zip(*(process[2] for process in found), strict=True)], whole[2])
    for process in found:
        close(process[3], whole[3])


def in_bfloat16():
    x = mine(rows(EVEN, 7, dtype=torch.float32).bfloat16(), EVEN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return BatchNorm(7)(x).detach()


def test_half_precision_is_normalised_in_full_precision(processes):
    expected = nn.BatchNorm1d(7)(rows(EVEN, 7, dtype=torch.float32).bfloat16().float()).bfloat16().detach()
    assert torch.equal(torch.cat([found["bfloat16"] for found in processes]), expected)


def evaluated():
    """On one process only: nothing waits for the others."""
    norm = nn.Sequential(BatchNorm(7), BatchNorm(7, track_running_stats=False)).double().eval()
    return norm(rows(EVEN, 7)).detach() if dist.get_rank() == 1 else None


def test_nothing_is_shared_in_evaluation(processes):
    norm = nn.Sequential(nn.BatchNorm1d(7), nn.BatchNorm1d(7, track_running_stats=False)).double().eval()
    close(processes[1]["evaluated"], norm(rows(EVEN, 7)).detach())


def refused():
    messages = []
    shares = [torch.zeros(UNEVEN[dist.get_rank()], 2)], [torch.zeros(2, 5 - dist.get_rank())]
    for tensors in (*shares, [torch.zeros(2), torch.zeros(2, dtype=torch.long)]):
        try:
            gather(tensors)
        except (TypeError, ValueError) as error:
            messages.append(f"{type(error).__name__}: {error}")
    return messages


def test_what_does_not_fit_is_refused_on_every_process(processes):
    for found in processes:
        uneven, unlike, mixed = found["refused"]
        assert uneven.startswith("ValueError: processes have batches of [5, 1] rows with [10, 2] elements")
        assert "(drop_last=True)" in uneven
        assert "[2, 2] rows with [10, 8] elements" in unlike
        assert mixed.startswith("TypeError: floating or integer tensors, not both")


def barlow_twins(whose):
    a, b = (mine(rows(EVEN, 6, seed=seed), EVEN) for seed in range(2))
    loss_of(whose, a, b).backward()
    return torch.cat([a.grad, b.grad], 1)


def loss_of(whose, a, b):
    if whose == "mvssl":
        return functional.barlow_twins(gather([a, b]))
    from lightly.loss import BarlowTwinsLoss

    return BarlowTwinsLoss(gather_distributed=True)(a, b)


def test_lightlys_barlow_twins_is_not_that_of_the_whole_batch_where_ours_is(processes):
    errors = {}
    for whose in ("mvssl", "lightly"):
        a, b = (rows(EVEN, 6, seed=seed).requires_grad_() for seed in range(2))
        loss_of(whose, a, b).backward()
        whole = torch.cat([a.grad, b.grad], 1)
        found = torch.cat([process["barlow twins"][whose] for process in processes]) / SIZE
        errors[whose] = ((found - whole).norm() / whole.norm()).item()
    assert errors["mvssl"] < 1e-9
    assert errors["lightly"] > 0.1


class Network(nn.Module):
    embed_dim = 4

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, view):
        return self.layers(view)


def network():
    torch.manual_seed(0)
    return Network().double()


def views_of(step):
    return [rows(EVEN, 3, seed=10 * step + view) for view in range(2)]


def example():
    """The lines of the docstring as they stand there."""
    encoder = network()
    names = {
        "SimCLR": lambda encoder: SimCLR(encoder).double(), "convert_batch_norms": convert_batch_norms,
        "torch": torch, "encoder": encoder,
        "shares": [[mine(view, EVEN).detach() for view in views_of(step)] for step in range(4)],
    }  # fmt: skip
    exec(lines_of_the_docstring(), names)
    assert isinstance(names["model"], DistributedDataParallel)
    return encoder.state_dict()


def lines_of_the_docstring():
    return textwrap.dedent(distributed.__doc__.split("::\n\n")[1].split("\n\n")[0])


def test_the_loop_of_the_docstring_is_that_of_one_process(processes):
    encoder = network()
    pretext = SimCLR(encoder).double()
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=1e-3)
    for step in range(4):
        pretext(views_of(step)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        pretext.after_step(step)
    assert not torch.equal(encoder.state_dict()["layers.0.weight"], network().state_dict()["layers.0.weight"])
    for found in processes:
        close(found["example"], encoder.state_dict(), rtol=1e-6)


def test_alone_nothing_happens():
    tensors = [torch.zeros(2), torch.ones(3)]
    for found in (gather(tensors), total(tensors), mean(tensors, rows=5)):
        assert [id(tensor) for tensor in found] == [id(tensor) for tensor in tensors]


@pytest.mark.parametrize("name", NORMS)
def test_alone_it_is_the_ordinary_batch_norm(name):
    norm, shape = norm_of(name)
    converted = convert_batch_norms(copy.deepcopy(norm))
    assert type(converted) is BatchNorm
    for training in (True, False):
        x = rows(EVEN, *shape)
        assert torch.equal(converted.train(training)(x), norm.train(training)(x))
    assert converted.state_dict().keys() == norm.state_dict().keys()
    assert all(map(torch.equal, converted.state_dict().values(), norm.state_dict().values()))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm(7)(torch.zeros(1, 7))
    with pytest.raises(ValueError, match=r"\(batch, channels, ...\) is needed, got shape \(7,\)"):
        BatchNorm(7)(torch.zeros(7))


def test_conversion_keeps_tensors_modes_and_sharing():
    shared = nn.BatchNorm2d(3, momentum=0.2, eps=1e-4)
    network = nn.Module()
    network.first, network.second, network.nothing = shared, shared, None
    network.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False).eval())
    before = {**network.state_dict(keep_vars=True)}
    assert convert_batch_norms(network) is network
    after = network.state_dict(keep_vars=True)
    assert [(key, id(value)) for key, value in after.items()] == [(k, id(v)) for k, v in before.items()]
    assert all(type(m) is BatchNorm for m in network.modules() if isinstance(m, _BatchNorm))
    assert isinstance(network.second, BatchNorm)
    assert network.first.training
    assert not network.inner[1].training
    assert (network.first.momentum, network.first.eps) == (0.2, 1e-4)
    once = network.inner[1]
    assert convert_batch_norms(network).inner[1] is once


def test_a_norm_of_gpus_stays():
    norm = nn.Sequential(nn.SyncBatchNorm(3))
    assert type(convert_batch_norms(norm)[0]) is nn.SyncBatchNorm


def test_a_copy_has_statistics_of_its_own():
    norm = BatchNorm(7)
    other = copy.deepcopy(norm)
    other(torch.randn(4, 7))
    assert norm.num_batches_tracked == 0
    norm.load_state_dict(other.state_dict())
    assert torch.equal(norm.running_var, other.running_var)
