"""What makes training on several processes equal to training on one with the whole batch.

Losses of pretexts compare the tracks of a batch, and so do batch norms. Each process takes its share of the
rows, in the order of ranks; the loss, its gradient and all statistics are those of the whole batch::

    pretext = convert_batch_norms(SimCLR(encoder))
    model = torch.nn.parallel.DistributedDataParallel(pretext)
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=1e-3)
    for step, views in enumerate(shares):
        model(views).loss.backward()
        optimiser.step(), optimiser.zero_grad(), pretext.after_step(step)

``DistributedDataParallel`` averages gradients over processes, and that is what gradients here are made for:
each function sends back the sum of what all processes ask for. Whatever is called on one process must be
called on all of them, in the same order; they wait for each other. Without a process group nothing happens.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def total(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over all processes, element by element, with gradients; one collective.

    Args:
        tensors: Of any shapes, the same on all processes; all floating or all integer, and boolean (true if
            any is). They are added up in the largest of their types.

    Raises:
        TypeError: If floating and integer tensors are mixed: large integers would be rounded.
    """
    if world_size() == 1:
        return list(tensors)
    if len({tensor.is_floating_point() for tensor in tensors if tensor.dtype != torch.bool}) > 1:
        raise TypeError(f"floating or integer tensors, not both: got {[tensor.dtype for tensor in tensors]}")
    # Imported here because it fails where torch was built without processes. Its all_gather would send less
    # than sums do, but has no gradient on the CPU unless the backend is called "gloo" and nothing else.
    from torch.distributed.nn.functional import all_reduce

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    # Its default group is the one at the time of the import.
    sums = all_reduce(flat.byte() if flat.dtype == torch.bool else flat, group=dist.group.WORLD)
    parts = zip(sums.split([tensor.numel() for tensor in tensors]), tensors, strict=True)
    found = [part.view(tensor.shape).to(tensor.dtype) for part, tensor in parts]
    return [s if tensor.requires_grad else s.detach() for s, tensor in zip(found, tensors, strict=True)]


def mean(tensors: Sequence[Tensor], rows: int) -> list[Tensor]:
    """Means over the rows of all processes, with gradients; one collective.

    For losses that are a mean over tracks, which cost less to average than their inputs to gather.

    Args:
        tensors: Floating means over the rows of this process, of any shapes.
        rows: How many they are, at least one; may differ between processes.
    """
    if world_size() == 1:
        return list(tensors)
    count = torch.tensor(float(rows), device=tensors[0].device)
    count, *sums = total([count, *(rows * tensor for tensor in tensors)])
    return [s / count for s in sums]


def gather(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Rows of all processes, in the order of ranks, with gradients; one collective and a check of sizes.

    Args:
        tensors: (rows, ...) each, of the same shapes on all processes; floating or integer, and boolean.

    Returns:
        (processes · rows, ...) each.

    Raises:
        ValueError: On all processes, if sizes differ between them.
        TypeError: If floating and integer tensors are mixed.
    """
    if world_size() == 1:
        return list(tensors)
    _check_sizes(tensors)
    return [whole.flatten(0, 1) for whole in total([_in_place_of_rank(tensor) for tensor in tensors])]


def _in_place_of_rank(local: Tensor) -> Tensor:
    """(processes, ...), zero for other processes: the sum over processes is what all of them hold."""
    padded = local.new_zeros(world_size(), *local.shape)
    padded[dist.get_rank()] = local
    return padded


def _check_sizes(tensors: Sequence[Tensor]) -> None:
    size = [len(tensors[0]), sum(tensor.numel() for tensor in tensors)]
    mine = torch.tensor(size, device=tensors[0].device)
    sizes = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(sizes, mine)
    rows, elements = zip(*torch.stack(sizes).tolist(), strict=True)
    if len(set(rows)) > 1 or len(set(elements)) > 1:
        raise ValueError(
            f"processes have batches of {list(rows)} rows with {list(elements)} elements, not all equal: "
            f"drop the last, incomplete batch (drop_last=True)"
        )


class BatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, of (batch, channels) or (batch, channels, ...).

    torch's own ``SyncBatchNorm`` does the same on GPUs only. Weights, statistics and state dict are those of
    ``torch.nn.BatchNorm1d`` and its kin, and outside training, or without a process group, so is all else.
    In training, statistics are taken in fp32 (float64 stays), and batches may differ in size.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"(batch, channels, ...) is needed, got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if world_size() == 1 or not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        with torch.autocast(input.device.type, enabled=False):
            precise = input if input.dtype == torch.float64 else input.float()
            return self._across_processes(precise).to(input.dtype)

    def _across_processes(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        column = (1, -1, *[1] * (x.ndim - 2))
        local_variance, local_mean = torch.var_mean(x, axes, correction=0)
        count = local_mean.new_full((1,), x.numel() / x.shape[1])
        (whole,) = total([_in_place_of_rank(torch.cat([local_mean, local_variance, count]))])
        means, variances, counts = whole.split([x.shape[1], x.shape[1], 1], 1)
        shares = counts / counts.sum()
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        self._remember(mean, variance * (counts.sum() / (counts.sum() - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        normalised = (x - mean.view(column)) * scale.view(column)
        return normalised if self.bias is None else normalised + self.bias.view(column)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics as one process would, towards the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if self.track_running_stats:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def convert_batch_norms(module: nn.Module) -> nn.Module:
    """Puts a :class:`BatchNorm` in the place of every batch norm inside a module.

    Parameters and buffers remain the very same tensors, so that an optimiser made before keeps what it holds.
    torch's ``SyncBatchNorm``, which needs a GPU, stays as it is.

    Returns:
        The module, or what takes its place where it is a batch norm itself.
    """
    for parent in list(module.modules()):
        for name, child in parent._modules.items():  # unlike named_children, under each of a child's names
            if child is not None:
                parent._modules[name] = _converted(child)
    return _converted(module)


def _converted(module: nn.Module) -> nn.Module:
    if not isinstance(module, _BatchNorm) or isinstance(module, BatchNorm | nn.SyncBatchNorm):
        return module
    sizes = (module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    norm = BatchNorm(*sizes).train(module.training)
    for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        setattr(norm, name, tensor)
    return norm
