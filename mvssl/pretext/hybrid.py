"""Several pretexts around one encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvssl.pretext.base import Pretext, PretextOutput, create_pretext, pretexts, register_pretext


@register_pretext("hybrid", paper="arXiv:1904.03416")
class Hybrid(Pretext):
    """Weighted sum of pretexts that train one encoder, in one pass where they can share it.

    Several objectives behind one encoder are the idea of PASE; which ones is free here. Losses come in units
    of their own: look at the terms, ``simclr/loss`` and so on, before choosing weights.

    Members that need passes of their own (``shares_pass`` is false) make them besides. Projections are those
    of the first member, and the learning rate is that of the most careful one.

    Args:
        encoder: Encoder to train.
        pretexts: Members: names of registered pretexts, with their default arguments, or instances around
            the same encoder. The default is a contrast and a redundancy reduction.
        weights: One per member; 1 each unless told.

    Raises:
        ValueError: If there are no members, two of one kind, another number of weights, a negative weight,
            or a member around another encoder.
    """

    paper_views = "none of its own: those of its members"

    def __init__(
        self,
        encoder: nn.Module,
        pretexts: Sequence[str | Pretext] = ("simclr", "vicreg"),
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(encoder)
        members = [create_pretext(each, encoder) if isinstance(each, str) else each for each in pretexts]
        names = [each if isinstance(each, str) else _name(each) for each in pretexts]
        weights = (1.0,) * len(members) if weights is None else tuple(weights)
        if not members or len(set(names)) < len(names):
            raise ValueError(f"pretexts={names}: give at least one, and each kind once")
        if len(weights) != len(members) or min(weights) < 0:
            raise ValueError(f"weights={weights}: give one for each of {names}, not negative")
        for name, member in zip(names, members, strict=True):
            if member.encoder is not encoder:
                raise ValueError(f"{name} has another encoder: create it around the one of the hybrid")
        self.members = nn.ModuleDict(dict(zip(names, members, strict=True)))
        self.weights = dict(zip(names, weights, strict=True))
        self.learning_rate = min(member.learning_rate for member in members)
        self.min_views = max(member.min_views for member in members)
        self.needs_groups = any(member.needs_groups for member in members)
        self.register_state_dict_post_hook(_leave_out_encoders)
        self.register_load_state_dict_pre_hook(_put_back_encoders)

    @property
    def shares_pass(self) -> bool:
        """Whether no member makes passes of its own."""
        return all(member.shares_pass for member in self._members.values())

    @property
    def _members(self) -> dict[str, Pretext]:
        return dict(self.members.items())  # type: ignore[arg-type]

    def from_embeddings(
        self, embeddings: Sequence[Tensor], views: Sequence[Tensor], groups: Tensor | None = None
    ) -> PretextOutput:
        """Computes the losses of all members.

        Args:
            embeddings: Encoder outputs (batch, embed_dim), one per view.
            views: What they were made of.
            groups: (batch,) int64, for members that need groups.
        """
        outputs: dict[str, PretextOutput] = {}
        for name, member in self._members.items():
            known: dict[str, Any] = {"groups": groups} if member.needs_groups else {}
            if member.shares_pass:
                outputs[name] = member.from_embeddings(embeddings, views, **known)
            else:
                outputs[name] = member(views, **known)
        loss = torch.stack([self.weights[name] * output.loss for name, output in outputs.items()]).sum()
        terms = {f"{name}/loss": output.loss.detach() for name, output in outputs.items()}
        for name, output in outputs.items():
            terms |= {f"{name}/{term}": value for term, value in output.terms.items()}
        return PretextOutput(loss, terms, embeddings, next(iter(outputs.values())).projections)

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """What follows the optimiser's step in each member."""
        for member in self._members.values():
            member.after_step(step, total_steps)


def _name(pretext: Pretext) -> str:
    """The name under which a pretext is registered, else that of its class."""
    known = (name for name in pretexts.names() if pretexts.entry(name).target is type(pretext))
    return next(known, type(pretext).__name__)


def _leave_out_encoders(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The encoder stands in the state once, as the hybrid's, and not with each member again."""
    assert isinstance(module, Hybrid)
    for name in module.members:
        inner = f"{prefix}members.{name}.encoder."
        for key in [key for key in state if key.startswith(inner)]:
            del state[key]


def _put_back_encoders(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Members find the hybrid's encoder under their own names, so that loading misses nothing."""
    assert isinstance(module, Hybrid)
    outer = f"{prefix}encoder."
    weights = {key[len(outer) :]: value for key, value in state.items() if key.startswith(outer)}
    for name in module.members:
        state |= {f"{prefix}members.{name}.encoder.{key}": value for key, value in weights.items()}
