"""What runs on each process that the fixture ``on_processes`` forks; ``TOLD`` says which function."""

import importlib.util
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


def main(file: str, function: str, folder: Path, rank: int, size: int) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("told", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = torch.load(folder / "arguments.pt", weights_only=False)
    store = dist.FileStore(str(folder / "store"), size)
    # Not plainly "gloo", where some more of torch has gradients than on a group's default backend.
    dist.init_process_group("cpu:gloo", None, timedelta(seconds=30), size, rank, store)
    torch.save(getattr(module, function)(*arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()


TOLD = globals()["TOLD"]
try:
    main(**TOLD)
except BaseException:
    (TOLD["folder"] / f"{TOLD['rank']}.txt").write_text(traceback.format_exc())
    raise
