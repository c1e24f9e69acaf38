import runpy
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def forked(forkserver: Any) -> Callable[..., BaseProcess]:
    """Starts a function of a test file in a process of its own, with one thread and all imports done."""
    script = str(Path(__file__).with_name("forked.py"))

    def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
        told = {"file": function.__code__.co_filename, "function": function.__name__, "arguments": arguments}
        process: BaseProcess = forkserver.Process(
            target=runpy.run_path, args=(script, {"TOLD": told}), daemon=True
        )
        process.start()
        return process

    return start
