"""Training a pretext, in a few lines or as a run that can be killed and resumed."""

from mvssl.training.fit import FitResult, Recipe, fit, pretrain
from mvssl.training.log import read_metrics

__all__ = ["FitResult", "Recipe", "fit", "pretrain", "read_metrics"]
