"""The linear probe: L2-regularised regression of tags, classes or numbers, for many label subsets at once.

The objective is scikit-learn's ``LogisticRegression(C=C)``: C · Σ loss + ½‖w‖², intercept unpenalised; one of
each tag, the multinomial one of classes, and of numbers ridge regression, with half squares as the loss.
Three things make hundreds of them cheap, and none of them changes the optimum. The features of a subset are
centred, which only moves the intercept, and rotated onto their principal axes, where the regularised optimum
has no component outside the at most ``tracks`` axes with variance. All columns of a subset are one matrix, so
that each Newton step, solved by conjugate gradients, is a handful of matrix products; in the rotated basis
the diagonal is a good preconditioner, and of numbers the solution. And each C starts from the solution of the
one before.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvssl.evaluation.probes.base import ProbeData, ProbeResult, checked, probes
from mvssl.evaluation.probes.newton import ClassObjective, Design, Objective, TagObjective, minimise
from mvssl.evaluation.subsets import Subset
from mvssl.evaluation.tasks import tasks

DEFAULT_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 11))


class LinearProbes(NamedTuple):
    """Weights (subsets, grid, features, columns) and intercepts (subsets, grid, columns), float64."""

    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]


@probes.register("linear")
def linear_probe(
    data: ProbeData,
    subsets: Sequence[Subset],
    *,
    grid: Sequence[float] = DEFAULT_GRID,
) -> ProbeResult:
    """Logistic or ridge regression; its inverse regularisation strength C is chosen on validation.

    Features are standardised by the mean and standard deviation of the whole train split, whose tracks are
    there even where their labels are not. The C with the best value of the task's leading metric is taken,
    of equals the strongest regularisation (smallest C). Scores are the log-odds of tags, the logarithms of
    the probabilities of classes, or numbers.

    Args:
        data: Features, targets and splits.
        subsets: Label subsets from `draw_subsets`.
        grid: Values of C to try.

    Raises:
        ValueError: If a C is not above 0.
        FloatingPointError: If a fit does not converge.
    """
    grid = tuple(sorted(grid))
    weights, intercepts = fit_linear_probes(
        data.features[data.train], data.targets[data.train], subsets, grid, data.task.loss
    )
    valid_scores = data.task.as_scores(data.features[data.valid] @ weights + intercepts[:, :, None])
    valid_values = data.valid_value(valid_scores)
    best = valid_values.argmax(axis=1)
    every = np.arange(len(subsets))
    scores = data.task.as_scores(
        data.features[data.test] @ weights[every, best] + intercepts[every, best, None]
    )
    return ProbeResult(scores, valid_scores[every, best], np.array(grid)[best], grid, valid_values)


def fit_linear_probes(
    features: ArrayLike,
    targets: ArrayLike,
    subsets: Sequence[Subset],
    grid: Sequence[float] = DEFAULT_GRID,
    loss: str = "sigmoid",
) -> LinearProbes:
    """Fits a regression for every (subset, C, column).

    A tag with one class only in a subset has no finite optimum; it gets zero weights and the intercept
    log((positives + ½)/(negatives + ½)), that is, the same score for every track. A class without a track in
    a subset gets zero weights, and the intercept of half a track. Numbers are regressed in units of their
    deviation in the subset, so that C means the same whatever their units.

    Args:
        features: (tracks, dim) of the train split, standardised.
        targets: (tracks, columns): of tags booleans, of classes booleans of which one in each row is true, or
            numbers.
        subsets: The rows to fit on.
        grid: Values of C, the inverse of the regularisation strength; fastest in ascending order, since each
            fit starts from the one before.
        loss: ``"sigmoid"`` for tags, ``"softmax"`` for classes, ``"squares"`` for numbers.

    Raises:
        FloatingPointError: If a feature is not finite, or a fit does not converge.
        ValueError: If shapes do not match, or a C is not above 0.
    """
    features, targets = checked(features, targets, np.float64 if loss == "squares" else np.bool_)
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid={tuple(grid)} must hold values of C above 0")
    rows, labels = torch.from_numpy(features), torch.from_numpy(targets).double()
    solve = _SOLVERS[loss]
    paths = [_path(rows[subset.indices], labels[subset.indices], grid, solve) for subset in subsets]
    weights, intercepts = (torch.stack(parts).numpy() for parts in zip(*paths, strict=True))
    return LinearProbes(weights, intercepts)


def _path(
    features: Tensor, targets: Tensor, grid: Sequence[float], solve: "_Solver"
) -> tuple[Tensor, Tensor]:
    """Weights (grid, dim, columns) and intercepts (grid, columns) of one subset."""
    mean = features.mean(dim=0)
    _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
    axes = axes[spread > 1e-10 * spread.max()]
    design = torch.cat([(features - mean) @ axes.T, features.new_ones(len(features), 1)], dim=1)
    path = solve(design, targets, grid)
    weights = axes.T @ path[:, :-1]
    return weights, path[:, -1] - mean @ weights


_Solver = Callable[[Tensor, Tensor, Sequence[float]], Tensor]
"""From a design (tracks, axes + 1), targets (tracks, columns) and a grid to (grid, axes + 1, columns)."""


def _solve_tags(design: Tensor, targets: Tensor, grid: Sequence[float]) -> Tensor:
    positives = targets.sum(dim=0)
    start = design.new_zeros(design.shape[1], targets.shape[1])
    start[-1] = ((positives + 0.5) / (len(targets) - positives + 0.5)).log()
    both = (positives > 0) & (positives < len(targets))
    rows = Design(design)
    return _followed(start, both, grid, lambda c: TagObjective(rows, targets[:, both], c))


def _solve_classes(design: Tensor, targets: Tensor, grid: Sequence[float]) -> Tensor:
    counts = targets.sum(dim=0)
    start = design.new_zeros(design.shape[1], targets.shape[1])
    start[-1] = counts.clamp_min(0.5).log()
    there, rows = counts > 0, Design(design)
    # Softmax does not feel a constant added to all intercepts, and the objective moves only those that are
    # there: their weighted mean is where it began, so that the others stay half a track below.
    path = _followed(start, there, grid, lambda c: ClassObjective(rows, targets[:, there], c))
    shift = path[:, -1, there].mean(dim=1) - start[-1, there].mean()
    path[:, -1, there] -= shift[:, None]
    return path


def _solve_numbers(design: Tensor, targets: Tensor, grid: Sequence[float]) -> Tensor:
    """In closed form: the columns of the design are orthogonal."""
    mean, deviation = map(torch.from_numpy, tasks.entry("regression").target.units(targets.numpy()))
    wanted = (targets - mean) / deviation
    squares = design.square().sum(dim=0)[:, None]
    penalty = torch.ones_like(squares)
    penalty[-1] = 0
    path = torch.stack([c * (design.T @ wanted) / (c * squares + penalty) for c in grid]) * deviation
    path[:, -1] += mean
    return path


_SOLVERS: dict[str, _Solver] = {
    "sigmoid": _solve_tags, "softmax": _solve_classes, "squares": _solve_numbers
}  # fmt: skip


def _followed(
    start: Tensor, free: Tensor, grid: Sequence[float], objective: Callable[[float], Objective]
) -> Tensor:
    """The minima (grid, axes + 1, columns) in the free columns, each found from the one before."""
    solution, solutions = start.clone(), []
    for c in grid:
        if free.any():
            solution[:, free] = minimise(objective(c), solution[:, free])
        solutions.append(solution.clone())
    return torch.stack(solutions)
