"""The five-layer network of the 2022 study of contrastive strategies."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mvssl.encoders.base import FrontendLike, MelEncoder, as_picture

POOLS = ((2, 2), (2, 2), (2, 2), (4, 4), (3, 5))  # bins and frames per cell: one cell of 96 bins × 3 s


class ConvNet5(MelEncoder):
    """Five convolutions of 5×5, each followed by batch norm, ReLU and max pooling, and a linear layer.

    The network of the 2022 study of contrastive strategies (https://arxiv.org/abs/2207.04471). Its 96 mel
    bins and 3 s become one cell; of longer clips the mean over cells is taken.

    The study's multi-level variant has a linear layer behind every convolution, on the maximum over time of
    its channels and bins, and a loss on each. Here :meth:`levels` gives these embeddings, and the encoder's
    embedding is all of them, one behind the other, as the study's are in its downstream tasks. (The last
    convolution of its variant has as many channels as the embedding is long, here as many as without levels.)

    Args:
        channels: Of the five convolutions.
        embed_dim: Size of the embedding, or with ``multi_level`` of that of each level.
        multi_level: Whether every convolution has an embedding of its own.
        seconds: Nominal clip length.
        sample_rate: Sample rate of the audio in Hz.
        frontend: As in :class:`~mvssl.encoders.ResNet`; the study's unless told.
        normalised: As in ResNet.

    Shape:
        Audio (batch, samples) or a log-mel (batch, bins, frames) → (batch, embed_dim), or with
        ``multi_level`` (batch, 5 · embed_dim).

    Raises:
        ValueError: If there are not five channels, or a log-mel is too small for the poolings.
    """

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 256, 512, 512),
        embed_dim: int = 128,
        multi_level: bool = False,
        seconds: float = 3.0,
        sample_rate: int = 16_000,
        frontend: FrontendLike = "choi2022",
        normalised: bool = False,
    ) -> None:
        if len(channels) != len(POOLS) or min(*channels, embed_dim) < 1:
            raise ValueError(
                f"channels={list(channels)}, embed_dim={embed_dim}: give {len(POOLS)} channels, all positive"
            )
        super().__init__(
            sample_rate, seconds, frontend, normalised,
            channels=list(channels), embed_dim=embed_dim, multi_level=multi_level,
        )  # fmt: skip
        self.map_channels = tuple(channels)
        strides = torch.tensor(POOLS).cumprod(0).tolist()
        self.map_strides = tuple((rows, columns) for rows, columns in strides)
        self.min_bins, self.min_frames = self.map_strides[-1]
        self._check(self.frontend.n_mels, self.nominal_frames())
        self.layers = nn.Sequential()
        for before, after, pool in zip([1, *channels], channels, POOLS, strict=False):
            convolution = nn.Conv2d(before, after, 5, padding=2)
            nn.init.kaiming_uniform_(convolution.weight)
            layer = nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(True), nn.MaxPool2d(pool))
            self.layers.append(layer)
        self.multi_level = multi_level
        if multi_level:
            bins = self.frontend.n_mels
            sizes = [
                many * (bins // rows) for many, (rows, _) in zip(channels, self.map_strides, strict=True)
            ]
            self.heads = nn.ModuleList(nn.Linear(size, embed_dim) for size in sizes)
            self.embed_dim = len(sizes) * embed_dim
        else:
            mean = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.pool = nn.Sequential(*mean, nn.Linear(channels[-1], embed_dim))
            self.embed_dim = embed_dim

    def forward(self, view: Tensor) -> Tensor:
        return torch.cat(self.levels(view), 1) if self.multi_level else super().forward(view)

    def levels(self, view: Tensor) -> tuple[Tensor, ...]:
        """An embedding for each convolution, (batch, embed_dim of ``config``).

        Raises:
            ValueError: If the encoder was made without ``multi_level``.
        """
        if not self.multi_level:
            raise ValueError("this ConvNet5 has one embedding: make it with multi_level=True")
        maps = self.maps(self.image(view))
        return tuple(
            head(features.amax(3).flatten(1)) for head, features in zip(self.heads, maps, strict=True)
        )

    def maps(self, image: Tensor) -> Iterator[Tensor]:
        self._check(image.shape[1], image.shape[2])
        x = as_picture(image)
        for layer in self.layers:
            x = layer(x)
            yield x

    def _check(self, bins: int, frames: int) -> None:
        if bins < self.min_bins or frames < self.min_frames:
            raise ValueError(
                f"a log-mel of {bins} bins × {frames} frames is too small for ConvNet5: at least "
                f"{self.min_bins} × {self.min_frames} are needed"
            )
