"""Transformers on frames of raw audio, as in wav2vec 2.0 and its kin."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mvssl.encoders.base import Encoder
from mvssl.frontends import Waveform

Positions = Literal["hubert", "data2vec"]
Pooling = Literal["last", "mean"]

CONVOLUTIONS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
"""Channels, kernel and stride of each convolution in wav2vec 2.0: a frame of 25 ms every 20 ms at 16 kHz."""

_REACH = {"hubert": 128, "data2vec": 19}  # frames that a convolution for positions takes in
_GROUPS = 16  # of the convolutions that tell positions, at most
_WIDENING = 4  # of the feed-forward part of a layer


class WaveTransformer(Encoder):
    """Convolutions cut raw audio into frames, and a transformer relates them to each other.

    The network of wav2vec 2.0 (https://arxiv.org/abs/2006.11477, §2), HuBERT and data2vec. As in "base", a
    layer norm stands behind each part of a layer, and a group norm per channel behind the first convolution;
    its statistics are those of a whole clip, so that a padded clip is another one: give crops of one length.
    ``norm_first`` makes it "large": a layer norm before each part of a layer and one behind the last layer,
    and one behind each convolution, which learns sooner. Positions come from a convolution over neighbouring
    frames.

    Args:
        embed_dim: Width of the transformer, and size of the embedding.
        depth: Number of transformer layers.
        head_dim: Width of an attention head; a transformer that is narrower has one head.
        convolutions: Channels, kernel and stride of each convolution of the front end.
        positions: ``"hubert"``, one convolution over 128 frames; ``"data2vec"``, five over 19.
        position_frames: Other frames for them to reach over. Where they reach over much of a clip, its ends
            tell every frame its place.
        pooling: The embedding is the mean over time, of the ``"last"`` layer, or the ``"mean"`` of all
            hidden states.
        normalised: Whether each clip gets zero mean and unit variance first.
        norm_first: Norms as in "large" and not as in "base".
        dropout: Behind each part of the transformer, and in attention.
        layer_drop: How often a layer is left out in training. The hidden states are as many all the same.
        checkpointing: Keep no activations inside layers for the backward pass, but compute them again.
        seconds: Nominal clip length.
        sample_rate: Sample rate of the audio in Hz.

    Attributes:
        stride: Samples from a frame to the next.
        first_state_is_input: The first hidden state is what the first layer takes.

    Shape:
        Audio (batch, samples) → (batch, embed_dim). Hidden states are ``depth`` + 1, each (batch, frames,
        embed_dim), the first of them what the first layer takes.

    Raises:
        ValueError: If an argument is out of range; in use, if a view is no audio, or shorter than a frame.
    """

    first_state_is_input = True

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        head_dim: int = 64,
        convolutions: Sequence[Sequence[int]] = CONVOLUTIONS,
        positions: Positions = "hubert",
        position_frames: int | None = None,
        pooling: Pooling = "last",
        normalised: bool = True,
        norm_first: bool = False,
        dropout: float = 0.0,
        layer_drop: float = 0.0,
        checkpointing: bool = False,
        seconds: float = 5.0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        heads = max(1, embed_dim // max(1, head_dim))
        reach = _REACH.get(positions, 1) if position_frames is None else position_frames
        sizes = [embed_dim, depth, head_dim, reach, sample_rate]
        sizes += [size for layer in convolutions for size in layer]
        if min(sizes) < 1 or not convolutions or embed_dim % heads:
            raise ValueError(
                f"embed_dim={embed_dim}, depth={depth}, head_dim={head_dim}, convolutions="
                f"{[list(layer) for layer in convolutions]}, position_frames={position_frames}, sample_rate="
                f"{sample_rate}: all must be positive, and heads divide embed_dim"
            )
        if positions not in ("hubert", "data2vec") or pooling not in ("last", "mean"):
            raise ValueError(
                f"positions={positions!r}, pooling={pooling!r}: use 'hubert' or 'data2vec', 'last' or 'mean'"
            )
        if not (0 <= dropout < 1 and 0 <= layer_drop < 1):
            raise ValueError(f"dropout={dropout}, layer_drop={layer_drop} must lie in [0, 1)")
        self.config = {
            "embed_dim": embed_dim, "depth": depth, "head_dim": head_dim,
            "convolutions": [list(layer) for layer in convolutions], "positions": positions,
            "position_frames": position_frames, "pooling": pooling, "normalised": normalised,
            "norm_first": norm_first, "dropout": dropout, "layer_drop": layer_drop,
            "checkpointing": checkpointing, "seconds": seconds, "sample_rate": sample_rate,
        }  # fmt: skip
        self.embed_dim, self.sample_rate, self.seconds = embed_dim, sample_rate, seconds
        self.pooling, self.normalised = pooling, normalised
        self.layer_drop, self.checkpointing = layer_drop, checkpointing
        self.frontend = Waveform(sample_rate)
        self.stride = math.prod(stride for _, _, stride in convolutions)
        self.min_frames = _receptive_field(convolutions)
        before = [1, *(channels for channels, _, _ in convolutions)]
        self.feature_extractor = nn.Sequential(
            *(
                _Convolution(inside, sizes, "layer" if norm_first else "none" if place else "group")
                for place, (inside, sizes) in enumerate(zip(before, convolutions, strict=False))
            )
        )
        self.projection = nn.Sequential(
            nn.LayerNorm(before[-1]), nn.Linear(before[-1], embed_dim), nn.Dropout(dropout)
        )
        self.positions = _positions(positions, embed_dim, reach)
        # Before the first layer, and behind the last.
        norms: list[nn.Module] = [nn.LayerNorm(embed_dim), nn.Identity()]
        first, self.end = norms[::-1] if norm_first else norms
        self.norm = nn.Sequential(first, nn.Dropout(dropout))
        self.layers = nn.ModuleList(WaveLayer(embed_dim, heads, dropout, norm_first) for _ in range(depth))
        for module in self.modules():
            _initialise(module, embed_dim)

    def forward(self, view: Tensor) -> Tensor:
        return self.pool(self.hidden_states(view))

    def hidden_states(self, view: Tensor) -> tuple[Tensor, ...]:
        return self.contextualise(self.project(self.features(view)))

    def features(self, view: Tensor) -> Tensor:
        """Audio (batch, samples) → what the convolutions make of it, (batch, frames, channels)."""
        if view.ndim != 2 or view.shape[1] < self.min_frames:
            raise ValueError(
                f"WaveTransformer takes audio (batch, samples) of at least {self.min_frames} samples, got "
                f"shape {tuple(view.shape)}"
            )
        audio = F.layer_norm(view, [view.shape[1]]) if self.normalised else view
        convolved: Tensor = self.feature_extractor(audio.unsqueeze(1))
        return convolved.transpose(1, 2)

    def project(self, features: Tensor) -> Tensor:
        """What the convolutions made → (batch, frames, embed_dim), where frames may be masked."""
        projected: Tensor = self.projection(features)
        return projected

    def place(self, projected: Tensor) -> Tensor:
        """Adds positions to projected frames."""
        placed: Tensor = projected + self.positions(projected.transpose(1, 2)).transpose(1, 2)
        return placed

    def contextualise(self, projected: Tensor) -> tuple[Tensor, ...]:
        """Projected frames → hidden states, ``depth`` + 1 of them."""
        states = [self.norm(self.place(projected))]
        for layer in self.layers:
            states.append(self._through(layer, states[-1]))
        return (*states[:-1], self.end(states[-1]))

    def pool(self, states: Sequence[Tensor]) -> Tensor:
        """Hidden states → the embedding."""
        if self.pooling == "last":
            return states[-1].mean(1)
        return torch.stack([state.mean(1) for state in states]).mean(0)

    def _through(self, layer: nn.Module, x: Tensor) -> Tensor:
        training = self.training and torch.is_grad_enabled()
        made, _ = checkpoint(layer, x, use_reentrant=False) if self.checkpointing and training else layer(x)
        if not (self.training and self.layer_drop):
            return made
        # It is computed all the same, since every parameter needs a gradient on several processes.
        return torch.where(torch.rand((), device=x.device) < self.layer_drop, x, made)


class WaveLayer(nn.Module):
    """A transformer layer with a norm behind or before each of its parts. Weights are named as in torchaudio.

    Args:
        width: Of what goes in and out.
        heads: Attention heads; must divide the width.
        dropout: Behind each part, and in attention.
        norm_first: Norms stand before the parts.
    """

    def __init__(self, width: int, heads: int, dropout: float, norm_first: bool = False) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = _Attention(width, heads, dropout)
        self.layer_norm = nn.LayerNorm(width)
        self.feed_forward = _FeedForward(width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, width) → what the layer makes of it, and what its feed-forward part adds."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.layer_norm(x)))
            fed = self.dropout(self.feed_forward(self.final_layer_norm(x)))
            return x + fed, fed
        x = self.layer_norm(x + self.dropout(self.attention(x)))
        fed = self.dropout(self.feed_forward(x))
        return self.final_layer_norm(x + fed), fed


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for projection in projections)
        dropped = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped)
        together: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return together


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(width, _WIDENING * width)
        self.output_dense = nn.Linear(_WIDENING * width, width)

    def forward(self, x: Tensor) -> Tensor:
        fed: Tensor = self.output_dense(F.gelu(self.intermediate_dense(x)))
        return fed


class _Convolution(nn.Module):
    def __init__(self, before: int, sizes: Sequence[int], norm: Literal["none", "group", "layer"]) -> None:
        super().__init__()
        channels, kernel, stride = sizes
        self.conv = nn.Conv1d(before, channels, kernel, stride, bias=norm == "layer")
        self.layer_norm: nn.Module = nn.Identity()
        if norm != "none":
            self.layer_norm = nn.GroupNorm(channels, channels) if norm == "group" else _Channels(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.layer_norm(self.conv(x)))


class _Channels(nn.LayerNorm):
    """Of each frame of (batch, channels, frames)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Wide(nn.Module):
    """One convolution over many frames, (batch, width, frames), with lengths of its kernels apart.

    torch's own weight norm would do, but what has it cannot be pickled.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.groups, self.padding = math.gcd(width, _GROUPS), kernel // 2
        self.direction = nn.Parameter(torch.empty(width, width // self.groups, kernel))
        nn.init.normal_(self.direction, std=_position_deviation(kernel, width))
        self.scale = nn.Parameter(self.direction.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.scale * self.direction / self.direction.norm(dim=(0, 1), keepdim=True)
        y = F.conv1d(x, weight, self.bias, padding=self.padding, groups=self.groups)
        return F.gelu(y[:, :, : x.shape[2]])


class _Narrow(nn.Module):
    """A convolution over a few frames, (batch, width, frames), and a norm of each frame."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        groups = math.gcd(width, _GROUPS)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(self.conv.weight, std=_position_deviation(kernel, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)[:, :, : x.shape[2]].transpose(1, 2)
        return F.gelu(F.layer_norm(y, [y.shape[2]]).transpose(1, 2))


def _position_deviation(kernel: int, width: int) -> float:
    """Of the weights that positions start with, as in wav2vec 2.0."""
    return math.sqrt(4 / (kernel * width))


def _positions(kind: Positions, width: int, reach: int) -> nn.Module:
    if kind == "hubert":
        return _Wide(width, reach)
    return nn.Sequential(*(_Narrow(width, reach) for _ in range(5)))


def _receptive_field(convolutions: Sequence[Sequence[int]]) -> int:
    """Samples that one frame is made of."""
    samples = 1
    for _, kernel, stride in reversed(convolutions):
        samples = (samples - 1) * stride + kernel
    return samples


def _initialise(module: nn.Module, width: int) -> None:
    """As HuBERT does it at its width; in narrower ones the published 0.02 would hardly let layers speak."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02 * math.sqrt(768 / width))
        nn.init.zeros_(module.bias)
    elif isinstance(module, _Convolution):
        nn.init.kaiming_normal_(module.conv.weight)
