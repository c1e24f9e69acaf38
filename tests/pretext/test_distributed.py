"""Every registered pretext on several processes is itself on one process with the whole batch."""

import copy
import inspect

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mvssl.distributed import convert_batch_norms
from mvssl.encoders import ResNet
from mvssl.pretext import list_pretexts, pretexts

BATCH, STEPS = 12, 3
NAMES = {name: (name, {}) for name in list_pretexts()}
STUDIES = {
    f"{name} of the study": (name, {"preset": "deezer2024"})
    for name in list_pretexts()
    if "preset" in inspect.signature(pretexts.entry(name).target).parameters
}
# On two processes; four see the names only, for the time they take.
CASES = {**NAMES, **STUDIES, "swav with a queue": ("swav", {"queue_size": 12}), "dino, a short view": ("dino", {})}


def train(pretexts):
    """What some steps of each pretext show to this process, on its share of the rows."""
    return {case: trained(pretext, short="short" in case) for case, pretext in pretexts.items()}


def trained(pretext, short):
    # Buffers are left to themselves: they must stay equal without being sent around.
    parallel = dist.is_initialized()
    model = DistributedDataParallel(pretext, broadcast_buffers=False) if parallel else pretext
    optimiser = torch.optim.SGD(pretext.parameters(), lr=1e-3, momentum=0.9)
    steps = []
    for step in range(STEPS):
        optimiser.zero_grad()
        output = model(share(step, short))
        output.loss.backward()
        gradients = {name: p.grad.clone() for name, p in pretext.named_parameters() if p.requires_grad}
        rows = [view.detach() for view in (*output.embeddings, *output.projections)]
        steps.append((output.loss.item(), output.terms, gradients, rows))
        optimiser.step()
        pretext.after_step(step, STEPS)
    with torch.no_grad():
        evaluated = pretext.eval()(share(0, short)).loss.item()
    return steps, pretext.state_dict(), evaluated


def share(step, short):
    """This process's rows of two views, or of three of which the last is short."""
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rng = torch.Generator().manual_seed(step)
    tracks = torch.randn(BATCH, 32, 1, generator=rng, dtype=torch.float64)
    lengths = (24, 24, 12) if short else (24, 24)
    views = [tracks + torch.randn(BATCH, 32, n, generator=rng, dtype=torch.float64) for n in lengths]
    return [view.chunk(size)[rank] for view in views]


@pytest.fixture(scope="module")
def pretexts_by_case(small):
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    encoder = ResNet(4, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
    made = {case: small(name, copy.deepcopy(encoder), **more) for case, (name, more) in CASES.items()}
    return {case: convert_batch_norms(pretext.double()) for case, pretext in made.items()}


@pytest.fixture(scope="module")
def alone(pretexts_by_case):
    return train(copy.deepcopy(pretexts_by_case))


@pytest.fixture(scope="module")
def two(pretexts_by_case, on_processes):
    return on_processes(train, 2, pretexts_by_case)


@pytest.fixture(scope="module")
def four(pretexts_by_case, on_processes):
    return on_processes(train, 4, {name: pretexts_by_case[name] for name in NAMES})


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)


def compare(case, processes, alone):
    whole, state, evaluated = alone[case]
    for steps, own_state, own_evaluated in (process[case] for process in processes):
        for (loss, terms, gradients, _), expected in zip(steps, whole, strict=True):
            close(loss, expected[0])
            torch.testing.assert_close(terms, expected[1])
            close(gradients, expected[2])
        close(own_state, state)
        close(own_evaluated, evaluated)
    for step, expected in enumerate(whole):
        shares = [process[case][0][step][3] for process in processes]
        close([torch.cat(rows) for rows in zip(*shares, strict=True)], expected[3])


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case, two, alone):
    compare(case, two, alone)


@pytest.mark.parametrize("name", NAMES)
def test_four_processes_are_one(name, four, alone):
    compare(name, four, alone)
