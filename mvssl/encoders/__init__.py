"""Encoders: (batch, samples) of audio → (batch, embed_dim), by class, by preset, and from disk."""

from mvssl.encoders.presets import create_encoder, encoders, load_encoder, save_encoder
from mvssl.encoders.resnet import ResNet

__all__ = ["ResNet", "create_encoder", "encoders", "load_encoder", "save_encoder"]
