"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain, chain, chains
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
    PitchShift,
    Polarity,
    RandomResizeCrop,
    Speed,
    Tilt,
    TimeMask,
    TimeStretch,
    Transform,
)

__all__ = [
    "Adjacent", "Crops", "Filter", "FrequencyMask", "FrequencyShift", "FrequencyWarp", "Gain", "Gap", "Group",
    "HighPass", "LinearFader", "LowPass", "Mask", "MelTransform", "Mixup", "MultiCrop", "Noise",
    "NonOverlapping", "PatchMask", "PitchShift", "Polarity", "RandomResizeCrop", "Same", "Speed", "Stem",
    "Tilt", "TimeMask", "TimeStretch", "Transform", "ViewChain", "chain", "chains", "create_sampler",
    "samplers",
]  # fmt: skip
