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
    "Adjacent", "Crops", "Filter", "FrequencyMask", "FrequencyShift", "FrequencyWarp", "Gain", "Gap", "Group",
    "HighPass", "LinearFader", "LowPass", "Mask", "MelTransform", "Mixup", "MultiCrop", "Noise",
    "NonOverlapping", "PatchMask", "Polarity", "RandomResizeCrop", "Same", "Stem", "Tilt", "TimeMask",
    "Transform", "ViewChain", "chain", "chains", "create_sampler", "register_chain",
    "samplers",
]  # fmt: skip
