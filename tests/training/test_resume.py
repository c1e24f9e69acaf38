"""Runs that are killed, told to stop, or out of room, and what they end with."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from waves import wave_encoder

import mvssl
from mvssl.data import open_corpus, prepare
from mvssl.encoders import ResNet
from mvssl.loading import write_tensors
from mvssl.pretext import HuBERT, SimCLR, create_pretext
from mvssl.training import CheckpointError, CheckpointWarning, read_metrics
from mvssl.training.checkpoints import CHECKPOINT, PREVIOUS, read_checkpoint

STEPS = 24
TIMES = {"views_per_second", "data_share"}  # of metrics.csv, what no two runs share


def _encoder():
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    return ResNet(4, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)


class Draws(SimCLR):
    """Draws from every global random stream."""

    def from_embeddings(self, embeddings, views, *args, **kwargs):
        drawn = random.random() + np.random.rand()  # noqa: NPY002
        noisy = [torch.nn.functional.dropout(view, 0.2) + 0.1 * drawn for view in embeddings]
        return super().from_embeddings(noisy, views, *args, **kwargs)


def _make(name):
    if name == "hubert":
        return HuBERT(wave_encoder(), clusters=8)
    encoder = _encoder()
    if name == "draws":
        return Draws(encoder)
    if name == "simclr":
        return SimCLR(encoder, queue_size=20)
    return create_pretext(name, encoder)


def _fit(pretext, music, out, steps=6, **kwargs):
    settings = {"batch_size": 8, "progress": False, "log_every": 1, "precision": "fp32", "show_every": 0}
    views = "crops" if isinstance(pretext, HuBERT) else "light"
    return mvssl.fit(pretext, music, views, steps=steps, out=out, **{"resume": True} | settings | kwargs)


def seed_all(number):
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(number)


def train(name, music, out):
    """In a process of its own: some steps of a pretext with a checkpoint after each."""
    seed_all(int(begun(out)))  # with a checkpoint, weights and streams must all come from there
    _fit(_make(name), music, out, STEPS, checkpoint_every=1)


def begun(out):
    return (out / CHECKPOINT).exists() or (out / PREVIOUS).exists()


def bitwise(a, b):
    """Bitwise, through containers."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(bitwise(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(bitwise, a, b))
    return a == b


def ended(out):
    """What a run ends with: weights, optimiser, streams and all else in its checkpoint, but for times."""
    content = read_checkpoint(out / CHECKPOINT)
    (watcher,) = content["callbacks"].values()
    watcher.pop("seconds")
    rows = [{name: row[name] for name in row.keys() - TIMES} for row in read_metrics(out)]
    return {name: content[name] for name in ("state_dict", "optimizer_states", "callbacks")}, rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["simclr", "byol", "vicreg", "barlow_twins", "dino", "swav", "hubert", "draws"]
)
def test_a_run_that_is_killed_at_random_moments_ends_as_if_it_had_not_been(name, music, tmp_path, forked):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start = time.monotonic()
    _join(forked(train, name, music, whole))
    taken = time.monotonic() - start
    rows_when_killed = []
    while len(rows_when_killed) < 2:
        process = forked(train, name, music, parts)
        while rows_when_killed and not begun(parts):  # the second kill comes after a checkpoint
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.7 * taken))
        if process.exitcode is not None:  # it was faster
            shutil.rmtree(parts)
            continue
        process.kill()
        process.join()
        rows_when_killed.append(len(read_metrics(parts)))
    _join(forked(train, name, music, parts))
    (state, rows), (resumed, rows_too) = ended(whole), ended(parts)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows == rows_too, f"killed after {rows_when_killed} rows"
    assert bitwise(state, resumed), f"killed after {rows_when_killed} rows"


def _join(process):
    process.join(120)
    assert process.exitcode == 0


class _Interrupted(SimCLR):
    """Calls a function before a step; its weights have the names of SimCLR's."""

    def __init__(self, encoder, step, call):
        super().__init__(encoder)
        self.left, self.call = step, call

    def from_embeddings(self, embeddings, views, *args, **kwargs):
        if self.left == 0:
            self.call()
        self.left -= 1
        return super().from_embeddings(embeddings, views, *args, **kwargs)


def _simclr(step=-1, call=None):
    torch.manual_seed(0)
    return _Interrupted(_encoder(), step, call)


@pytest.fixture(scope="module")
def whole(music, tmp_path_factory):
    """The state of a run of six steps to which nothing happened."""
    out = tmp_path_factory.mktemp("whole")
    _fit(_simclr(), music, out)
    return ended(out)


def _is_whole(out, whole):
    state, rows = ended(out)
    assert rows == whole[1]
    return bitwise(state["state_dict"], whole[0]["state_dict"]) and bitwise(
        state["optimizer_states"], whole[0]["optimizer_states"]
    )


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", None)])
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(name, status, music, tmp_path, whole, caplog):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    stopped = _simclr(3, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit if status else KeyboardInterrupt) as stop:
        _fit(stopped, music, tmp_path)
    assert status is None or stop.value.code == status
    assert f"{name} received: saved at step 4" in (caplog.text if status else str(stop.value))
    assert signal.getsignal(number) is before
    assert read_checkpoint(tmp_path / CHECKPOINT)["global_step"] == 4
    assert not (tmp_path / "encoder.safetensors").exists()
    assert _fit(_simclr(), music, tmp_path).steps == 6
    assert _is_whole(tmp_path, whole)


@pytest.fixture(scope="module")
def streamed(music, tmp_path_factory):
    """The small corpus as one archive, at a URL."""
    folder = tmp_path_factory.mktemp("streamed")
    prepare(open_corpus(music), folder, 16_000, packing="flac")
    (archive,) = folder.glob("*.tar")
    return f"file:{archive}"


