"""Pretexts: what trains an encoder without labels."""

from mvssl.pretext.base import (
    Pretext,
    PretextOutput,
    create_pretext,
    forward_views,
    list_pretexts,
    pretexts,
    register_pretext,
)
from mvssl.pretext.byol import BYOL
from mvssl.pretext.simclr import SimCLR
from mvssl.pretext.vicreg import VICReg

__all__ = [
    "BYOL", "Pretext", "PretextOutput", "SimCLR", "VICReg", "create_pretext", "forward_views",
    "list_pretexts", "pretexts", "register_pretext",
]  # fmt: skip
