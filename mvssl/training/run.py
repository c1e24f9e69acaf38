"""Run directories: what every run writes besides its results."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("mvssl", "torch", "torchaudio", "pytorch-lightning", "numpy", "scipy", "soundfile", "soxr")


def prepare_run(folder: Path, begun: bool, resume: bool) -> Path:
    """Creates a run directory.

    Args:
        folder: Where it is to be.
        begun: Whether it already holds a run.
        resume: Whether that run is to go on.

    Raises:
        FileExistsError: If it holds a run that is not to be resumed: nothing is overwritten.
    """
    if begun and not resume:
        raise FileExistsError(f"{folder} already holds a run: pass --resume true or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they bear on a result."""
    import torch

    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    """Name of the processor, from Linux' own list where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
