"""What all transforms share: parameters drawn per example, applied to a batch, told and replayed."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import uniform

# Numbers transformed at a time on a CPU: enough for all cores, and not so many that they leave its caches.
AT_ONCE = 2**20

Params = dict[str, Tensor]
Range = tuple[float, float]


class Transform(nn.Module, ABC):
    """Base of all transforms: draws parameters per example, then applies them.

    Parameters are drawn uniformly from their range, those named in ``logarithmic`` uniformly in octaves and
    those in ``steps`` from a grid in it.
    Only the examples that are to be transformed are computed.

    A subclass lists its parameters' ranges, and says in :meth:`transform` what they do. What it needs besides
    (a place, a choice) is a range like the others, and thus told and replayed too. Every argument of its
    constructor is an attribute or a range of the same name, so that ``repr`` can rebuild it.

    Args:
        p: Probability with which an example is transformed at all.
        **ranges: Lowest and highest value of each parameter.

    Attributes:
        logarithmic: Names of parameters that are drawn uniformly in octaves.
        steps: Steps of the parameters that are drawn from a grid, which begins at the lowest value.
        takes_audio: Whether it takes audio (batch, samples).
        takes_mel: Whether it takes log-mels (batch, bins, frames).
        needs_frontend: Whether it must know the front end that made the log-mels it gets.
        remembers: Whether earlier inputs have a part in what it does; in evaluation mode it takes up no more.
        spares: Whether an example that it is applied to may come out as it went in.
        alike: Name of the parameter that examples transformed at a time should be alike in, because the
            greatest decides what all cost.

    Raises:
        ValueError: If ``p`` is not a probability or a range is reversed.
    """

    logarithmic: frozenset[str] = frozenset()
    steps: Mapping[str, float] = MappingProxyType({})
    takes_audio: bool = True
    takes_mel: bool = False
    needs_frontend: bool = False
    remembers: bool = False
    spares: bool = False
    alike: str | None = None

    def __init__(self, p: float = 1.0, **ranges: Range) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p} is not a probability")
        for name, (low, high) in ranges.items():
            if low > high or (name in self.logarithmic and low <= 0):
                raise ValueError(
                    f"{type(self).__name__}: {name}=({low}, {high}) is not a range it can draw from"
                )
        self.p, self.ranges = p, {name: (low, high) for name, (low, high) in ranges.items()}
        self.frontend: Frontend | None = None
        self.frozen: Params | None = None

    @property
    def reach(self) -> float:
        """Seconds of input, at most, that a second of output is made of; above 1 for what plays faster."""
        return 1.0

    def bind(self, frontend: Frontend | Waveform) -> None:
        """Tells the transform which front end made the log-mels that it will get, and the sample rate."""
        # Hidden from nn.Module: the front end belongs to the encoder.
        object.__setattr__(self, "frontend", frontend if isinstance(frontend, Frontend) else None)
        if hasattr(self, "sample_rate"):
            self.sample_rate = frontend.sample_rate

    def draw(self, keys: NDArray[np.uint64]) -> Params:
        """Draws the parameters of each example from its key.

        Returns:
            float32 tensors of shape (batch,) by name, and the bool tensor ``applied``.
        """
        params = {"applied": torch.from_numpy(uniform(keys, 0) < self.p)}
        for stream, (name, (low, high)) in enumerate(self.ranges.items(), 1):
            if name in self.logarithmic:
                drawn = np.exp(math.log(low) + uniform(keys, stream) * math.log(high / low))
            elif name in self.steps:
                count = math.floor((high - low) / self.steps[name] + 1e-6) + 1
                drawn = low + self.steps[name] * np.floor(uniform(keys, stream) * count)
            else:
                drawn = low + uniform(keys, stream) * (high - low)
            params[name] = torch.from_numpy(drawn.astype(np.float32))
        return params

    def freeze(self, params: Params) -> None:
        """Makes every later call use these parameters, as returned by an earlier one, until ``unfreeze``."""
        self.frozen = params

    def unfreeze(self) -> None:
        """Draws parameters anew from the next call on."""
        self.frozen = None

    @abstractmethod
    def transform(self, x: Tensor, params: Params) -> Tensor:
        """Transforms examples by their parameters, row by row.

        Args:
            x: The examples that are to be transformed, float32.
            params: What was drawn for them, on their device, without ``applied``.
        """

    def forward(
        self,
        x: Tensor,
        keys: NDArray[np.uint64] | None = None,
        *,
        params: Params | None = None,
        return_params: bool = False,
        inplace: bool = False,
    ) -> Any:
        """Transforms a batch.

        Args:
            x: Audio (batch, samples), or a log-mel (batch, bins, frames) of the bound front end.
            keys: One key per example, which decides its parameters; without them, keys are drawn from
                torch's global generator.
            params: What an earlier call returned, to do the same again.
            return_params: Also return what was drawn: tensors (batch,) by name on the device of ``x``, of
                which ``applied`` says which examples were transformed.
            inplace: Allow ``x`` to be overwritten, which saves a copy.

        Returns:
            What has the shape of ``x``, or that and the parameters.

        Raises:
            ValueError: If ``x`` is nothing that this transform can take, no front end is bound where one is
                needed, or the parameters are those of another batch or transform.
        """
        self._check(x)
        params = self.frozen if params is None else params
        if params is None:
            params = self.draw(random_keys(len(x)) if keys is None else keys)
        self._check_params(params, len(x))
        with torch.autocast(x.device.type, enabled=False):  # products of audio need their 24 bits
            out = self._transformed(x if inplace else x.clone(), params)
        if not return_params:
            return out
        return out, {name: value.to(x.device) for name, value in params.items()}

    def _transformed(self, x: Tensor, params: Params) -> Tensor:
        """Transforms what is to be transformed, in place or not."""
        rows = params["applied"].nonzero().squeeze(1)
        at_once = self._at_once(x)
        everything = len(rows) == len(x) <= at_once
        if self.alike is not None and not everything:
            rows = rows[params[self.alike][rows].argsort(stable=True)]
        rest = {name: value[rows].to(x.device) for name, value in params.items() if name != "applied"}
        if everything:
            return self.transform(x, rest)
        for start in range(0, len(rows), at_once):
            some = slice(start, start + at_once)
            places = rows[some].to(x.device)
            own = {name: value[some] for name, value in rest.items()}
            x.index_copy_(0, places, self.transform(x[places], own))
        return x

    def _at_once(self, x: Tensor) -> int:
        """How many examples are transformed at a time."""
        return max(1, AT_ONCE // x[0].numel()) if x.device.type == "cpu" else len(x)

    def _check(self, x: Tensor) -> None:
        name = type(self).__name__
        if x.ndim == 2 and self.takes_audio:
            return
        if x.ndim == 3 and self.takes_mel:
            if self.needs_frontend and self.frontend is None:
                raise ValueError(f"{name}: call bind(encoder.frontend) before passing log-mels")
            return
        takes = {"audio (batch, samples)": self.takes_audio, "log-mels (batch, bins, frames)": self.takes_mel}
        wanted = " or ".join(what for what, taken in takes.items() if taken)
        raise ValueError(f"{name} takes {wanted}, got shape {tuple(x.shape)}")

    def _check_params(self, params: Params, batch: int) -> None:
        wrong = {name: tuple(value.shape) for name, value in params.items() if len(value) != batch}
        if "applied" not in params or not self.ranges.keys() <= params.keys() or wrong:
            raise ValueError(
                f"{type(self).__name__}: parameters {wrong or sorted(params)} are not those of a batch of "
                f"{batch} that this transform returned"
            )

    def __repr__(self) -> str:
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        values = {name: self.ranges[name] if name in self.ranges else getattr(self, name) for name in names}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def random_keys(count: int) -> NDArray[np.uint64]:
    """Keys from torch's global generator."""
    return torch.randint(2**62, (count,)).numpy().astype(np.uint64)


def column(values: Tensor, ndim: int) -> Tensor:
    """(batch,) as (batch, 1, ...), to be combined with ``ndim`` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - 1))
