"""Signs of collapse, and a monitor that says so in words."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mvssl.distributed import mean
from mvssl.functional import effective_rank


def alignment(embeddings: Sequence[Tensor]) -> Tensor:
    """Mean squared distance between views of a track, on the unit sphere (arXiv:2005.10242, §4.1, α = 2).

    0 where views of a track are one point, 2 where they have nothing in common. A collapsed encoder is
    perfectly aligned: read it beside :func:`uniformity`.

    Args:
        embeddings: At least two (batch, dim) tensors, one per view.
    """
    unit = [F.normalize(view.detach().float(), dim=1) for view in embeddings]
    return torch.stack([(a - b).square().sum(1).mean() for a, b in combinations(unit, 2)]).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Logarithm of the mean Gaussian potential between tracks, on the unit sphere (arXiv:2005.10242, §4.1).

    With t = 2: 0 where all tracks are one point, down to about −4 where they are spread over a sphere of
    many dimensions.

    Args:
        embeddings: (batch, dim), at least two rows.
    """
    unit = F.normalize(embeddings.detach().float(), dim=1)
    return torch.pdist(unit).square().mul(-2).exp().mean().log()


def spread(embeddings: Tensor) -> Tensor:
    """Standard deviation over tracks, on the unit sphere, as a share of the greatest possible.

    0 where all tracks are one point, 1 where they point into all directions alike (root of the mean variance
    over dimensions, times √dim).

    Args:
        embeddings: (batch, dim).
    """
    unit = F.normalize(embeddings.detach().float(), dim=1)
    return unit.var(0, correction=0).sum().sqrt()


def signs_of_collapse(embeddings: Sequence[Tensor]) -> dict[str, Tensor]:
    """Alignment of the views; uniformity, spread and effective rank (RankMe) of the first.

    Args:
        embeddings: (batch, dim), one per view; without any there are no signs, and with one no alignment.
    """
    if not embeddings:
        return {}
    aligned = {"alignment": alignment(embeddings)} if len(embeddings) > 1 else {}
    first = embeddings[0].detach()
    return {
        **aligned,
        "uniformity": uniformity(first),
        "embedding_std": spread(first),
        # Of what is not finite, torch finds no singular values, and the others are not finite either.
        "rankme": effective_rank(first) if first.isfinite().all() else first.new_tensor(float("nan")),
    }


def prototype_usage(scores: Sequence[Tensor], temperature: float) -> dict[str, Tensor]:
    """How a clustering pretext uses its prototypes: two entropies as shares of log(prototypes).

    ``prototype_entropy``, of the mean assignment, is 0 where every track has the same one prototype.
    ``assignment_entropy``, the mean over tracks, is 1 where no track prefers any. Healthy is a high first
    and a lower second. Tracks are those of all processes, each of which must call it.

    Args:
        scores: (batch, prototypes), one per view.
        temperature: Divides the scores.
    """
    pooled = torch.cat([view.detach().float() for view in scores]) / temperature
    shares, most = pooled.softmax(1), torch.tensor(float(pooled.shape[1]), device=pooled.device).log()
    usage, entropy = mean([shares.mean(0), torch.special.entr(shares).sum(1).mean()], rows=len(pooled))
    return {
        "prototype_entropy": torch.special.entr(usage).sum() / most,
        "assignment_entropy": entropy / most,
    }


class CollapseWarning(UserWarning):
    """A run has collapsed: its encoder tells tracks apart no longer."""


_COLLAPSES = {
    "embedding_std": (0.0, 0.05, "all tracks have nearly the same embedding"),
    "rankme": (0.0, 2.0, "the embeddings fill fewer than two dimensions"),
    "prototype_entropy": (0.0, 0.05, "all tracks go to one prototype"),
    "assignment_entropy": (0.995, 1.01, "no track prefers any prototype"),
}


class CollapseMonitor:
    """Warns once, in words, when a run collapses.

    Args:
        patience: Rows in a row that must show the same sign.

    Attributes:
        finding: When the run collapsed and what shows it, in words; None as long as it has not.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.finding: str | None = None
        self._rows = dict.fromkeys(_COLLAPSES, 0)

    def state_dict(self) -> dict[str, Any]:
        """What a monitor needs to know to go on."""
        return {"finding": self.finding, "rows": dict(self._rows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave."""
        self.finding, self._rows = state["finding"], dict(state["rows"])

    def watch(self, step: int, terms: Mapping[str, float]) -> None:
        """Looks at a logged row.

        Args:
            step: Steps made so far.
            terms: Logged values by name; of those it knows, any may be missing. A member's name in front, as
                in ``swav/prototype_entropy``, does not matter.
        """
        terms = {name.rpartition("/")[2]: value for name, value in terms.items()}
        for name, (low, high, words) in _COLLAPSES.items():
            self._rows[name] = self._rows[name] + 1 if low <= terms.get(name, -1.0) <= high else 0
            if self._rows[name] >= self.patience and self.finding is None:
                self.finding = f"collapsed by step {step}: {words} ({name} {terms[name]:.3g})"
                warnings.warn(
                    f"the run has {self.finding}. Start again with a lower learning rate, a larger batch or "
                    f"other arguments of the pretext",
                    CollapseWarning,
                    stacklevel=2,
                )
