"""Regularised logistic regression of many tags, or of classes, by Newton's method on matrices.

Steps are solved by conjugate gradients, which is where the time goes, in single precision: they need not be
exact. What they lead to is judged in double precision, so that the optimum is not less exact for it.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

_TOLERANCE = 1e-6
_NEWTON_STEPS = 100
_SINGLE_STEPS = 30  # further ones are solved in double precision
_CG_STEPS = 500
_HALVINGS = 40


class Design:
    """What weights are multiplied with.

    Args:
        rows: (tracks, axes + 1); the last column is the constant, whose weight is not penalised.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self._of = {rows.dtype: rows, torch.float32: rows.float()}
        self.squares = self._of[torch.float32].square()
        self.penalty = torch.ones_like(rows[0])[:, None]
        self.penalty[-1] = 0

    def __matmul__(self, weights: Tensor) -> Tensor:
        return self._of[weights.dtype] @ weights

    def transposed(self, values: Tensor) -> Tensor:
        """The transposed design times values (tracks, columns), in their precision."""
        return self._of[values.dtype].T @ values


class Point(NamedTuple):
    """Weights (axes + 1, columns), and the logits (tracks, columns) that they give."""

    weights: Tensor
    logits: Tensor

    def along(self, step: "Point", size: Tensor) -> "Point":
        """Some way in the direction of a step; logits are linear, and need no product."""
        return Point(self.weights + size * step.weights, self.logits + size * step.logits)


class Objective(ABC):
    """C · Σ log-loss + ½‖w‖², and its derivatives.

    Args:
        design: What weights are multiplied with.
        targets: (tracks, columns) of 0 and 1.
        c: Inverse regularisation strength.
    """

    def __init__(self, design: Design, targets: Tensor, c: float) -> None:
        self.design, self.targets, self.c = design, targets, c

    @abstractmethod
    def dot(self, one: Tensor, other: Tensor) -> Tensor:
        """Inner products of the problems that can be solved apart: (columns,), or (1,) if all are one."""

    @abstractmethod
    def loss(self, logits: Tensor) -> Tensor:
        """Sum over tracks, of each such problem."""

    @abstractmethod
    def probability(self, logits: Tensor) -> Tensor:
        """(tracks, columns)."""

    @abstractmethod
    def moved(self, probability: Tensor, spread: Tensor, change: Tensor) -> Tensor:
        """By how much a change of the logits (tracks, columns) moves the probabilities, to first order.

        ``spread`` is probability · (1 − probability).
        """

    def value(self, at: Point) -> Tensor:
        """Of each problem."""
        return self.c * self.loss(at.logits) + self.dot(self.design.penalty * at.weights, at.weights) / 2

    def gradient(self, at: Point, probability: Tensor) -> Tensor:
        """In the shape of the weights."""
        missed = self.design.transposed(probability - self.targets)
        return self.c * missed + self.design.penalty * at.weights

    def norm(self, vectors: Tensor) -> Tensor:
        """Of each problem."""
        return self.dot(vectors, vectors).sqrt()


class TagObjective(Objective):
    """Of every tag on its own; both 0 and 1 are present in every column."""

    def dot(self, one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum(dim=0)

    def loss(self, logits: Tensor) -> Tensor:
        # log(1 + exp(∓logit)) directly: as softplus(logit) − target · logit it would lose its digits.
        return softplus((1 - 2 * self.targets) * logits, threshold=40).sum(dim=0)

    def probability(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def moved(self, probability: Tensor, spread: Tensor, change: Tensor) -> Tensor:
        return spread * change


class ClassObjective(Objective):
    """Of all classes together: one of the columns is 1 for each track."""

    def dot(self, one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum().reshape(1)

    def loss(self, logits: Tensor) -> Tensor:
        return -(self.targets * logits.log_softmax(dim=1)).sum().reshape(1)

    def probability(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    def moved(self, probability: Tensor, spread: Tensor, change: Tensor) -> Tensor:
        part = probability * change
        return part - probability * part.sum(dim=1, keepdim=True)


def minimise(objective: Objective, weights: Tensor) -> Tensor:
    """Newton's method with inexact steps and backtracking, until every gradient is negligible.

    Args:
        objective: What to minimise.
        weights: (axes + 1, columns) to start from.

    Raises:
        FloatingPointError: If it does not converge.
    """
    # With little data and a small C the optimum itself is tiny, so that errors count relative to the
    # gradient where there are no weights yet.
    centred = objective.targets - objective.targets.mean(dim=0)
    unit = objective.norm(objective.c * objective.design.transposed(centred)).clamp(1e-6, 1)
    at = Point(weights, objective.design @ weights)
    for number in range(_NEWTON_STEPS):
        probability = objective.probability(at.logits)
        gradient = objective.gradient(at, probability)
        norm = objective.norm(gradient)
        if (norm <= _TOLERANCE * unit).all():
            return at.weights
        # Solving more exactly as the optimum comes near keeps the convergence superlinear.
        allowed = torch.maximum(norm * (norm / unit).sqrt().clamp(max=0.1), _TOLERANCE / 2 * unit)
        dtype = torch.float32 if number < _SINGLE_STEPS else weights.dtype
        found = _newton_step(objective, *(part.to(dtype) for part in (gradient, probability, allowed)))
        step = Point(found.to(weights.dtype), objective.design @ found.to(weights.dtype))
        size = _step_size(objective, at, step, objective.dot(gradient, step.weights))
        at = at.along(step, size)
    raise FloatingPointError(
        f"logistic regression did not converge at C={objective.c:g}; standardise the features or lower C"
    )


def _newton_step(objective: Objective, gradient: Tensor, probability: Tensor, allowed: Tensor) -> Tensor:
    """Solves Hessian · step = −gradient by preconditioned conjugate gradients, to a residual ``allowed``."""
    design, spread = objective.design, probability * (1 - probability)
    penalty, tiny = design.penalty.to(gradient.dtype), torch.finfo(gradient.dtype).tiny
    diagonal = objective.c * (design.squares.T @ spread.float()).to(gradient.dtype) + penalty
    # The constant has no penalty, and no curvature where all probabilities are 0 or 1.
    diagonal = diagonal.clamp_min(tiny**0.5)
    step, residual = torch.zeros_like(gradient), -gradient
    direction = residual / diagonal
    energy = objective.dot(residual, direction)
    for _ in range(_CG_STEPS):
        change = objective.moved(probability, spread, design @ direction)
        image = objective.c * design.transposed(change) + penalty * direction
        length = energy / objective.dot(direction, image).clamp_min(tiny)
        step = step + length * direction
        residual = residual - length * image
        if (objective.norm(residual) <= allowed).all():
            break
        scaled = residual / diagonal
        energy, previous = objective.dot(residual, scaled), energy
        direction = scaled + energy / previous.clamp_min(tiny) * direction
    return step


def _step_size(objective: Objective, at: Point, step: Point, slope: Tensor) -> Tensor:
    """For each problem the first of 1, ½, ¼, … at which the objective falls enough (Armijo's rule)."""
    start = objective.value(at)
    size = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        rounding = 1e-12 * start.abs()
        short = objective.value(at.along(step, size)) > start + 1e-4 * size * slope + rounding
        if not short.any():
            break
        size = torch.where(short, size / 2, size)
    return size
