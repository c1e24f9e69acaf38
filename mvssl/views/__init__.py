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
from mvssl.views.transforms import Filter, Gain, HighPass, LowPass, Noise, Polarity, Tilt, Transform

__all__ = [
    "Adjacent", "Crops", "Filter", "Gain", "Gap", "Group", "HighPass", "LowPass", "MultiCrop", "Noise",
    "NonOverlapping", "Polarity", "Same", "Stem", "Tilt", "Transform", "ViewChain", "chain", "chains",
    "create_sampler", "samplers",
]  # fmt: skip
