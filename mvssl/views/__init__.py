"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain, chain, chains
from mvssl.views.samplers import Crops
from mvssl.views.transforms import (
    BandPass,
    Clip,
    Delay,
    Equalizer,
    Filter,
    FrequencyMask,
    FrequencyShift,
    FrequencyWarp,
    Gain,
    HighPass,
    LinearFader,
    LowPass,
    Mask,
    MelTransform,
    Mixup,
    Noise,
    OneOf,
    PatchMask,
    Polarity,
    RandomResizeCrop,
    Reverb,
    Saturate,
    Shift,
    SpanDropout,
    Tilt,
    TimeMask,
    Transform,
)

__all__ = [
    "BandPass", "Clip", "Crops", "Delay", "Equalizer", "Filter", "FrequencyMask", "FrequencyShift",
    "FrequencyWarp", "Gain", "HighPass", "LinearFader", "LowPass", "Mask", "MelTransform", "Mixup",
    "Noise", "OneOf", "PatchMask", "Polarity", "RandomResizeCrop", "Reverb", "Saturate", "Shift",
    "SpanDropout", "Tilt", "TimeMask", "Transform", "ViewChain", "chain", "chains",
]  # fmt: skip
