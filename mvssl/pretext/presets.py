"""Named sets of default arguments: an objective as in its paper, or as a published comparison has it."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Literal, ParamSpec

Preset = Literal["paper", "deezer2024"]
"""``"paper"``: the objective of the original paper, with heads that suit small encoders. ``"deezer2024"``:
what the code published with the 2024 comparison (arXiv:2404.09177) computes, slips included. It puts one view
at a time through the network; here views of one shape share a pass and its batch statistics. A preset is no
view chain: the comparison took two segments of 4 s of a track, at least 4 s apart, without augmentation
(``--encoder deezer2024 --views deezer2024``)."""

MusicPreset = Literal["paper", "music2vec"]
"""``"music2vec"``: the numbers of the study of music (arXiv:2307.05161), for a base model and hundreds of
thousands of steps."""

ClusterPreset = Literal["paper", "musichubert"]
"""``"musichubert"``: the same study's first iteration."""

PUBLISHED_RATE = 5e-4
"""Peak of the learning rate of music2vec and musicHuBERT."""

P = ParamSpec("P")


def presets(**tables: Mapping[str, Any]) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorator of a constructor with a keyword ``preset``: its own defaults are the preset ``"paper"``.

    Arguments that a caller gives win over those of the preset. The constructor's attribute ``presets`` holds
    all names.

    Args:
        **tables: For each other preset, the arguments whose defaults it replaces.
    """

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        signature = inspect.signature(init)

        @wraps(init)
        def construct(*args: P.args, **kwargs: P.kwargs) -> None:
            name = kwargs.get("preset", "paper")
            if name != "paper" and name not in tables:
                raise ValueError(f"preset={name!r}: use {' or '.join(map(repr, ('paper', *tables)))}")
            given = signature.bind_partial(*args, **kwargs).arguments
            table = tables.get(str(name), {})
            defaults: dict[str, Any] = {key: value for key, value in table.items() if key not in given}
            init(*args, **{**defaults, **kwargs})

        construct.presets = ("paper", *tables)  # type: ignore[attr-defined]
        return construct

    return decorate
