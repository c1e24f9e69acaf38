"""What can be judged, by a name on the command line."""

from torch import nn

from mvssl.encoders import load_encoder
from mvssl.evaluation.adapters import load_transformers

TRANSFORMERS = "hf:"


def load_source(source: str) -> nn.Module:
    """An encoder by what stands on the command line.

    Args:
        source: ``hf:`` and a folder, see :func:`mvssl.evaluation.adapters.load_transformers`, or what
            :func:`mvssl.load_encoder` takes.
    """
    if source.startswith(TRANSFORMERS):
        return load_transformers(source.removeprefix(TRANSFORMERS))
    return load_encoder(source)
