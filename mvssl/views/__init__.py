"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain, chain, chains
from mvssl.views.samplers import Crops
from mvssl.views.transforms import Filter, Gain, HighPass, LowPass, Noise, Polarity, Tilt, Transform

__all__ = [
    "Crops", "Filter", "Gain", "HighPass", "LowPass", "Noise", "Polarity", "Tilt", "Transform", "ViewChain",
    "chain", "chains",
]  # fmt: skip
