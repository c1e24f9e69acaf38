"""View chains: a sampler that crops, and the transforms that make views of the crops."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.frontends import LogMel
from mvssl.registry import Registry
from mvssl.seeding import hash_keys
from mvssl.views.samplers import Crops
from mvssl.views.transforms import Gain, HighPass, LowPass, Noise, Polarity, Tilt, Transform


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

    Args:
        sampler: Where crops come from; the data loader asks it.
        waveform: Transforms of audio (batch, samples).
        spectrogram: Transforms of log-mels (batch, bins, frames). A chain that has any must be bound to
            the front end of the encoder before use: ``chain.bind(encoder.frontend)``.
    """

    def __init__(
        self, sampler: Crops, waveform: Sequence[Transform] = (), spectrogram: Sequence[Transform] = ()
    ) -> None:
        super().__init__()
        self.sampler = sampler
        self.waveform = nn.ModuleList(waveform)
        self.spectrogram = nn.ModuleList(spectrogram)
        self.frontend: LogMel | None = None

    def bind(self, frontend: LogMel) -> "ViewChain":
        """Tells the chain which front end makes its log-mels; returns the chain."""
        object.__setattr__(self, "frontend", frontend)  # it belongs to the encoder, not to this module
        for member in (*self.waveform, *self.spectrogram):
            member.bind(frontend)
        return self

    def with_sampler(self, sampler: Crops) -> "ViewChain":
        """A chain of the same transforms, bound to the same front end, on other crops."""
        other = ViewChain(sampler, list(self.waveform), list(self.spectrogram))  # type: ignore[arg-type]
        return other if self.frontend is None else other.bind(self.frontend)

    @torch.no_grad()
    def forward(self, batch: CropBatch) -> list[Tensor]:
        """Makes the views, audio or log-mels, one per crop.

        Raises:
            ValueError: If the chain has spectrogram members and is not bound to a front end.
        """
        keys = [hash_keys(batch.keys, view) for view in range(len(batch.crops))]
        views = [self._transform(self.waveform, *pair) for pair in zip(batch.crops, keys, strict=True)]
        if not self.spectrogram:
            return views
        if self.frontend is None:
            raise ValueError("this chain works on log-mels: call views.bind(encoder.frontend) first")
        mels = [self.frontend(view) for view in views]
        if len({mel.shape for mel in mels}) > 1:
            return [self._transform(self.spectrogram, *pair) for pair in zip(mels, keys, strict=True)]
        # Views of one size go through together: fewer, larger kernels.
        joined = self._transform(self.spectrogram, torch.cat(mels), np.concatenate(keys))
        return list(joined.chunk(len(mels)))

    def _transform(self, members: nn.ModuleList, x: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        # Counted through both lists, so that no two members of a chain draw the same numbers.
        for place, member in enumerate(members, len(self.waveform) if members is self.spectrogram else 0):
            x = member(x, hash_keys(keys, place))
        return x


chains: Registry[Callable[..., ViewChain]] = Registry("view chain")
"""View chains by name: functions ``(sampler) -> ViewChain``."""


def chain(name: str, length: float = 3.0, n_views: int = 2, **kwargs: Any) -> ViewChain:
    """Creates a registered chain.

    Args:
        name: One of ``chains.names()``.
        length: Length of a crop in seconds.
        n_views: Number of views per track.
        **kwargs: ``min_gap`` and ``max_gap`` in seconds, ``repeats``: see
            :class:`~mvssl.views.samplers.Crops`.
    """
    view_chain: ViewChain = chains.create(name, Crops(length, n_views, **kwargs))
    return view_chain


@chains.register("crops")
def _crops(sampler: Crops) -> ViewChain:
    """Crops of a track as they are."""
    return ViewChain(sampler)


@chains.register("light")
def _light(sampler: Crops) -> ViewChain:
    """Tilt, low- and high-pass, noise and gain, applied to the log-mel, where they are nearly free."""
    return ViewChain(sampler, spectrogram=[Tilt(), LowPass(p=0.4), HighPass(p=0.4), Noise(), Gain()])


@chains.register("light_waveform")
def _light_waveform(sampler: Crops) -> ViewChain:
    """The members of ``light`` and polarity, applied to the waveform, for encoders of raw audio."""
    members = [Polarity(), Tilt(), LowPass(p=0.4), HighPass(p=0.4), Noise(), Gain()]
    return ViewChain(sampler, waveform=members)
