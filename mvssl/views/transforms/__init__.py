"""Batched transforms whose parameters are drawn per example, from continuous ranges, on any device."""

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.choice import OneOf
from mvssl.views.transforms.echo import Delay, Reverb
from mvssl.views.transforms.filters import BandPass, Equalizer, Filter, Gain, HighPass, LowPass, Tilt
from mvssl.views.transforms.level import Clip, Polarity, Saturate, Shift, SpanDropout
from mvssl.views.transforms.noise import Noise

__all__ = [
    "BandPass", "Clip", "Delay", "Equalizer", "Filter", "Gain", "HighPass", "LowPass", "Noise", "OneOf",
    "Params", "Polarity", "Range", "Reverb", "Saturate", "Shift", "SpanDropout", "Tilt", "Transform",
]  # fmt: skip
