"""Batched transforms whose parameters are drawn per example, from continuous ranges, on any device."""

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.choice import OneOf
from mvssl.views.transforms.echo import Delay, Reverb
from mvssl.views.transforms.filters import BandPass, Equalizer, Filter, Gain, HighPass, LowPass, Tilt
from mvssl.views.transforms.level import Clip, Polarity, Saturate, Shift, SpanDropout
from mvssl.views.transforms.masking import FrequencyMask, Mask, PatchMask, TimeMask
from mvssl.views.transforms.mel import LinearFader, MelTransform, Mixup, RandomResizeCrop
from mvssl.views.transforms.noise import Noise
from mvssl.views.transforms.pitch import PitchShift, Speed, TimeStretch
from mvssl.views.transforms.warping import FrequencyShift, FrequencyWarp

__all__ = [
    "BandPass", "Clip", "Delay", "Equalizer", "Filter", "FrequencyMask", "FrequencyShift",
    "FrequencyWarp", "Gain", "HighPass", "LinearFader", "LowPass", "Mask", "MelTransform", "Mixup",
    "Noise", "OneOf", "Params", "PatchMask", "PitchShift", "Polarity", "RandomResizeCrop", "Range",
    "Reverb", "Saturate", "Shift", "SpanDropout", "Speed", "Tilt", "TimeMask", "TimeStretch", "Transform",
]  # fmt: skip
