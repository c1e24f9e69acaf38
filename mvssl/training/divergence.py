"""What went wrong, step by step: losses and gradients that are not finite, and gradients that explode."""

import copy
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from mvssl.atomic import write_json
from mvssl.data import Batch
from mvssl.pretext import PretextOutput

DIAGNOSIS = "divergence"
_REMEMBERED, _ENOUGH = 100, 20  # norms of the gradient; the fewest that have a median to compare with
_SKIPS_IN_A_ROW = 10
_SHOWN = 4
_SILENT = 1e-4  # greatest sample of a crop that counts as silence, −80 dB


class Divergence:
    """Watches loss and gradient norm of each step.

    Args:
        explosion: See :class:`~mvssl.training.Recipe`.
        clip_norm: Below which no gradient is large.

    Attributes:
        skipped: Steps that were skipped.
    """

    def __init__(self, explosion: float | None, clip_norm: float) -> None:
        self.explosion, self.clip_norm = explosion, clip_norm
        self.skipped = 0
        self._in_a_row = 0
        self._norms: deque[float] = deque(maxlen=_REMEMBERED)

    def found(self, norm: float) -> str | None:
        """What is wrong with a step's gradient, in words; a healthy one is remembered."""
        if not math.isfinite(norm):
            return f"the norm of the gradient is {norm}"
        if self.explosion is not None and len(self._norms) >= _ENOUGH:
            usual = max(median(self._norms), self.clip_norm)
            if norm > self.explosion * usual:
                return f"the gradient exploded: its norm is {norm:.3g}, after a median of {usual:.3g}"
        self._norms.append(norm)
        self._in_a_row = 0
        return None

    def skip(self) -> bool:
        """Counts a step as skipped; whether that is still tolerable."""
        self.skipped += 1
        self._in_a_row += 1
        return self._in_a_row <= _SKIPS_IN_A_ROW

    def state_dict(self) -> dict[str, Any]:
        """What is to be remembered over a resume."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row, "norms": list(self._norms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave."""
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]
        self._norms = deque(state["norms"], _REMEMBERED)


class Remembered:
    """What a module remembers besides its parameters: a step that is skipped must leave no trace in it."""

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        kind = nn.Module.get_extra_state
        others = (part for part in module.modules() if type(part).get_extra_state is not kind)
        self._others = [(part, copy.deepcopy(part.get_extra_state())) for part in others]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts all of it back."""
        for buffer, value in self._buffers:
            buffer.copy_(value)
        for part, state in self._others:
            part.set_extra_state(state)


def diagnosis(
    what: str,
    step: int,
    pretext: str,
    batch: Batch,
    names: Sequence[str],
    output: PretextOutput,
    **more: float,
) -> dict[str, Any]:
    """All that is known about a step that went wrong, as plain values.

    Args:
        what: Went wrong, in words.
        step: Its number, from 0.
        pretext: Name of its class.
        batch: What it was made on.
        names: Of its tracks.
        output: What the pretext made of it.
        **more: Other numbers worth knowing.
    """
    return {
        "what": what,
        "step": step,
        "pretext": pretext,
        "loss": output.loss.item(),
        "terms": {name: value.item() for name, value in output.terms.items()},
        **more,
        "views": [_statistics(crops) for crops in batch.crops],
        "embeddings": [_statistics(view.detach().float()) for view in output.embeddings],
        "files": list(names),
    }


def explain(found: dict[str, Any], folder: Path, rank: int, advice: str) -> str:
    """The diagnosis in one sentence.

    All of it is left in ``divergence.json``, if there is room; processes other than the
    first add their number.

    Args:
        found: The diagnosis.
        folder: Of the run.
        rank: Number of the process.
        advice: What to do about it.
    """
    path = folder / (f"{DIAGNOSIS}-{rank}.json" if rank else f"{DIAGNOSIS}.json")
    with suppress(OSError):
        write_json(path, found)
    views = "; ".join(
        f"view {number}: {s['min']:.3g} to {s['max']:.3g}, rms {s['rms']:.3g}, {s['silent']} silent, "
        f"{s['not_finite']} not finite"
        for number, s in enumerate(found["views"])
    )
    files = ", ".join(found["files"][:_SHOWN]) + ("…" if len(found["files"]) > _SHOWN else "")
    return (
        f"{found['what']} at step {found['step']} of {found['pretext']}, on {files} ({views}; more in "
        f"{path}): {advice}; the last checkpoint is kept"
    )


def _statistics(rows: Tensor) -> dict[str, float]:
    """Of (batch, ...): extremes and root mean square of what is finite, and how many rows are not so."""
    flat = rows.flatten(1)
    fine = flat[torch.isfinite(flat)]
    lost = int((~torch.isfinite(flat)).any(1).sum())
    if not len(fine):
        return {"min": math.nan, "max": math.nan, "rms": math.nan, "silent": 0, "not_finite": lost}
    silent = int((flat.abs().amax(1) < _SILENT).sum())
    low, high = fine.min().item(), fine.max().item()
    return {"min": low, "max": high, "rms": fine.square().mean().sqrt().item(), "silent": silent,
            "not_finite": lost}  # fmt: skip