def test_a_streamed_run_goes_on_where_it_stopped(streamed, tmp_path):
    assert _fit(_simclr(), streamed, tmp_path / "whole").steps == 6
    with pytest.raises(SystemExit):
        _fit(_simclr(3, lambda: os.kill(os.getpid(), signal.SIGTERM)), streamed, tmp_path / "parts")
    _fit(_simclr(), streamed, tmp_path / "parts")
    assert _is_whole(tmp_path / "parts", ended(tmp_path / "whole"))


def test_a_streamed_run_that_diverges_names_its_tracks(streamed, tmp_path):
    pretext = _simclr(3)
    pretext.call = lambda: next(pretext.encoder.parameters()).data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"audio-000000\.tar/"):
        _fit(pretext, streamed, tmp_path)


def test_a_second_ctrl_c_does_not_wait_for_the_step(music, tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _fit(_simclr(3, twice), music, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert not begun(tmp_path)


def test_slurm_is_asked_to_run_the_job_again(music, tmp_path, monkeypatch):
    slurm = {
        "NTASKS": 1,
        "NTASKS_PER_NODE": 1,
        "NNODES": 1,
        "JOB_ID": 71,
        "PROCID": 0,
        "LOCALID": 0,
        "NODEID": 0,
    }
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    stopped = _simclr(2, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(SystemExit) as stop:
        _fit(stopped, music, tmp_path / "run")
    assert stop.value.code == 128 + signal.SIGUSR1
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["global_step"] == 3


def test_a_run_outside_the_main_thread_leaves_signals_alone(music, tmp_path, whole):
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=_fit, args=(_simclr(), music, tmp_path))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert _is_whole(tmp_path, whole)


def _flip(path):
    """Changes one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink])
def test_the_checkpoint_before_stands_in_for_a_damaged_one(damage, music, tmp_path, whole, recwarn):
    _fit(_simclr(), music, tmp_path, checkpoint_every=2)
    damage(tmp_path / CHECKPOINT)
    assert _fit(_simclr(), music, tmp_path, checkpoint_every=2).steps == 6
    said = [str(warning.message) for warning in recwarn if warning.category is CheckpointWarning]
    if damage is Path.unlink:  # as a kill between two renames leaves it
        assert not said
    else:
        (one,) = said
        assert "last.ckpt" in one
        assert f"goes on from {tmp_path / PREVIOUS}, step 4" in one
    assert _is_whole(tmp_path, whole)
    assert read_checkpoint(tmp_path / PREVIOUS)["global_step"] == 4  # and not the damaged one


def test_a_run_never_begins_anew_because_its_checkpoints_are_damaged(music, tmp_path):
    _fit(_simclr(), music, tmp_path, checkpoint_every=2)
    for name in (CHECKPOINT, PREVIOUS):
        _cut(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*previous\.ckpt.*cannot go on"):
        _fit(_simclr(), music, tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    with pytest.raises(FileExistsError, match="resume"):
        _fit(_simclr(), music, tmp_path, resume=False)


def test_nothing_in_the_checkpoint_of_a_run_is_executed(music, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    write_tensors({"state_dict": Trap()}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*could run code \(posix\.mkdir\)"):
        _fit(_simclr(), music, tmp_path)
    assert not (tmp_path / "sprung").exists()


def _no_room(out):
    """The next write of a checkpoint meets a full disk."""
    (out / "next.ckpt.part").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_without_room_for_a_checkpoint_a_run_goes_on_and_says_so(music, tmp_path, whole):
    seen = []

    def see():
        seen.append(read_checkpoint(tmp_path / CHECKPOINT)["global_step"])

    pretext = _simclr(3, lambda: _no_room(tmp_path))
    pretext.register_forward_pre_hook(lambda *_: see() if pretext.left == -2 else None)  # before step 5
    with pytest.warns(CheckpointWarning, match=r"no checkpoint could be written at step 4 .*No space left"):
        result = _fit(pretext, music, tmp_path, checkpoint_every=2)
    assert seen == [2]
    assert result.failed_saves == 1
    assert _is_whole(tmp_path, whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_run_whose_last_checkpoint_has_no_room_fails(music, tmp_path, whole):
    pretext = _simclr(5, lambda: _no_room(tmp_path))
    with pytest.raises(OSError, match=r"could not be written at step 6: .*No space left.*make room"):
        _fit(pretext, music, tmp_path, checkpoint_every=2)
    assert read_checkpoint(tmp_path / CHECKPOINT)["global_step"] == 4
    assert _fit(_simclr(), music, tmp_path).steps == 6
    assert _is_whole(tmp_path, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_neither_the_run_nor_its_last_checkpoint(small_disk, music, whole):
    """There is no room from the third step to the fifth."""
    out, filler = small_disk / "run", small_disk / "filler"
    steps = iter(range(6))

    def fill_and_free(*_):
        step = next(steps)
        if step == 2:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(512)):
                    pass
        if step == 4:
            assert read_checkpoint(out / CHECKPOINT)["global_step"] == 2
            filler.unlink()

    pretext = _simclr()
    pretext.register_forward_pre_hook(fill_and_free)
    with pytest.warns() as said:
        result = _fit(pretext, music, out, checkpoint_every=1)
    messages = [str(warning.message) for warning in said]
    assert any("no checkpoint could be written at step 3" in message for message in messages)
    assert result.failed_saves == 2
    assert read_checkpoint(out / PREVIOUS)["global_step"] == 5
    assert _is_whole(out, whole)
