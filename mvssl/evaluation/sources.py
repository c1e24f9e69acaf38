"""What can be judged, by a name on the command line."""

from torch import nn

from mvssl.device import default_device
from mvssl.encoders import load_encoder
from mvssl.evaluation.adapters import load_transformers

TRANSFORMERS = "hf:"


def load_source(source: str) -> nn.Module:
    """An encoder by what stands on the command line, on the default device.

    Args:
        source: ``hf:`` and a folder, see :func:`mvssl.evaluation.adapters.load_transformers`, or what
            :func:`mvssl.load_encoder` takes.
    """
    if source.startswith(TRANSFORMERS):
        encoder: nn.Module = load_transformers(source.removeprefix(TRANSFORMERS))
    else:
        encoder = load_encoder(source)
    return encoder.to(default_device())
