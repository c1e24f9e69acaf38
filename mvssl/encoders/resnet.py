"""ResNets on a log-mel spectrogram: that of CLIP, and torchvision's."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.encoders.base import FrontendLike, MelEncoder, as_picture

EXPANSION = 4
Body = Literal["resnet18", "resnet34", "resnet50"]
BODIES: dict[str, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)
}  # fmt: skip
"""Blocks per stage of the torchvision bodies."""


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


class ResNet(MelEncoder):
    """ResNet with attention pooling, or mean and maximum, on a log-mel.

    By default the "ModifiedResNet" of CLIP (https://arxiv.org/abs/2103.00020), with a stem of three
    convolutions and average-pooled strides, as narrowed for audio by the 2024 comparison of multi-view
    methods (https://arxiv.org/abs/2404.09177). ``ResNet("resnet18")`` and its like have the body of
    torchvision's network of that name (https://arxiv.org/abs/1512.03385) behind a first convolution of one
    channel.

    Args:
        width: Channels after the stem, of which the four stages have 4, 8, 16 and 32 times as many; or the
            name of a torchvision body, ``"resnet18"``, ``"resnet34"`` or ``"resnet50"``.
        layers: Blocks per stage, (3, 4, 6, 3) unless told; a torchvision body has its own.
        embed_dim: Size of the embedding.
        pooling: ``"attention"``, or ``"mean_max"``, which learns faster from few steps.
        heads: Heads of the attention pooling.
        seconds: Nominal clip length, for which the positional embedding is laid out. With four stages any
            clip of at least 31 frames is accepted, by torchvision's bodies any at all.
        sample_rate: Sample rate of the audio in Hz.
        frontend: Name of a front end, or arguments of one besides the sample rate, see
            :func:`mvssl.frontends.create_frontend`.
        normalised: Subtract each bin's mean over the clip, and divide by the clip's standard deviation. What
            stays the same all through a recording, such as level and equaliser, is shared by all views of a
            track; it is then nothing that can be learned.

    Shape:
        Audio (batch, samples) or a log-mel (batch, bins, frames) → (batch, embed_dim).

    Raises:
        ValueError: If an argument is out of range, or a log-mel too small for the stages.
    """

    def __init__(
        self,
        width: int | Body = 16,
        layers: Sequence[int] | None = None,
        embed_dim: int = 1024,
        pooling: Literal["attention", "mean_max"] = "attention",
        heads: int = 8,
        seconds: float = 4.0,
        sample_rate: int = 16_000,
        frontend: FrontendLike = None,
        normalised: bool = False,
    ) -> None:
        layers = _checked(width, layers)
        super().__init__(
            sample_rate, seconds, frontend, normalised,
            width=width, layers=layers, embed_dim=embed_dim, pooling=pooling, heads=heads,
        )  # fmt: skip
        self.embed_dim = embed_dim
        self.rounds_up = isinstance(width, str)
        self.stem, self.stages = _torchvision(width) if isinstance(width, str) else _clip(width, layers)
        self.map_channels = tuple(_channels(stage) for stage in self.stages)
        self.map_strides = tuple((4 * 2**stage, 4 * 2**stage) for stage in range(len(layers)))
        self.min_frames = 1 if self.rounds_up else 2 ** (len(layers) + 1) - 1
        grid = self._grid(self.frontend.n_mels, self.nominal_frames())
        if pooling == "mean_max":
            self.pool = MeanMaxPool(self.map_channels[-1], embed_dim)
        elif pooling == "attention":
            self.pool = AttentionPool(grid, self.map_channels[-1], embed_dim, heads)
        else:
            raise ValueError(f"pooling={pooling!r}: use 'attention' or 'mean_max'")

    def maps(self, image: Tensor) -> Iterator[Tensor]:
        self._grid(image.shape[1], image.shape[2])
        x = self.stem(as_picture(image))
        for stage in self.stages:
            x = stage(x)
            yield x

    def _grid(self, bins: int, frames: int) -> tuple[int, int]:
        """Size of the last map: CLIP's stem rounds up when it halves, its poolings round down."""
        stages = len(self.stages)
        if self.rounds_up:
            return -(-bins // 2 ** (stages + 1)), -(-frames // 2 ** (stages + 1))
        grid = (-(-bins // 2) // 2**stages, -(-frames // 2) // 2**stages)
        if not min(grid):
            raise ValueError(
                f"a log-mel of {bins} bins × {frames} frames is too small for {stages} stages: at least "
                f"{self.min_frames} of each are needed"
            )
        return grid


def _checked(width: int | str, layers: Sequence[int] | None) -> list[int]:
    """Blocks per stage."""
    if isinstance(width, str):
        if width not in BODIES:
            raise ValueError(f"no torchvision body {width!r}: known are {', '.join(BODIES)}")
        if layers is not None and tuple(layers) != BODIES[width]:
            raise ValueError(f"{width} has layers={list(BODIES[width])}, not {list(layers)}: leave them out")
        return list(BODIES[width])
    layers = [3, 4, 6, 3] if layers is None else list(layers)
    if width < 2 or width % 2 or not layers or min(layers) < 1:
        raise ValueError(
            f"width={width}, layers={layers}: give an even width and at least one block per stage"
        )
    return layers


def _clip(width: int, layers: Sequence[int]) -> tuple[nn.Sequential, nn.Sequential]:
    """Stem and stages of CLIP's ResNet."""
    half = width // 2
    stem = nn.Sequential(
        nn.Conv2d(1, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(True),
        nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(True),
        nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
        nn.AvgPool2d(2),
    )  # fmt: skip
    stages = nn.Sequential()
    channels_in = width
    for stage, depth in enumerate(layers):
        channels = width * 2**stage
        blocks = nn.Sequential()
        for block in range(depth):
            blocks.append(Bottleneck(channels_in, channels, stride=2 if stage and not block else 1))
            channels_in = channels * EXPANSION
        stages.append(blocks)
    return stem, stages


def _torchvision(name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Stem and stages of one of torchvision's ResNets."""
    from torchvision.models import get_model

    body = get_model(name, weights=None)
    first = nn.Conv2d(1, body.conv1.out_channels, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    stem = nn.Sequential(first, body.bn1, body.relu, body.maxpool)
    return stem, nn.Sequential(body.layer1, body.layer2, body.layer3, body.layer4)


def _channels(stage: nn.Module) -> int:
    """Channels that come out of a stage."""
    return [layer.out_channels for layer in stage[-1].children() if isinstance(layer, nn.Conv2d)][-1]  # type: ignore[index]
