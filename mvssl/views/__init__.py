"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain, chain, chains
from mvssl.views.samplers import Crops
from mvssl.views.transforms import (
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
    PatchMask,
    Polarity,
    RandomResizeCrop,
    Tilt,
    TimeMask,
    Transform,
)

__all__ = [
    "Crops", "Filter", "FrequencyMask", "FrequencyShift", "FrequencyWarp", "Gain", "HighPass", "LinearFader",
    "LowPass", "Mask", "MelTransform", "Mixup", "Noise", "PatchMask", "Polarity", "RandomResizeCrop", "Tilt",
    "TimeMask", "Transform", "ViewChain", "chain", "chains",
]  # fmt: skip
