"""The CLIP-style ResNet on a log-mel spectrogram."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.frontends import LogMel

EXPANSION = 4
VARIANCE_FLOOR = 1e-4  # of a clip that hardly changes; it keeps silence at zero


class MeanVarianceNorm(nn.Module):
    """Log-mel with zero mean in every bin and unit variance in all, clip by clip, as in speech recognition.

    A constant filter or gain adds a constant to each bin of a log-mel, and is gone without a trace. Bins keep
    their shares of the variance, so that a silent one is not blown up.
    """

    def forward(self, mel: Tensor) -> Tensor:
        centred = mel - mel.mean(2, keepdim=True)
        return centred * (centred.square().mean((1, 2), keepdim=True) + VARIANCE_FLOOR).rsqrt()


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a shortcut; strides are average pooling, which aliases less."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = channels * EXPANSION
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            convolution = nn.Conv2d(channels_in, channels_out, 1, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(self.pool(residual)))
        shortcut = x if isinstance(self.downsample, nn.Identity) else self.downsample(self.pool(x))
        return F.relu(residual + shortcut, inplace=True)


class AttentionPool(nn.Module):
    """Attention whose single query is the mean of a feature map (CLIP, Radford et al. 2021, §2.4).

    The learned positional embedding is laid out on the feature map of the nominal clip length and
    interpolated for others.

    Args:
        grid: (frequency, time) size of the nominal feature map.
        channels: Channels of the feature map.
        embed_dim: Size of the output.
        heads: Attention heads; must divide ``channels``.
    """

    def __init__(self, grid: tuple[int, int], channels: int, embed_dim: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads={heads} must divide the {channels} channels of the last stage")
        self.grid, self.heads = grid, heads
        tokens = grid[0] * grid[1] + 1
        self.positional_embedding = nn.Parameter(torch.randn(tokens, channels) / channels**0.5)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Positional embedding (1 + tokens, channels) for a feature map of size ``grid``."""
        if grid == self.grid:
            return self.positional_embedding
        mean, rest = self.positional_embedding.split([1, self.grid[0] * self.grid[1]])
        image = rest.T.reshape(1, -1, *self.grid)
        image = F.interpolate(image, grid, mode="bilinear", align_corners=False)
        return torch.cat([mean, image.flatten(2)[0].T])

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2], x.shape[3])
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.positions(grid)
        query, key, value = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        split = [t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (query, key, value)]
        return self.c_proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(1))


class MeanMaxPool(nn.Module):
    """Mean over frequency, then mean and maximum over time, then a linear layer."""

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * channels, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.mean(2)
        return self.proj(torch.cat([sequence.mean(2), sequence.amax(2)], 1))


