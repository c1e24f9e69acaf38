"""Transforms that choose among others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.frontends import Frontend, Waveform
from mvssl.seeding import hash_keys, uniform
from mvssl.views.transforms.base import Params, Transform


class OneOf(Transform):
    """Applies one of several transforms; which one is drawn per example.

    CLMR's filter, low-pass or high-pass by the flip of a coin (https://arxiv.org/abs/2103.09410), is
    ``OneOf([LowPass((2200.0, 4000.0)), HighPass((200.0, 1200.0))], p=0.8)``.

    Its parameters are ``choice``, the place of the chosen transform in the list, and those of all members,
    such as ``LowPass.hertz``; a second member of a class is ``LowPass_2``. They are drawn and told for the
    members that an example does not get, too.

    Args:
        transforms: What to choose from. The ``p`` of a member is its weight in the choice and nothing else:
            members with equal ones are chosen equally often, and the chosen one is always applied.
        p: Probability that one of them is applied.

    Raises:
        ValueError: If there is nothing to choose from, or nothing that all members take.
    """

    def __init__(self, transforms: Sequence[Transform], p: float = 1.0) -> None:
        if not any(member.p for member in transforms):
            raise ValueError("OneOf: nothing to choose from; give transforms with p above 0")
        named = dict(zip(_names(transforms), transforms, strict=True))
        ranges = _joined({name: member.ranges for name, member in named.items()})
        super().__init__(p, choice=(0.0, len(named) - 1.0), **ranges)
        self.steps = {"choice": 1.0} | _joined({name: member.steps for name, member in named.items()})
        logarithmic = {name: dict.fromkeys(member.logarithmic) for name, member in named.items()}
        self.logarithmic = frozenset(_joined(logarithmic))
        self.takes_audio = all(member.takes_audio for member in transforms)
        self.takes_mel = all(member.takes_mel for member in transforms)
        self.needs_frontend = any(member.needs_frontend for member in transforms)
        self.remembers = any(member.remembers for member in transforms)
        if not self.takes_audio and not self.takes_mel:
            raise ValueError(f"OneOf: of {', '.join(named)}, some take only audio and some only log-mels")
        self.members = nn.ModuleDict(named)

    @property
    def transforms(self) -> list[Transform]:
        """What it chooses from."""
        return list(self.members.values())  # type: ignore[arg-type]

    @property
    def reach(self) -> float:
        return max(member.reach for member in self.transforms)

    def bind(self, frontend: Frontend | Waveform) -> None:
        super().bind(frontend)
        for member in self.transforms:
            member.bind(frontend)

    def draw(self, keys: NDArray[np.uint64]) -> Params:
        weights = np.cumsum([member.p for member in self.transforms])
        choice = np.searchsorted(weights / weights[-1], uniform(keys, 1), side="right")
        own = {
            "applied": torch.from_numpy(uniform(keys, 0) < self.p),
            "choice": torch.from_numpy(choice.astype(np.float32)),
        }
        drawn = [member.draw(hash_keys(keys, place)) for place, member in enumerate(self.transforms, 2)]
        for params in drawn:
            del params["applied"]
        return own | _joined(dict(zip(self.members, drawn, strict=True)))

    def _transformed(self, x: Tensor, params: Params) -> Tensor:
        members = enumerate(zip(self.members, self.transforms, strict=True))
        # Those that remember their input first, before others have changed it.
        for place, (name, member) in sorted(members, key=lambda each: not each[1][1].remembers):
            start = f"{name}."
            own = {key.removeprefix(start): value for key, value in params.items() if key.startswith(start)}
            chosen = params["applied"] & (params["choice"] == place)
            x = member._transformed(x, {"applied": chosen, **own})
        return x

    def transform(self, x: Tensor, params: Params) -> Tensor:
        everywhere = torch.ones_like(params["choice"], dtype=torch.bool)
        return self._transformed(x, {**params, "applied": everywhere})


def _names(transforms: Sequence[Transform]) -> Iterator[str]:
    kinds = [type(member).__name__ for member in transforms]
    for place, kind in enumerate(kinds):
        earlier = kinds[:place].count(kind)
        yield f"{kind}_{earlier + 1}" if earlier else kind


def _joined(of_members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{name}.{key}": value for name, values in of_members.items() for key, value in values.items()}
