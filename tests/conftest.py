"""What several test files share: a small rendered corpus and a small encoder."""

import json
import multiprocessing
import os
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mvssl.data.synthetic import render_corpus
from mvssl.encoders import ResNet

# Several processes of pytest-xdist have the cores already.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--recapture", action="store_true", help="pin the losses of pretexts anew")


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 60 pieces of 2.5 s, as a folder with a manifest."""
    folder = tmp_path_factory.mktemp("music")
    render_corpus(folder, tracks=60, seconds=2.5, seed=3)
    return folder


@pytest.fixture(scope="session")
def emotify() -> Path:
    """The folder of the Emotify corpus, with its ``manifest.jsonl``: in ``$MVSSL_AUDIO/emotify``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "audio"
    folder = Path(os.environ.get("MVSSL_AUDIO", beside)) / "emotify"
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip(f"Emotify is not in {folder}: set MVSSL_AUDIO to the folder that holds it")
    return folder


@pytest.fixture
def encoder() -> ResNet:
    """An encoder that takes a few milliseconds."""
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    return ResNet(8, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)


@pytest.fixture
def peak_memory(tmp_path: Path) -> Callable[[Callable[[], object]], int]:
    """Most bytes of CPU tensors that exist at a time while a function runs, on top of those before."""

    def peak(function: Callable[[], object]) -> int:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
        ) as profile:
            function()
        profile.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        changes = sorted(
            (event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"
        )
        total = highest = 0
        for _, change in changes:
            total += change
            highest = max(highest, total)
        return highest

    return peak


@pytest.fixture(scope="session")
def forkserver() -> Any:
    """Forks processes for which all imports are done."""
    server = multiprocessing.get_context("forkserver")
    # torch._dynamo is what optimisers and DistributedDataParallel import when used first.
    needed = ["torch.distributed", "torch._dynamo", "torch.utils.tensorboard", "mvssl.training.lightning"]
    server.set_forkserver_preload(needed)
    return server


@pytest.fixture(scope="session")
def on_processes(forkserver: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """Calls a function of a test file on several gloo processes; gives what it returned on each."""

    def call(function: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
        folder = tmp_path_factory.mktemp("processes")
        torch.save(arguments, folder / "arguments.pt")
        told = {"file": function.__code__.co_filename, "function": function.__name__, "folder": folder}
        script = str(Path(__file__).with_name("processes.py"))
        ranks = [{"TOLD": {**told, "rank": rank, "size": size}} for rank in range(size)]
        running = [
            forkserver.Process(target=runpy.run_path, args=(script, rank), daemon=True) for rank in ranks
        ]
        for process in running:
            process.start()
        last = time.monotonic() + 120
        for process in running:
            process.join(max(last - time.monotonic(), 0))
        codes = [process.exitcode for process in running]
        for process in running:
            process.kill()
        if codes != [0] * size:
            errors = [path.read_text() for path in sorted(folder.glob("*.txt"))]
            pytest.fail("\n".join([f"exit codes {codes} of processes; None has not ended", *errors]))
        return [torch.load(folder / f"{rank}.pt") for rank in range(size)]

    return call
