import torch

from mvssl.encoders.base import MeanVarianceNorm


def test_mean_variance_norm_equals_its_definition():
    mel = torch.randn(3, 4, 50) * torch.tensor([1.0, 2.0, 3.0, 0.0])[:, None] + 5
    out = MeanVarianceNorm()(mel)
    for clip, normal in zip(mel.double(), out, strict=True):
        rows = torch.stack([row - row.sum() / 50 for row in clip])
        expected = rows / ((rows**2).sum() / (4 * 50)) ** 0.5
        torch.testing.assert_close(normal.double(), expected, atol=1e-4, rtol=1e-3)
    assert not out[:, 3].any()
