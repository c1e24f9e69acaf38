"""View chains: a sampler that crops, and the transforms that make views of the crops."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import hash_keys
from mvssl.views.cpu import CPUTransform, CPUTransforms
from mvssl.views.samplers import Crops
from mvssl.views.transforms import Params, Transform

Drawn = list[list[Params]]


class CropBatch(Protocol):
    """What a chain needs of a batch: one tensor of crops per view, one key per example."""

    @property
    def crops(self) -> tuple[Tensor, ...]: ...

    @property
    def keys(self) -> NDArray[np.uint64]: ...


class ViewChain(nn.Module):
    """Makes the views of a batch of crops.

    Waveform members run on the crops; if there are spectrogram members, the front end of the encoder then
    makes log-mels and they run on those. What an example gets depends on its key and the number of the
    view, never on the batch around it.

    Members on the CPU come before: the processes that read audio run them, crop by crop.

    Where a member plays faster (``reach`` above 1), crops are read as much longer, and what is left of them
    behind the waveform members is cut to the sampler's length.

    Args:
        sampler: Where crops come from.
        waveform: Transforms of audio (batch, samples).
        spectrogram: Transforms of log-mels (batch, bins, frames). A chain that has any must be bound to
            the front end of the encoder before use: ``chain.bind(encoder.frontend)``.
        augmented: Indices of the views that are transformed; all unless told.
        cpu: Functions ``(samples, sample_rate) -> samples``, such as any transform or Compose of
            audiomentations; what they draw from global generators is seeded, see
            :class:`~mvssl.views.cpu.CPUTransforms`.

    Attributes:
        sampler: Where the crops that the data loader reads come from.
        on_cpu: What the data loader does to them; None without members on the CPU.
        reach: How many times longer than a view the crop is that it is made of.
    """

    def __init__(
        self,
        sampler: Crops,
        waveform: Sequence[Transform] = (),
        spectrogram: Sequence[Transform] = (),
        augmented: Iterable[int] | None = None,
        cpu: Sequence[CPUTransform] = (),
    ) -> None:
        super().__init__()
        self.waveform = nn.ModuleList(waveform)
        self.spectrogram = nn.ModuleList(spectrogram)
        self.augmented = None if augmented is None else frozenset(augmented)
        self.on_cpu = CPUTransforms(cpu, self.augmented) if cpu else None
        self.reach = math.prod(member.reach for member in waveform)
        self.sampler = sampler if self.reach == 1 else sampler.longer(self.reach)
        self.frontend: Frontend | Waveform | None = None

    def bind(self, frontend: Frontend | Waveform) -> "ViewChain":
        """Tells the chain which front end makes its log-mels; returns the chain.

        Raises:
            ValueError: If the chain has spectrogram members and the front end, of an encoder of raw audio,
                makes no log-mels.
        """
        if self.spectrogram and isinstance(frontend, Waveform):
            members = ", ".join(type(member).__name__ for member in self.spectrogram)
            raise ValueError(
                f"this chain works on log-mels ({members}), and the encoder takes raw audio: use a chain of "
                "waveform members, such as 'light_waveform'"
            )
        object.__setattr__(self, "frontend", frontend)  # it belongs to the encoder, not to this module
        for member in (*self.waveform, *self.spectrogram):
            member.bind(frontend)
        return self

    def with_sampler(self, sampler: Crops) -> "ViewChain":
        """A chain of the same transforms, bound to the same front end, on other crops."""
        cpu = self.on_cpu.members if self.on_cpu else ()
        other = ViewChain(sampler, list(self.waveform), list(self.spectrogram), self.augmented, cpu)  # type: ignore[arg-type]
        return other if self.frontend is None else other.bind(self.frontend)

    def extra_repr(self) -> str:
        """What is no module: which views are transformed, where they come from, and members on the CPU."""
        which = "all" if self.augmented is None else sorted(self.augmented)
        members = () if self.on_cpu is None else self.on_cpu.members
        return f"sampler={self.sampler!r}, augmented={which}, cpu={members!r}"

    @torch.no_grad()
    def forward(self, batch: CropBatch, *, params: Drawn | None = None, return_params: bool = False) -> Any:
        """Makes the views, audio or log-mels, one per crop.

        Args:
            batch: Crops and their keys.
            params: What an earlier call returned, to make the same of these crops.
            return_params: Also return what was drawn, ``params[member][view]``; waveform members first. A
                view that is not transformed has no parameters, ``{}``.

        Raises:
            ValueError: If the chain has spectrogram members and is not bound to a front end.
        """
        if self.spectrogram and self.frontend is None:
            raise ValueError("this chain works on log-mels: call views.bind(encoder.frontend) first")
        keys = [hash_keys(batch.keys, view) for view in range(len(batch.crops))]
        drawn: Drawn = [[{} for _ in keys] for _ in (*self.waveform, *self.spectrogram)]
        views = self._pass(0, self.waveform, batch.crops, keys, params, drawn)
        views = [view[:, : round(view.shape[1] / self.reach)] for view in views]
        if self.spectrogram:
            assert self.frontend is not None
            mels = [self.frontend(view) for view in views]
            views = self._pass(len(self.waveform), self.spectrogram, mels, keys, params, drawn)
        return (views, drawn) if return_params else views

    def _pass(
        self,
        first: int,
        members: nn.ModuleList,
        views: Sequence[Tensor],
        keys: Sequence[NDArray[np.uint64]],
        given: Drawn | None,
        drawn: Drawn,
    ) -> list[Tensor]:
        """Sends views through members, the first of them in the given place; notes what was drawn.

        Views of one size go together: fewer, larger kernels.
        """
        views = list(views)
        if not members:
            return views
        chosen = [view for view in range(len(views)) if self.augmented is None or view in self.augmented]
        sizes = dict.fromkeys(views[view].shape for view in chosen)
        for together in [[view for view in chosen if views[view].shape == size] for size in sizes]:
            x = torch.cat([views[view] for view in together])
            rows = len(x) // len(together)
            for place, member in enumerate(members, first):
                key = np.concatenate([hash_keys(keys[view], place) for view in together])
                params = None if given is None else _joined([given[place][view] for view in together])
                x, found = member(x, key, params=params, return_params=True, inplace=True)
                for view, part in zip(together, _parted(found, rows), strict=True):
                    drawn[place][view] = part
            for view, part in zip(together, x.split(rows), strict=True):
                views[view] = part
        return views


def _parted(params: Params, rows: int) -> list[Params]:
    parts = zip(*(value.split(rows) for value in params.values()), strict=True)
    return [dict(zip(params, part, strict=True)) for part in parts]


def _joined(params: Sequence[Params]) -> Params:
    return {name: torch.cat([each[name] for each in params]) for name in params[0]}
