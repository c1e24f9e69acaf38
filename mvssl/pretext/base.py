"""The contract of a pretext, and the registry of all of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from mvssl.pretext.health import signs_of_collapse
from mvssl.registry import Registry

P = TypeVar("P", bound="type[Pretext]")


@dataclass(frozen=True)
class PretextOutput:
    """What a pretext makes of the views of a batch.

    Attributes:
        loss: Scalar to minimise, fp32.
        terms: Detached scalars worth logging that belong to the objective.
        embeddings: Encoder outputs (batch, embed_dim), one per view.
        projections: Head outputs (batch, dim), one per view.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    embeddings: Sequence[Tensor] = ()
    projections: Sequence[Tensor] = ()

    @cached_property
    def health(self) -> dict[str, Tensor]:
        """Signs of collapse in the embeddings; nothing is computed before they are asked for."""
        return signs_of_collapse(self.embeddings)


class Pretext(nn.Module, ABC):
    """Trains an encoder without labels.

    A pretext owns the encoder and whatever else its objective needs: heads, predictor, teacher. It is a
    plain module: ``pretext(views).loss.backward()``, an optimiser over ``pretext.parameters()``, and
    :meth:`after_step` behind the optimiser's step make a complete training loop. Afterwards
    ``pretext.encoder`` is what one keeps.

    Attributes:
        learning_rate: Peak of the learning rate that suits it, unless another is asked for.
        min_views: Fewest views of a track that it can learn from.
        chain: Name of the registered view chain it is trained with, unless another is asked for: the
            paper's, or where mvssl has no such chain, one that suits music.
        paper_views: How its paper makes views, in one line of words.

    Args:
        encoder: Maps a view to (batch, embed_dim) and has an attribute ``embed_dim``.

    Raises:
        TypeError: If the encoder does not say its ``embed_dim``.
    """

    learning_rate: ClassVar[float] = 3e-3
    min_views: ClassVar[int] = 2
    chain: ClassVar[str] = "light"
    paper_views: ClassVar[str] = ""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(getattr(encoder, "embed_dim", None), int):
            raise TypeError(
                f"{type(encoder).__name__} has no integer embed_dim: set it to the size of its output"
            )
        self.encoder = encoder

    @property
    def embed_dim(self) -> int:
        """Size of the encoder's output."""
        return int(self.encoder.embed_dim)  # type: ignore[arg-type]

    @abstractmethod
    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        """Computes the loss of a batch.

        Args:
            views: One tensor per view, audio (batch, samples) or log-mel (batch, bins, frames); row i of
                each is a view of track i.
        """

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """What follows the optimiser's step, such as moving a teacher. Nothing by default.

        Args:
            step: Number of the step just made, from 0.
            total_steps: Length of the run, for schedules; without it they stay at their start.
        """


def forward_views(module: nn.Module, views: Sequence[Tensor], least: int = 2) -> list[Tensor]:
    """Applies a module to each view; views of one shape share one pass, and its batch statistics.

    Args:
        module: Maps (batch, ...) to (batch, ...).
        views: One tensor per view.
        least: How many views there must be.

    Raises:
        ValueError: If there are fewer views, or their batch sizes differ.
    """
    if len(views) < least or len({len(view) for view in views}) > 1:
        sizes = [tuple(view.shape) for view in views]
        raise ValueError(f"at least {least} views of the same batch size are needed, got shapes {sizes}")
    if len({view.shape for view in views}) > 1:
        return [module(view) for view in views]
    return list(module(torch.cat(list(views))).chunk(len(views)))


pretexts: Registry[type[Pretext]] = Registry("pretext", group="mvssl.pretexts")
"""All pretexts by name; installed packages add theirs through the entry-point group ``mvssl.pretexts``."""


def register_pretext(name: str, *, paper: str = "", summary: str = "") -> Callable[[P], P]:
    """Class decorator that registers a pretext.

    Args:
        name: What users type.
        paper: arXiv number, DOI or URL.
        summary: One line; the first line of the docstring by default.

    Raises:
        ValueError: If the name is taken.
        TypeError: If the class is not a :class:`Pretext`.
    """

    def add(target: P) -> P:
        if not (isinstance(target, type) and issubclass(target, Pretext)):
            raise TypeError(f"{target!r} is not a subclass of mvssl.Pretext")
        pretexts.register(name, paper=paper, summary=summary)(target)
        return target

    return add


def list_pretexts(pattern: str = "*") -> list[str]:
    """Names of registered pretexts that match a shell-style pattern."""
    return pretexts.names(pattern)


def create_pretext(name: str, encoder: nn.Module, **kwargs: Any) -> Pretext:
    """Creates a registered pretext around an encoder.

    Raises:
        ValueError: If there is no such pretext; close matches are suggested.
    """
    pretext: Pretext = pretexts.create(name, encoder, **kwargs)
    return pretext
