"""Batched transforms whose parameters are drawn per example, from continuous ranges, on any device."""

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.filters import Filter, Gain, HighPass, LowPass, Tilt
from mvssl.views.transforms.level import Polarity
from mvssl.views.transforms.noise import Noise

__all__ = [
    "Filter", "Gain", "HighPass", "LowPass", "Noise", "Params", "Polarity", "Range", "Tilt", "Transform",
]  # fmt: skip
