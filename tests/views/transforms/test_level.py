import torch

from mvssl.views.transforms import Polarity


def test_polarity_flips_the_sign(noise):
    assert torch.equal(Polarity(p=1.0)(noise), -noise)
