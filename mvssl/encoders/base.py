"""The contract of an encoder."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mvssl.frontends import Frontend, Waveform, create_frontend
from mvssl.frontends.presets import describe_frontend

VARIANCE_FLOOR = 1e-4  # of a clip that hardly changes; it keeps silence at zero

FrontendLike = str | Mapping[str, Any] | None
"""A front end as encoders take it, see :func:`mvssl.frontends.create_frontend`."""


class Encoder(nn.Module, ABC):
    """Maps audio (batch, samples), or what its front end makes of it, to embeddings (batch, embed_dim).

    Attributes:
        embed_dim: Size of the embedding.
        sample_rate: Of the audio, in Hz.
        seconds: Nominal length of a clip. Others are accepted, from ``min_frames`` on.
        frontend: Makes of audio what the first layer sees.
        min_frames: Length of the shortest output of the front end that is accepted.
        config: Arguments that make the encoder again, the weights apart; in full, so that an encoder on disk
            does not depend on defaults.
    """

    embed_dim: int
    sample_rate: int
    seconds: float
    min_frames: int
    frontend: Frontend | Waveform
    config: dict[str, Any]

    @abstractmethod
    def forward(self, view: Tensor) -> Tensor:
        """Audio, or the front end's output → (batch, embed_dim)."""

    @abstractmethod
    def hidden_states(self, view: Tensor) -> tuple[Tensor, ...]:
        """What each stage makes of a view, over time: (batch, frames, dim), both of which may differ."""

    def frames(self, view: Tensor) -> Tensor:
        """The last of the hidden states, (batch, frames, dim), for tasks that are resolved in time."""
        return self.hidden_states(view)[-1]


class MelEncoder(Encoder):
    """An encoder that makes two-dimensional maps of a log-mel, stage by stage, and pools the last.

    A subclass sets ``map_channels``, ``map_strides`` and ``pool`` and writes :meth:`maps`. It then has what
    :class:`mvssl.pretext.dense.DenseEncoder` asks for.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        seconds: Nominal clip length.
        frontend: As :func:`mvssl.frontends.create_frontend` takes it.
        normalised: Whether log-mels pass a :class:`MeanVarianceNorm`.

    Attributes:
        normalise: Log-mel → the image that the first layer sees.
        pool: The last map → embedding.
        map_channels: Channels of the map of each stage.
        map_strides: Bins and frames of the log-mel per cell of each of these maps.
    """

    frontend: Frontend
    pool: nn.Module
    map_channels: tuple[int, ...]
    map_strides: tuple[tuple[int, int], ...]

    def __init__(
        self, sample_rate: int, seconds: float, frontend: FrontendLike, normalised: bool, **config: Any
    ) -> None:
        super().__init__()
        self.sample_rate, self.seconds = sample_rate, seconds
        self.frontend = create_frontend(frontend, sample_rate=sample_rate)
        self.normalise = MeanVarianceNorm() if normalised else nn.Identity()
        self.config = {
            **config, "seconds": seconds, "sample_rate": sample_rate,
            "frontend": describe_frontend(self.frontend), "normalised": normalised,
        }  # fmt: skip

    @abstractmethod
    def maps(self, image: Tensor) -> Iterator[Tensor]:
        """The map of each stage in turn, (batch, channels, rows, columns), of (batch, bins, frames)."""

    def forward(self, view: Tensor) -> Tensor:
        embedding: Tensor = self.pool(self.feature_map(self.image(view)))
        return embedding

    def hidden_states(self, view: Tensor) -> tuple[Tensor, ...]:
        return tuple(features.mean(2).transpose(1, 2) for features in self.maps(self.image(view)))

    def image(self, view: Tensor) -> Tensor:
        """Audio or log-mel → what the first layer sees."""
        image: Tensor = self.normalise(self.frontend(view) if view.ndim == 2 else view)
        return image

    def feature_map(self, image: Tensor, stage: int = -1) -> Tensor:
        """What a stage makes of a log-mel; the last stage's map is what ``pool`` takes.

        Args:
            image: Log-mel that has passed ``normalise``, (batch, bins, frames).
            stage: Index of the stage; those behind it are not computed.

        Returns:
            (batch, channels, bins / stride, frames / stride), see ``map_channels`` and ``map_strides``.
        """
        maps = self.maps(image)
        for _ in range(range(len(self.map_channels))[stage]):
            next(maps)
        return next(maps)

    def nominal_frames(self) -> int:
        """Frames of a clip of the nominal length."""
        return 1 + round(self.seconds * self.sample_rate) // self.frontend.hop_length


class MeanVarianceNorm(nn.Module):
    """Log-mel with zero mean in every bin and unit variance in all, clip by clip, as in speech recognition.

    A constant filter or gain adds a constant to each bin of a log-mel, and is gone without a trace. Bins keep
    their shares of the variance, so that a silent one is not blown up.
    """

    def forward(self, mel: Tensor) -> Tensor:
        centred = mel - mel.mean(2, keepdim=True)
        return centred * (centred.square().mean((1, 2), keepdim=True) + VARIANCE_FLOOR).rsqrt()


def as_picture(image: Tensor) -> Tensor:
    """(batch, bins, frames) → (batch, 1, bins, frames), laid out as convolutions are fastest."""
    return image.unsqueeze(1).to(memory_format=torch.channels_last)
