"""What a network minimises on a kind of task, and what its outputs mean."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

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
        targets = np.asarray(labelled, dtype=np.float64)
        self._mean, self._std = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
        if task.loss == "squares":
            self._mean, std = targets.mean(axis=0), targets.std(axis=0)
            # Up to rounding; a column without spread, as of one track, keeps its unit.
            self._std = np.where(std > 1e-9 * np.abs(self._mean), std, 1.0)

    def standardised(self, targets: ArrayLike) -> Tensor:
        """Targets (tracks, columns) as :meth:`loss` takes them."""
        values = (np.asarray(targets, dtype=np.float64) - self._mean) / self._std
        return torch.from_numpy(values).float()

    def loss(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Loss of outputs (batch, columns) on standardised targets of the same shape."""
        if self._task.loss == "softmax":
            return F.cross_entropy(outputs.float(), truth)
        if self._task.loss == "squares":
            return F.mse_loss(outputs.float(), truth)
        return F.binary_cross_entropy_with_logits(outputs.float(), truth)

    def scores(self, outputs: NDArray[np.floating]) -> NDArray[np.float32]:
        """Outputs (tracks, columns) as scores: logits as they are, numbers in their own units."""
        return (outputs * self._std + self._mean).astype(np.float32)

    def value(self, scores: ArrayLike, targets: ArrayLike) -> float:
        """The leading metric of scores, which checkpoints are chosen by; NaN where it does not exist."""
        return float(self._task.lead.overall(scores, targets))
