"""Front ends: waveform → log spectrogram, on the device of the encoder that owns them."""

from mvssl.frontends.base import Frontend, Waveform
from mvssl.frontends.cqt import CQT
from mvssl.frontends.logmel import LogMel
from mvssl.frontends.presets import create_frontend, frontends

__all__ = ["CQT", "Frontend", "LogMel", "Waveform", "create_frontend", "frontends"]
