"""Named encoders."""

from collections.abc import Callable
from typing import Any

from mvssl.encoders.base import Encoder
from mvssl.encoders.convnet5 import ConvNet5
from mvssl.encoders.resnet import Body, ResNet
from mvssl.encoders.samplecnn import SampleCNN
from mvssl.encoders.vit import ViT
from mvssl.encoders.wave_transformer import WaveTransformer
from mvssl.registry import Registry

encoders: Registry[Callable[..., Encoder]] = Registry("encoder")
"""Encoder presets: functions ``(**overrides) -> encoder``."""


def create_encoder(name: str, **overrides: Any) -> Encoder:
    """Creates an encoder from a preset, with random weights from torch's global generator.

    Args:
        name: One of ``encoders.names()``.
        **overrides: Arguments of the class that replace those of the preset.
    """
    encoder: Encoder = encoders.create(name, **overrides)
    return encoder


@encoders.register("tiny")
def _tiny(**overrides: Any) -> ResNet:
    """Learns on two CPU cores in minutes; the default of the embedded comparison."""
    frontend = {"n_fft": 1024, "hop_length": 512, "n_mels": 64}
    config: dict[str, Any] = {
        "width": 16, "layers": (1, 1, 1, 1), "embed_dim": 256, "pooling": "mean_max", "seconds": 2.0,
        "frontend": frontend, "normalised": True,
    }  # fmt: skip
    return ResNet(**{**config, **overrides})


@encoders.register("deezer2024", paper="arXiv:2404.09177")
def _deezer2024(**overrides: Any) -> ResNet:
    """The 2,800,392-parameter ResNet of the 2024 comparison, on its log-mel with eleven dead bins."""
    return ResNet(**{"seconds": 4.0, "frontend": "deezer2024", **overrides})


def _torchvision(body: Body, overrides: dict[str, Any]) -> ResNet:
    frontend = {"n_fft": 1024, "hop_length": 512, "n_mels": 128}
    config: dict[str, Any] = {
        "embed_dim": 512, "pooling": "mean_max", "seconds": 4.0, "frontend": frontend, "normalised": True
    }  # fmt: skip
    return ResNet(**{"width": body, **config, **overrides})


@encoders.register("resnet18", paper="arXiv:1512.03385")
def _resnet18(**overrides: Any) -> ResNet:
    """Torchvision's ResNet-18 on 128 mel bins."""
    return _torchvision("resnet18", overrides)


@encoders.register("resnet34", paper="arXiv:1512.03385")
def _resnet34(**overrides: Any) -> ResNet:
    """Torchvision's ResNet-34 on 128 mel bins."""
    return _torchvision("resnet34", overrides)


@encoders.register("resnet50", paper="arXiv:1512.03385")
def _resnet50(**overrides: Any) -> ResNet:
    """Torchvision's ResNet-50 on 128 mel bins."""
    return _torchvision("resnet50", overrides)


@encoders.register("samplecnn", paper="arXiv:2103.09410")
def _samplecnn(**overrides: Any) -> SampleCNN:
    """CLMR's network on 2.7 s of raw audio at 22,050 Hz; for chains that end in audio."""
    return SampleCNN(**overrides)


@encoders.register("convnet5", paper="arXiv:2207.04471")
def _convnet5(**overrides: Any) -> ConvNet5:
    """Five 5×5 convolutions on 96 mel bins, of the 2022 study of contrastive strategies."""
    return ConvNet5(**overrides)


@encoders.register("vit_tiny", paper="arXiv:2010.11929")
def _vit_tiny(**overrides: Any) -> ViT:
    """Six blocks on 60 patches of the log-mel of ``tiny``; learns on CPU cores."""
    frontend = {"n_fft": 1024, "hop_length": 512, "n_mels": 64}
    return ViT(**{"frontend": frontend, "normalised": True, **overrides})


@encoders.register("vit_small", paper="arXiv:2010.11929")
def _vit_small(**overrides: Any) -> ViT:
    """Twelve blocks, 384 wide, on 16 × 16 patches of 80 mel bins every 10 ms."""
    config: dict[str, Any] = {
        "embed_dim": 384, "depth": 12, "heads": 8, "patch": (16, 16), "seconds": 4.0, "normalised": True,
        "frontend": {"n_fft": 1024, "hop_length": 160, "n_mels": 80},
    }  # fmt: skip
    return ViT(**{**config, **overrides})


@encoders.register("wave_tiny", paper="arXiv:2006.11477")
def _wave_tiny(**overrides: Any) -> WaveTransformer:
    """Four layers, 128 wide, on frames of raw audio every 40 ms; learns on CPU cores."""
    config: dict[str, Any] = {
        # The first convolution is nearly all that counts on a CPU: it steps four times as far as published.
        "embed_dim": 128, "depth": 4, "head_dim": 32, "pooling": "mean", "seconds": 2.0, "norm_first": True,
        "convolutions": ((64, 40, 20), (64, 4, 4), (128, 4, 4), (128, 2, 2)), "position_frames": 16,
    }  # fmt: skip
    return WaveTransformer(**{**config, **overrides})


@encoders.register("wave_base", paper="arXiv:2106.07447")
def _wave_base(**overrides: Any) -> WaveTransformer:
    """The 95 M parameters of HuBERT base, on 5 s of raw audio, without dropout."""
    return WaveTransformer(**overrides)


@encoders.register("music2vec", paper="arXiv:2307.05161")
def _music2vec(**overrides: Any) -> WaveTransformer:
    """The 93 M parameters of data2vec base, as music2vec trains it, with its dropout."""
    return WaveTransformer(**{"positions": "data2vec", "dropout": 0.1, "layer_drop": 0.05, **overrides})
