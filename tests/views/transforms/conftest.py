import pytest
import torch
from drawn import RATE

from mvssl.frontends import LogMel


@pytest.fixture(scope="module")
def frontend():
    return LogMel(RATE, n_fft=1024, hop_length=320, n_mels=40)


@pytest.fixture(scope="module")
def noise():
    """Six clips of white noise, (6, 16 000)."""
    return 0.1 * torch.randn(6, RATE, generator=torch.Generator().manual_seed(0))
