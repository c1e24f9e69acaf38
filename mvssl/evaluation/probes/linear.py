"""The linear probe: L2-regularised logistic regression, one per tag, for many label subsets at once.

The objective is scikit-learn's ``LogisticRegression(C=C)``: C · Σ log-loss + ½‖w‖², intercept unpenalised.
Three things make hundreds of them cheap, and none of them changes the optimum. The features of a subset are
centred, which only moves the intercept, and rotated onto their principal axes, where the regularised optimum
has no component outside the at most ``tracks`` axes with variance. All tags of a subset are the columns of
one matrix, so that each Newton step, solved by conjugate gradients, is a handful of matrix products; in the
rotated basis the diagonal is a good preconditioner. And each C starts from the solution of the one before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import softplus

from mvssl.evaluation.probes.base import ProbeData, ProbeResult, checked, probes
from mvssl.evaluation.subsets import Subset

DEFAULT_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 11))

_TOLERANCE = 1e-6
_NEWTON_STEPS = 100
_CG_STEPS = 500
_HALVINGS = 40
_TINY = 1e-300  # instead of 0 as a divisor, where a tag is solved exactly


class LinearProbes(NamedTuple):
    """Weights (subsets, grid, features, tags) and intercepts (subsets, grid, tags), float64."""

    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]


@probes.register("linear")
def linear_probe(
    data: ProbeData,
    subsets: Sequence[Subset],
    *,
    grid: Sequence[float] = DEFAULT_GRID,
) -> ProbeResult:
    """Logistic regression, one per tag; its inverse regularisation strength C is chosen on validation.

    Features are standardised by the mean and standard deviation of the whole train split, whose tracks are
    there even where their labels are not. The C with the best macro average precision is taken, of equals
    the strongest regularisation (smallest C).

    Args:
        data: Features, targets and splits.
        subsets: Label subsets from `draw_subsets`.
        grid: Values of C to try.

    Raises:
        ValueError: If a C is not above 0.
        ArithmeticError: If a fit does not converge.
    """
    grid = tuple(sorted(grid))
    weights, intercepts = fit_linear_probes(
        data.features[data.train], data.targets[data.train], subsets, grid
    )
    valid_scores = data.features[data.valid] @ weights + intercepts[:, :, None]
    valid_ap = data.valid_ap(valid_scores)
    best = valid_ap.argmax(axis=1)
    every = np.arange(len(subsets))
    scores = data.features[data.test] @ weights[every, best] + intercepts[every, best, None]
    return ProbeResult(scores, valid_scores[every, best], np.array(grid)[best], grid, valid_ap)


def fit_linear_probes(
    features: ArrayLike, targets: ArrayLike, subsets: Sequence[Subset], grid: Sequence[float] = DEFAULT_GRID
) -> LinearProbes:
    """Fits a logistic regression for every (subset, C, tag).

    A tag with one class only in a subset has no finite optimum; it gets zero weights and the intercept
    log((positives + ½)/(negatives + ½)), that is, the same score for every track.

    Args:
        features: (tracks, dim) of the train split, standardised.
        targets: (tracks, tags) of booleans.
        subsets: The rows to fit on.
        grid: Values of C, the inverse of the regularisation strength; fastest in ascending order, since each
            fit starts from the one before.

    Raises:
        ValueError: If a feature is not finite, shapes do not match, or a C is not above 0.
        ArithmeticError: If a fit does not converge.
    """
    features, targets = checked(features, targets)
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid={tuple(grid)} must hold values of C above 0")
    rows, labels = torch.from_numpy(features), torch.from_numpy(targets).double()
    paths = [_path(rows[subset.indices], labels[subset.indices], grid) for subset in subsets]
    weights, intercepts = (torch.stack(parts).numpy() for parts in zip(*paths, strict=True))
    return LinearProbes(weights, intercepts)


def _path(features: Tensor, targets: Tensor, grid: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Weights (grid, dim, tags) and intercepts (grid, tags) of one subset."""
    mean = features.mean(dim=0)
    _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
    axes = axes[spread > 1e-10 * spread.max()]
    design = torch.cat([(features - mean) @ axes.T, features.new_ones(len(features), 1)], dim=1)
    positives = targets.sum(dim=0)
    solution = features.new_zeros(design.shape[1], targets.shape[1])
    solution[-1] = ((positives + 0.5) / (len(targets) - positives + 0.5)).log()
    both = (positives > 0) & (positives < len(targets))
    solutions = []
    for c in grid:
        solution[:, both] = _minimise(_Objective(design, targets[:, both], c), solution[:, both])
        solutions.append(solution.clone())
    path = torch.stack(solutions)
    weights = axes.T @ path[:, :-1]
    return weights, path[:, -1] - mean @ weights


