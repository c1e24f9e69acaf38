import multiprocessing
import runpy
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

PRELOADED = ["mvssl.training.lightning", "torch.utils.tensorboard", "torch.distributed", "torch._dynamo"]


@pytest.fixture(scope="session")
def forked() -> Callable[..., BaseProcess]:
    """Starts a function of a test file in a process of its own, with one thread and all imports done."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    script = str(Path(__file__).with_name("forked.py"))

    def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
        told = {"file": function.__code__.co_filename, "function": function.__name__, "arguments": arguments}
        process = server.Process(target=runpy.run_path, args=(script, {"TOLD": told}), daemon=True)
        process.start()
        return process

    return start
