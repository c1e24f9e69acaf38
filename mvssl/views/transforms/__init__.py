"""Batched transforms whose parameters are drawn per example, from continuous ranges, on any device."""

from mvssl.views.transforms.base import Params, Range, Transform
from mvssl.views.transforms.filters import Filter, Gain, HighPass, LowPass, Tilt
from mvssl.views.transforms.level import Polarity
from mvssl.views.transforms.masking import FrequencyMask, Mask, PatchMask, TimeMask
from mvssl.views.transforms.mel import LinearFader, MelTransform, Mixup, RandomResizeCrop
from mvssl.views.transforms.noise import Noise
from mvssl.views.transforms.pitch import PitchShift, Speed, TimeStretch
from mvssl.views.transforms.warping import FrequencyShift, FrequencyWarp

__all__ = [
    "Filter", "FrequencyMask", "FrequencyShift", "FrequencyWarp", "Gain", "HighPass", "LinearFader",
    "LowPass", "Mask", "MelTransform", "Mixup", "Noise", "Params", "PatchMask", "PitchShift", "Polarity",
    "RandomResizeCrop", "Range", "Speed", "Tilt", "TimeMask", "TimeStretch", "Transform",
]  # fmt: skip