class _Objective:
    """C · Σ log-loss + ½‖w‖² of every tag, and its derivatives.

    Args:
        design: (tracks, axes + 1); the last column is the constant, whose weight is not penalised.
        targets: (tracks, tags) of 0 and 1, both present in every column.
        c: Inverse regularisation strength.
    """

    def __init__(self, design: Tensor, targets: Tensor, c: float) -> None:
        self.design, self.targets, self.c = design, targets, c
        self.squares = design.square()
        self.penalty = torch.ones_like(design[0])[:, None]
        self.penalty[-1] = 0

    def value(self, weights: Tensor) -> Tensor:
        # log(1 + exp(∓logit)) directly: as softplus(logit) − target · logit it would lose its digits.
        loss = softplus((1 - 2 * self.targets) * (self.design @ weights), threshold=40)
        return self.c * loss.sum(dim=0) + (self.penalty * weights.square()).sum(dim=0) / 2

    def gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient, and the second derivative of each track's loss, which makes up the Hessian."""
        probability = (self.design @ weights).sigmoid()
        gradient = self.c * self.design.T @ (probability - self.targets) + self.penalty * weights
        return gradient, self.c * probability * (1 - probability)

    def hessian_product(self, curvature: Tensor, vectors: Tensor) -> Tensor:
        return self.design.T @ (curvature * (self.design @ vectors)) + self.penalty * vectors

    def hessian_diagonal(self, curvature: Tensor) -> Tensor:
        return self.squares.T @ curvature + self.penalty


def _minimise(objective: _Objective, weights: Tensor) -> Tensor:
    """Newton's method with inexact steps and backtracking, on all tags until every gradient is negligible."""
    # With little data and a small C the optimum itself is tiny, so that errors count relative to the
    # gradient where there are no weights yet.
    centred = objective.targets - objective.targets.mean(dim=0)
    unit = (objective.c * objective.design.T @ centred).norm(dim=0).clamp(1e-6, 1)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = objective.gradient(weights)
        norm = gradient.norm(dim=0)
        if (norm <= _TOLERANCE * unit).all():
            return weights
        # Solving more exactly as the optimum comes near keeps the convergence superlinear.
        allowed = torch.maximum(norm * (norm / unit).sqrt().clamp(max=0.1), _TOLERANCE / 2 * unit)
        step = _newton_step(objective, gradient, curvature, allowed)
        weights = weights + _step_size(objective, weights, step, (gradient * step).sum(dim=0)) * step
    raise ArithmeticError(
        f"logistic regression did not converge at C={objective.c:g}; standardise the features or lower C"
    )


def _newton_step(objective: _Objective, gradient: Tensor, curvature: Tensor, allowed: Tensor) -> Tensor:
    """Solves Hessian · step = −gradient by preconditioned conjugate gradients, to a residual ``allowed``."""
    diagonal = objective.hessian_diagonal(curvature)
    step, residual = torch.zeros_like(gradient), -gradient
    direction = residual / diagonal
    energy = (residual * direction).sum(dim=0)
    for _ in range(_CG_STEPS):
        image = objective.hessian_product(curvature, direction)
        length = energy / (direction * image).sum(dim=0).clamp_min(_TINY)
        step = step + length * direction
        residual = residual - length * image
        if (residual.norm(dim=0) <= allowed).all():
            break
        scaled = residual / diagonal
        energy, previous = (residual * scaled).sum(dim=0), energy
        direction = scaled + energy / previous.clamp_min(_TINY) * direction
    return step


def _step_size(objective: _Objective, weights: Tensor, step: Tensor, slope: Tensor) -> Tensor:
    """For each tag the first of 1, ½, ¼, … at which the objective falls enough (Armijo's rule)."""
    start = objective.value(weights)
    size = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        rounding = 1e-12 * start.abs()
        short = objective.value(weights + size * step) > start + 1e-4 * size * slope + rounding
        if not short.any():
            break
        size = torch.where(short, size / 2, size)
    return size
