"""How many processes train together, as torchrun, srun or the user say."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which of them this is.

    Attributes:
        rank: Number of this one.
        size: How many there are.
        here: How many on each machine.
        slurm: Whether SLURM started them.
    """

    rank: int = 0
    size: int = 1
    here: int = 1
    slurm: bool = False

    def trainer_arguments(self, strategy: str, device: torch.device) -> dict[str, Any]:
        """What Lightning's Trainer has to know."""
        plugins = [SLURMEnvironment(auto_requeue=False)] if self.slurm else []
        arguments = {"devices": self.here, "num_nodes": self.size // self.here, "plugins": plugins}
        if self.size == 1:
            return arguments
        if strategy == "ddp":
            # Buffers are the same on all processes anyway, see mvssl.distributed.
            backend = "nccl" if device.type == "cuda" else "gloo"
            ddp = DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
            return {**arguments, "strategy": ddp}
        return {**arguments, "strategy": strategy}


def launched(devices: int = 1) -> Processes:
    """The processes that torchrun or srun has started, or else ``devices`` on this machine.

    Raises:
        ValueError: If they are not equally many on each machine.
    """
    if TorchElasticEnvironment.detect():
        torchrun = TorchElasticEnvironment()
        size = torchrun.world_size()
        return _checked(torchrun.global_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    if SLURMEnvironment.detect():
        slurm = SLURMEnvironment(auto_requeue=False)
        size, nodes = slurm.world_size(), int(os.environ.get("SLURM_NNODES", 1))
        return _checked(slurm.global_rank(), size, size // nodes, slurm=True)
    # Lightning starts the others as copies of this program and numbers them so.
    return Processes(int(os.environ.get("LOCAL_RANK", 0)) if devices > 1 else 0, devices, devices)


def _checked(rank: int, size: int, here: int, slurm: bool = False) -> Processes:
    if here < 1 or size % here:
        raise ValueError(f"{size} processes with {here} on this machine: start equally many on each")
    return Processes(rank, size, here, slurm)
