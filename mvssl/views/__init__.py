"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain
from mvssl.views.named import chain, chains, register_chain
from mvssl.views.samplers import (
    Adjacent,
    Crops,
    Gap,
    Group,
    MultiCrop,
    NonOverlapping,
    Same,
    Stem,
    create_sampler,
    samplers,
)
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
    PitchShift,
    Polarity,
    RandomResizeCrop,
    Reverb,
    Saturate,
    Shift,
    SpanDropout,
    Speed,
    Tilt,
    TimeMask,
    TimeStretch,
    Transform,
)

__all__ = [
    "Adjacent", "BandPass", "Clip", "Crops", "Delay", "Equalizer", "Filter", "FrequencyMask",
    "FrequencyShift", "FrequencyWarp", "Gain", "Gap", "Group", "HighPass", "LinearFader", "LowPass",
    "Mask", "MelTransform", "Mixup", "MultiCrop", "Noise", "NonOverlapping", "OneOf", "PatchMask",
    "PitchShift", "Polarity", "RandomResizeCrop", "Reverb", "Same", "Saturate", "Shift", "SpanDropout",
    "Speed", "Stem", "Tilt", "TimeMask", "TimeStretch", "Transform", "ViewChain", "chain", "chains",
    "create_sampler", "register_chain", "samplers",
]  # fmt: skip