class ResNet(nn.Module):
    """ResNet with three-convolution stem, average-pooled strides and attention pooling, on a log-mel.

    The "ModifiedResNet" of CLIP (https://arxiv.org/abs/2103.00020), as narrowed for audio by the 2024
    comparison of multi-view methods (https://arxiv.org/abs/2404.09177).

    Args:
        width: Channels after the stem; the four stages have 4, 8, 16 and 32 times as many.
        layers: Blocks per stage.
        embed_dim: Size of the embedding.
        pooling: ``"attention"``, or ``"mean_max"``, which learns faster from few steps.
        heads: Heads of the attention pooling.
        seconds: Nominal clip length, for which the positional embedding is laid out. With four stages any
            clip of at least 31 frames is accepted.
        sample_rate: Sample rate of the audio in Hz.
        frontend: Arguments of :class:`~mvssl.frontends.LogMel` besides the sample rate.
        normalised: Subtract each bin's mean over the clip, and divide by the clip's standard deviation. What
            stays the same all through a recording, such as level and equaliser, is shared by all views of a
            track; it is then nothing that can be learned.

    Shape:
        Audio (batch, samples) or a log-mel (batch, bins, frames) → (batch, embed_dim).

    Attributes:
        map_channels: Channels of the feature map of each stage.
        map_strides: Bins, and frames, of the log-mel per cell of each of these maps.
        min_frames: Length of the shortest log-mel that is accepted.

    Raises:
        ValueError: If an argument is out of range, or a log-mel too small for the stages.
    """

    def __init__(
        self,
        width: int = 16,
        layers: Sequence[int] = (3, 4, 6, 3),
        embed_dim: int = 1024,
        pooling: Literal["attention", "mean_max"] = "attention",
        heads: int = 8,
        seconds: float = 4.0,
        sample_rate: int = 16_000,
        frontend: dict[str, Any] | None = None,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        if width < 2 or width % 2 or not layers or min(layers) < 1:
            raise ValueError(
                f"width={width}, layers={list(layers)}: give an even width and at least one block per stage"
            )
        self.embed_dim, self.sample_rate, self.seconds = embed_dim, sample_rate, seconds
        self.frontend = LogMel(sample_rate=sample_rate, **(frontend or {}))
        # In full, so that an encoder on disk does not depend on defaults.
        heard = {name: value for name, value in self.frontend.config.items() if name != "sample_rate"}
        self.config = {
            "width": width, "layers": list(layers), "embed_dim": embed_dim, "pooling": pooling,
            "heads": heads, "seconds": seconds, "sample_rate": sample_rate, "frontend": heard,
            "normalised": normalised,
        }  # fmt: skip
        self.normalise = MeanVarianceNorm() if normalised else nn.Identity()
        half = width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(1, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(True),
            nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(True),
            nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            nn.AvgPool2d(2),
        )  # fmt: skip
        self.stages = nn.Sequential()
        channels_in = width
        for stage, depth in enumerate(layers):
            channels = width * 2**stage
            blocks = nn.Sequential()
            for block in range(depth):
                blocks.append(Bottleneck(channels_in, channels, stride=2 if stage and not block else 1))
                channels_in = channels * EXPANSION
            self.stages.append(blocks)
        self.map_channels = tuple(width * 2**stage * EXPANSION for stage in range(len(layers)))
        self.map_strides = tuple(4 * 2**stage for stage in range(len(layers)))
        self.min_frames = 2 ** (len(layers) + 1) - 1
        grid = self._grid(self.frontend.n_mels, 1 + round(seconds * sample_rate) // self.frontend.hop_length)
        self.pool: nn.Module
        if pooling == "mean_max":
            self.pool = MeanMaxPool(channels_in, embed_dim)
        elif pooling == "attention":
            self.pool = AttentionPool(grid, channels_in, embed_dim, heads)
        else:
            raise ValueError(f"pooling={pooling!r}: use 'attention' or 'mean_max'")

    def forward(self, view: Tensor) -> Tensor:
        mel = self.frontend(view) if view.ndim == 2 else view
        return self.pool(self.feature_map(self.normalise(mel)))

    def feature_map(self, image: Tensor, stage: int = -1) -> Tensor:
        """What a stage makes of a log-mel; the last stage's map is what ``pool`` takes.

        Args:
            image: Log-mel that has passed ``normalise``, (batch, bins, frames).
            stage: Index of the stage; those behind it are not computed.

        Returns:
            (batch, channels, bins / stride, frames / stride), see ``map_channels`` and ``map_strides``.
        """
        self._grid(image.shape[1], image.shape[2])
        x = self.stem(image.unsqueeze(1).to(memory_format=torch.channels_last))
        for number in range(range(len(self.stages))[stage] + 1):
            x = self.stages[number](x)
        return x

    def _grid(self, bins: int, frames: int) -> tuple[int, int]:
        """Size of the feature map: halved, rounding up, by the stem, then rounding down by every pooling."""
        stages = len(self.stages)
        grid = (-(-bins // 2) // 2**stages, -(-frames // 2) // 2**stages)
        if not min(grid):
            raise ValueError(
                f"a log-mel of {bins} bins × {frames} frames is too small for {stages} stages: at least "
                f"{self.min_frames} of each are needed"
            )
        return grid
