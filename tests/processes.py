"""Runs a function of a file on one of several processes: the fixture ``on_processes`` starts it."""

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


def main(file: str, function: str, folder: str, rank: str, size: str) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("told", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    store = dist.FileStore(f"{folder}/store", int(size))
    arguments = torch.load(f"{folder}/arguments.pt", weights_only=False)
    dist.init_process_group("cpu:gloo", None, timedelta(seconds=30), int(size), int(rank), store)
    result = getattr(module, function)(*arguments)
    dist.destroy_process_group()
    torch.save(result, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
