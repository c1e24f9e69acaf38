"""Views: where crops come from and what is done to them before an encoder sees them."""

from mvssl.views.chain import ViewChain, chain, chains
from mvssl.views.samplers import Crops
from mvssl.views.transforms import (
    BandPass,
    Clip,
    Delay,
    Equalizer,
    Filter,
    Gain,
    HighPass,
    LowPass,
    Noise,
    OneOf,
    Polarity,
    Reverb,
    Saturate,
    Shift,
    SpanDropout,
    Tilt,
    Transform,
)

__all__ = [
    "BandPass", "Clip", "Crops", "Delay", "Equalizer", "Filter", "Gain", "HighPass", "LowPass", "Noise",
    "OneOf", "Polarity", "Reverb", "Saturate", "Shift", "SpanDropout", "Tilt", "Transform", "ViewChain",
    "chain", "chains",
]  # fmt: skip
