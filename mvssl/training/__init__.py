"""Training a pretext, in a few lines or as a run that can be killed and resumed."""

from mvssl.training.checkpoints import CheckpointError, CheckpointWarning
from mvssl.training.fit import fit, pretrain
from mvssl.training.log import read_metrics
from mvssl.training.recipe import FitResult, Recipe

__all__ = ["CheckpointError", "CheckpointWarning", "FitResult", "Recipe", "fit", "pretrain", "read_metrics"]
