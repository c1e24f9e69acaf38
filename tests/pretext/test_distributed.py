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
OTHERS = {"swav with a queue": ("swav", {"queue_size": 20})}
for pretext in list_pretexts():
    if "preset" in inspect.signature(pretexts.entry(pretext).target).parameters:
        OTHERS[f"{pretext} of the study"] = (pretext, {"preset": "deezer2024"})
CASES = {**{pretext: (pretext, {}) for pretext in list_pretexts()}, **OTHERS}


def train(cases):
    """What some steps of each pretext show to this process, on its share of the rows."""
    return {name: trained(pretext) for name, pretext in cases.items()}


def share(step):
    """Two views of full length and a short one."""
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rng = torch.Generator().manual_seed(step)
    tracks = torch.randn(BATCH, 16, 1, generator=rng, dtype=torch.float64)
    views = [tracks + torch.randn(BATCH, 16, n, generator=rng, dtype=torch.float64) for n in (12, 12, 8)]
    return [view.chunk(size)[rank] for view in views]


def trained(pretext):
    # Buffers are left to themselves: they must stay equal without being sent around.
    parallel = dist.is_initialized()
    model = DistributedDataParallel(pretext, broadcast_buffers=False) if parallel else pretext
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=1e-3)
    steps = []
    for step in range(STEPS):
        optimiser.zero_grad()
        output = model(share(step))
        output.loss.backward()
        gradients = {name: p.grad.clone() for name, p in pretext.named_parameters() if p.grad is not None}
        seen = {"loss": output.loss.detach(), "terms": output.terms, "gradients": gradients}
        rows = [view.detach() for view in (*output.embeddings, *output.projections)]
        steps.append((seen, rows))
        optimiser.step()
        pretext.after_step(step, STEPS)
    with torch.no_grad():
        evaluated = pretext.eval()(share(0)).loss
    return {"steps": steps, "state": pretext.state_dict(), "evaluated": evaluated}


@pytest.fixture(scope="module")
def cases(small):
    """Pretexts by the names of cases."""
    torch.manual_seed(0)
    encoder = ResNet(4, (1,), embed_dim=16, pooling="mean_max", seconds=1.0)
    made = {case: small(name, copy.deepcopy(encoder), **more) for case, (name, more) in CASES.items()}
    return {case: convert_batch_norms(pretext.double()) for case, pretext in made.items()}


@pytest.fixture(scope="module")
def alone(cases):
    return train(copy.deepcopy(cases))


@pytest.fixture(scope="module", params=[2, 4])
def together(request, cases, on_processes):
    return on_processes(train, request.param, cases)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_several_processes_are_one(case, alone, together):
    expected = alone[case]
    for process in together:
        for (seen, _), (whole, _) in zip(process[case]["steps"], expected["steps"], strict=True):
            close(seen["loss"], whole["loss"])
            close(seen["gradients"], whole["gradients"])
            torch.testing.assert_close(seen["terms"], whole["terms"])
        close(process[case]["state"], expected["state"])
        close(process[case]["evaluated"], expected["evaluated"])
    # Embeddings and projections are those of the share.
    for step, (_, whole) in enumerate(expected["steps"]):
        shares = [process[case]["steps"][step][1] for process in together]
        close([torch.cat(rows) for rows in zip(*shares, strict=True)], whole)
