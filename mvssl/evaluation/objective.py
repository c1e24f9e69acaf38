"""What a network minimises on a kind of task, and what its outputs mean."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvssl.evaluation.tasks import Task


class Objective:
    """The loss of a task for networks, in fp32, and the way back from their outputs to scores.

    Numbers are standardised by the labelled tracks, so that a learning rate suits every unit.

    Args:
        task: Its ``loss`` says which: ``"sigmoid"`` is binary cross-entropy of each column, ``"softmax"``
            cross-entropy over the columns, ``"squares"`` the mean squared error of standardised numbers.
        labelled: (tracks, columns) targets of the labelled tracks, and of no others.
    """

    def __init__(self, task: Task, labelled: ArrayLike) -> None:
        self._task = task
        self._mean, self._std = task.units(np.asarray(labelled, dtype=np.float64))

    def standardised(self, targets: ArrayLike) -> Tensor:
        """Targets (tracks, columns) as :meth:`loss` takes them."""
        values = (np.asarray(targets, dtype=np.float64) - self._mean) / self._std
        return torch.from_numpy(values).float()

    def loss(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Loss of outputs (batch, columns) on standardised targets of the same shape."""
        return self._task.losses(outputs, truth).mean()

    def scores(self, outputs: NDArray[np.floating]) -> NDArray[np.float32]:
        """Outputs (tracks, columns) as scores; numbers in their own units."""
        return self._task.as_scores(outputs * self._std + self._mean).astype(np.float32)

    def value(self, scores: ArrayLike, targets: ArrayLike) -> float:
        """The leading metric of scores, which checkpoints are chosen by; NaN where it does not exist."""
        return float(self._task.lead.overall(scores, targets))
