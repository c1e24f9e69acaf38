"""Vision transformers on patches of a log-mel."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvssl.encoders.base import FrontendLike, MelEncoder, as_picture


class ViT(MelEncoder):
    """Transformer on rectangular patches of a log-mel; the embedding is the mean of its tokens.

    A vision transformer (https://arxiv.org/abs/2010.11929) without a class token, normalised before each
    part of a block. The learned positions are laid out on the grid of the nominal clip and interpolated for
    others. What is left of a log-mel beyond the last whole patch is cut off.

    Args:
        embed_dim: Size of the tokens, and of the embedding.
        depth: Number of blocks.
        heads: Attention heads; must divide ``embed_dim``.
        patch: Bins and frames of a patch.
        seconds: Nominal clip length.
        sample_rate: Sample rate of the audio in Hz.
        frontend: As in :class:`~mvssl.encoders.ResNet`.
        normalised: As in ResNet.

    Shape:
        Audio (batch, samples) or a log-mel (batch, bins, frames) → (batch, embed_dim).

    Raises:
        ValueError: If an argument is out of range, or a log-mel smaller than a patch.
    """

    def __init__(
        self,
        embed_dim: int = 192,
        depth: int = 6,
        heads: int = 4,
        patch: tuple[int, int] = (16, 4),
        seconds: float = 2.0,
        sample_rate: int = 16_000,
        frontend: FrontendLike = None,
        normalised: bool = False,
    ) -> None:
        if min(embed_dim, depth, heads, *patch) < 1 or embed_dim % heads:
            raise ValueError(
                f"embed_dim={embed_dim}, depth={depth}, heads={heads}, patch={tuple(patch)}: all must be "
                "positive, and heads divide embed_dim"
            )
        super().__init__(
            sample_rate, seconds, frontend, normalised,
            embed_dim=embed_dim, depth=depth, heads=heads, patch=list(patch),
        )  # fmt: skip
        self.embed_dim, self.patch = embed_dim, (patch[0], patch[1])
        self.map_channels = (embed_dim,) * depth
        self.map_strides = (self.patch,) * depth
        self.min_frames = self.patch[1]
        grid = self._grid(self.frontend.n_mels, self.nominal_frames())
        self.embed = nn.Conv2d(1, embed_dim, self.patch, stride=self.patch)
        self.positions = nn.Parameter(0.02 * torch.randn(embed_dim, *grid))
        self.blocks = nn.ModuleList(transformer_block(embed_dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def maps(self, image: Tensor) -> Iterator[Tensor]:
        grid = self._grid(image.shape[1], image.shape[2])
        for tokens in self._pass(self._tokens(image)):
            yield tokens.transpose(1, 2).unflatten(2, grid)

    def encode_visible(self, image: Tensor, visible: Tensor) -> Tensor:
        """Encodes some patches as if there were no others, as masked autoencoders do (arXiv:2111.06377).

        Args:
            image: Log-mel that has passed ``normalise``, (batch, bins, frames).
            visible: (batch, patches) int64 indices of patches, counted row by row of the grid.

        Returns:
            (batch, patches, embed_dim), in the order of ``visible``.
        """
        chosen = visible.unsqueeze(2).expand(-1, -1, self.embed_dim)
        *_, tokens = self._pass(self._tokens(image).gather(1, chosen))
        return tokens

    def _tokens(self, image: Tensor) -> Tensor:
        """Patches with their positions, (batch, patches, embed_dim)."""
        patches = self.embed(as_picture(image))
        positions = interpolated(self.positions, (patches.shape[2], patches.shape[3]))
        return (patches + positions).flatten(2).transpose(1, 2)

    def _pass(self, tokens: Tensor) -> Iterator[Tensor]:
        for place, block in enumerate(self.blocks, 1):
            tokens = block(tokens)
            yield self.norm(tokens) if place == len(self.blocks) else tokens

    def _grid(self, bins: int, frames: int) -> tuple[int, int]:
        grid = (bins // self.patch[0], frames // self.patch[1])
        if not min(grid):
            raise ValueError(
                f"a log-mel of {bins} bins × {frames} frames is smaller than a patch of "
                f"{self.patch[0]} × {self.patch[1]}"
            )
        return grid


def transformer_block(width: int, heads: int) -> nn.TransformerEncoderLayer:
    """Attention and a layer four times as wide, each behind a layer norm and beside a shortcut."""
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def interpolated(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positional embedding (channels, rows, columns) on a grid of another size."""
    if positions.shape[1:] == grid:
        return positions
    return F.interpolate(positions.unsqueeze(0), grid, mode="bilinear", align_corners=False)[0]
