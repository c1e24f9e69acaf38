"""What can be judged, by a name on the command line."""

from torch import nn

from mvssl.encoders import load_encoder


def load_source(source: str) -> nn.Module:
    """The encoder of a run folder or checkpoint, see :func:`mvssl.load_encoder`."""
    return load_encoder(source)
