"""Several processes of ``fit`` are one process on the whole batch."""

import inspect
import os
import random
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from training.test_resume import begun, bitwise, ended, seed_all
from waves import wave_encoder

import mvssl
from mvssl.data import loader, open_corpus
from mvssl.encoders import ResNet
from mvssl.pretext import create_pretext, list_pretexts, pretexts
from mvssl.training import read_metrics
from mvssl.training.processes import launched
from mvssl.views import chain

TIMES = {"views_per_second", "data_share"}


def fitted(name, corpus, folder):
    """What a short run of a pretext changed and gave, on as many processes as there are."""
    size = dist.get_world_size()
    _as_torchrun_does(dist.get_rank(), size)
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    encoder = ResNet(4, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
    kind = pretexts.entry(name).target
    if kind.lacking(encoder):
        encoder = wave_encoder(1.0)
    arguments = inspect.signature(kind).parameters
    sizes = [argument for argument in arguments if argument.endswith("_dim") or argument == "prototypes"]
    few = {"clusters": 8} if "clusters" in arguments else {}
    pretext = create_pretext(name, encoder, **dict.fromkeys(sizes, 32), **few)
    before = _flat(pretext)
    views = "light" if isinstance(encoder, ResNet) else kind.chain
    result = mvssl.fit(
        pretext, corpus, views, steps=3, batch_size=12, out=folder / str(size), progress=False,
        log_every=1, precision="fp32", optimiser="sgd", learning_rate=1e-3, show_every=0, checkpoint_every=2,
    )  # fmt: skip
    # Clusters were not known before; were they others, so would be what is learned of them.
    return (_flat(pretext) - before).nan_to_num(), (result.steps, result.views)


def long_run(name, corpus, folder, victim, seconds):
    """A run that saves every step and goes on where it was; after a time, one of the processes is killed."""
    rank = dist.get_rank()
    _as_torchrun_does(rank, dist.get_world_size())
    if rank == victim:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    seed_all(int(begun(folder)))  # with a checkpoint, weights and streams must all come from there
    start = time.monotonic()
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    encoder = ResNet(4, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
    mvssl.fit(
        create_pretext(name, encoder), corpus, "light", steps=12, batch_size=12, out=folder, progress=False,
        log_every=1, precision="fp32", show_every=0, checkpoint_every=1, resume=True,
    )  # fmt: skip
    return time.monotonic() - start


def _as_torchrun_does(rank, size):
    if size > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        os.environ.update({name: str(number) for name, number in numbers.items()})
        os.environ.update(TORCHELASTIC_RUN_ID="test", MASTER_ADDR="localhost", MASTER_PORT="1")


def _flat(pretext):
    """Weights, teachers, queues and statistics, as one vector."""
    state = pretext.state_dict().values()
    return torch.cat([value.flatten().double() for value in state if value.is_floating_point()])


@pytest.fixture(scope="module")
def corpus(music):
    found = open_corpus(music, min_seconds=1.0)
    return replace(found, groups=np.array([f"artist {n % 7}" for n in range(len(found))]))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_pretexts())
def test_two_processes_are_one(name, corpus, on_processes, tmp_path):
    ((alone, made),) = on_processes(fitted, 1, name, corpus, tmp_path)
    (first, made_first), (second, made_second) = on_processes(fitted, 2, name, corpus, tmp_path)
    assert made == made_first == made_second == (3, 3 * 12 * 2)
    assert torch.equal(first, second)
    # In fp32; tests/pretext/test_distributed.py compares to a part in a million, in float64.
    assert (first - alone).norm() < 5e-3 * alone.norm()
    rows, together = read_metrics(tmp_path / "1"), read_metrics(tmp_path / "2")
    for row, other in zip(rows, together, strict=True):
        assert row.keys() == other.keys()
        near = 2e-4 if row["step"] == 1 else 2e-2  # what was rounded differently grows from step to step
        for column in row.keys() - TIMES:
            assert other[column] == pytest.approx(row[column], rel=near, abs=1e-4), column
    assert {"last.ckpt", "previous.ckpt", "encoder.json"} <= set(os.listdir(tmp_path / "2"))
    assert len(list((tmp_path / "2").glob("events.*"))) == 1  # the first process writes, and only it


@pytest.mark.slow
@pytest.mark.parametrize(("name", "victim"), [("simclr", 0), ("byol", 1)])
def test_two_processes_of_which_one_is_killed_end_as_if_it_had_not_been(
    name, victim, corpus, on_processes, tmp_path
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    taken = max(on_processes(long_run, 2, name, corpus, whole, None, 0))
    with pytest.raises(pytest.fail.Exception, match="exit codes"):
        on_processes(long_run, 2, name, corpus, parts, victim, random.uniform(0, 0.7 * taken))
    on_processes(long_run, 2, name, corpus, parts, None, 0)
    (state, rows), (resumed, rows_too) = ended(whole), ended(parts)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows == rows_too
    assert bitwise(state, resumed)


def test_processes_share_the_rows_of_the_same_batches(music):
    views = chain("crops", 1.0)
    arguments = {"batch_size": 6, "steps": 3, "workers": 0}
    whole = list(loader(music, views, **arguments))
    parts = [list(loader(music, views, **arguments, rank=rank, processes=3)) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(batch.items, torch.cat([share.items for share in shares]))
        assert np.array_equal(batch.keys, np.concatenate([share.keys for share in shares]))
        for view, crops in enumerate(batch.crops):
            assert torch.equal(crops, torch.cat([share.crops[view] for share in shares]))
    with pytest.raises(ValueError, match="batch_size=6 tracks cannot be shared out to process 0 of 4"):
        loader(music, views, **arguments, rank=0, processes=4)


def test_what_torchrun_and_srun_say(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC"))]:
        monkeypatch.delenv(name)
    assert (launched().rank, launched().size) == (0, 1)
    assert (launched(2).size, launched(2).here) == (2, 2)
    for name, value in {"NTASKS": 4, "NTASKS_PER_NODE": 2, "NNODES": 2, "PROCID": 3}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    slurm = launched()
    assert (slurm.rank, slurm.size, slurm.here, slurm.slurm) == (3, 4, 2, True)
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": 5, "WORLD_SIZE": 6, "LOCAL_WORLD_SIZE": 3, "LOCAL_RANK": 2}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    torchrun = launched()
    assert (torchrun.rank, torchrun.size, torchrun.here, torchrun.slurm) == (5, 6, 3, False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="6 processes with 4 on this machine"):
        launched()
