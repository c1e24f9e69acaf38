"""Embeddings that nothing was trained for, which every trained one has to beat."""

import torch
from torch import Tensor, nn

from mvssl.frontends import LogMel, Waveform


class TimeStatistics(nn.Module):
    """Mean, standard deviation and mean absolute difference over time, one after the other.

    Shape:
        (batch, bins, frames), two frames at least → (batch, 3 · bins).
    """

    def forward(self, spectrogram: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(spectrogram, dim=-1, correction=0)
        return torch.cat([mean, deviation, spectrogram.diff(dim=-1).abs().mean(dim=-1)], dim=-1)


def mel_statistics(frontend: nn.Module) -> nn.Sequential:
    """An encoder that is nothing but a front end and the statistics of its bins over time.

    Args:
        frontend: Turns audio (batch, samples) into a log-mel spectrogram (batch, bins, frames); that of an
            encoder of raw audio makes room for the default log-mel.

    Returns:
        A module from (batch, samples) to (batch, 3 · bins).
    """
    if isinstance(frontend, Waveform):
        frontend = LogMel(frontend.sample_rate)
    return nn.Sequential(frontend, TimeStatistics())
