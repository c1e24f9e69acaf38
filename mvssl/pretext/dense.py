"""What dense pretexts need of an encoder, and a light decoder of its feature map."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseEncoder(Protocol):
    """An encoder in its parts: ``pool(feature_map(normalise(frontend(audio))))`` is its embedding.

    Every :class:`~mvssl.encoders.MelEncoder` is one. Log-mels and images are (batch, bins, frames).

    Attributes:
        embed_dim: Size of the embedding.
        frontend: Audio (batch, samples) → log-mel.
        normalise: Log-mel → the image that the first layer sees, of the same shape; clip by clip.
        pool: The last stage's feature map → embedding (batch, embed_dim).
        map_channels: Channels of the feature map of each stage.
        map_strides: Bins and frames of the image per cell of each of these maps.
    """

    embed_dim: int
    frontend: Callable[[Tensor], Tensor]
    normalise: Callable[[Tensor], Tensor]
    pool: Callable[[Tensor], Tensor]
    map_channels: tuple[int, ...]
    map_strides: tuple[tuple[int, int], ...]

    def feature_map(self, image: Tensor, stage: int = -1) -> Tensor:
        """Image → (batch, channels, bins / stride, frames / stride) of a stage, the last by default."""


DENSE = ("frontend", "normalise", "feature_map", "pool", "map_channels", "map_strides")
"""What a :class:`DenseEncoder` has besides ``embed_dim``, for ``Pretext.requires``."""


class VisibleEncoder(DenseEncoder, Protocol):
    """A :class:`DenseEncoder` that can leave patches out, as a :class:`~mvssl.encoders.ViT` can.

    Attributes:
        patch: Bins and frames of its patches.
    """

    patch: tuple[int, int]

    def encode_visible(self, image: Tensor, visible: Tensor) -> Tensor:
        """Image, (batch, patches) int64 indices of what is seen of it → (batch, patches, embed_dim)."""


class PatchDecoder(nn.Module):
    """Feature map and embedding → a prediction for every patch of the image.

    Each cell of the map, beside the embedding, makes by one linear layer as many smaller cells as patches
    lie in it; these are stretched to the grid of patches, and two convolutions follow. The embedding is
    there to be trained too: where the map alone would do, nothing would reach ``pool``.

    Args:
        encoder: Whose maps are decoded.
        patch: Bins and frames of a patch.
        hidden_dim: Channels inside.
        size: Length of a prediction.

    Raises:
        ValueError: If ``hidden_dim`` is not positive.
    """

    def __init__(self, encoder: DenseEncoder, patch: tuple[int, int], hidden_dim: int, size: int) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim={hidden_dim}: sizes must be all positive")
        cell = encoder.map_strides[-1]
        rows, columns = (max(1, stride // side) for stride, side in zip(cell, patch, strict=True))
        self.cells = (rows, columns)
        channels = encoder.map_channels[-1] + encoder.embed_dim
        self.expand = nn.Conv2d(channels, hidden_dim * rows * columns, 1)
        self.mix = nn.Sequential(
            nn.GELU(), nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1), nn.GELU(),
            nn.Conv2d(hidden_dim, size, 1),
        )  # fmt: skip

    def forward(self, features: Tensor, embeddings: Tensor, grid: tuple[int, int]) -> Tensor:
        """Predicts (batch, patches, size), row by row of the grid.

        Args:
            features: Last feature map of the encoder, (batch, channels, bins', frames').
            embeddings: (batch, embed_dim).
            grid: Rows and columns of patches.
        """
        everywhere = embeddings[:, :, None, None].expand(-1, -1, *features.shape[2:])
        x = self.expand(torch.cat([features, everywhere], 1))
        x = x.unflatten(1, (-1, *self.cells)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        x = F.interpolate(x, grid, mode="bilinear", align_corners=False)
        return self.mix(x).flatten(2).transpose(1, 2)
