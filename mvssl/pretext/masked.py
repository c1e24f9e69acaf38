"""Masked modelling: reconstructing what was hidden of a log-mel."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvssl.distributed import mean
from mvssl.encoders.vit import transformer_block
from mvssl.functional import masked_reconstruction
from mvssl.pretext.base import Pretext, PretextOutput, register_pretext
from mvssl.pretext.dense import DENSE, PatchDecoder
from mvssl.pretext.masks import Masked, PatchMasking, predict_masked, to_patches


@register_pretext("masked", paper="arXiv:2111.06377")
class MaskedModeling(Pretext):
    """Reconstructs masked patches of a log-mel, each normalised by itself (MAE).

    Masked autoencoders as published leave masked patches out of a transformer, and a light one then predicts
    them from what became of the others. So it is done with a :class:`~mvssl.pretext.dense.VisibleEncoder`. A
    convolutional encoder cannot; it sees a learned patch instead, as in SimMIM (arXiv:2111.09886). For audio,
    see arXiv:2203.16691 and arXiv:2207.06405. Each view is a task of its own, so one is enough. The
    embeddings in the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.dense.DenseEncoder`.
        patch: Bins and frames of a patch; a transformer has its own, and for others it is (16, 8) unless
            told. The papers on audio take 16 bins × 160 ms, and with ``tiny`` eight frames are 256 ms.
        mask_ratio: Share of the patches that is masked; 0.75 is the paper's, SimMIM uses 0.6.
        hidden_dim: Channels of the decoder.

    Raises:
        TypeError: If the encoder has no feature map.
        ValueError: If the ratio is outside (0, 1), a size is not positive, or the patches of a transformer
            are others.
    """

    learning_rate = 1e-3
    min_views = 1
    requires = DENSE
    paper_views = "one crop of an image, resized, and its flip; 75 % of the patches are taken away"

    def __init__(
        self,
        encoder: nn.Module,
        patch: tuple[int, int] | None = None,
        mask_ratio: float = 0.75,
        hidden_dim: int = 64,
    ) -> None:
        super().__init__(encoder)
        dense: Any = encoder
        patch = getattr(encoder, "patch", (16, 8)) if patch is None else patch
        self.leaves_out = hasattr(encoder, "encode_visible")
        self.masking = PatchMasking(patch, mask_ratio, token=not self.leaves_out)
        self.decoder: nn.Module
        if self.leaves_out:
            if dense.patch != self.masking.patch:
                raise ValueError(f"patch={tuple(patch)}: the encoder's own patches are {dense.patch}")
            self.decoder = TokenDecoder(dense.embed_dim, hidden_dim, patch[0] * patch[1])
        else:
            self.decoder = PatchDecoder(dense, self.masking.patch, hidden_dim, patch[0] * patch[1])

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        masked = self.masking(self.encoder, views)
        embeddings, predictions = self._predict(masked)
        targets = [to_patches(view.image, self.masking.patch) for view in masked]
        loss = masked_reconstruction(predictions, targets, [view.mask for view in masked])
        (loss,) = mean([loss], rows=len(views[0]))
        return PretextOutput(loss, {}, embeddings, [prediction.flatten(1) for prediction in predictions])

    def _predict(self, masked: Sequence[Masked]) -> tuple[list[Tensor], list[Tensor]]:
        """Embeddings of masked views, and what is predicted for each of their patches."""
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        if not self.leaves_out:
            return predict_masked(encoder, decoder, masked)
        embeddings, predictions = [], []
        for view in masked:
            patches = view.mask.shape[1]
            visible = view.mask.int().argsort(dim=1, stable=True)[:, : patches - self.masking.masked(patches)]
            tokens = encoder.encode_visible(view.image, visible)
            embeddings.append(encoder.pool(tokens.transpose(1, 2).unsqueeze(3)))
            predictions.append(decoder(tokens, visible, view.grid))
        return embeddings, predictions


class TokenDecoder(nn.Module):
    """Tokens of visible patches → a prediction for every patch, by two blocks of a narrow transformer.

    A learned token stands where patches are masked (arXiv:2111.06377, §3). Positions are sines and cosines,
    half of the channels for the row and half for the column, so that any grid will do.

    Args:
        embed_dim: Size of the encoder's tokens.
        hidden_dim: Channels inside.
        size: Length of a prediction.

    Raises:
        ValueError: If ``hidden_dim`` is not positive, or no multiple of four.
    """

    DEPTH, HEADS = 2, 4

    def __init__(self, embed_dim: int, hidden_dim: int, size: int) -> None:
        super().__init__()
        if hidden_dim < 1 or hidden_dim % self.HEADS:
            raise ValueError(
                f"hidden_dim={hidden_dim}: sizes must be all positive, and that of a transformer's decoder a "
                f"multiple of {self.HEADS}"
            )
        self.embed = nn.Linear(embed_dim, hidden_dim)
        self.token = nn.Parameter(0.02 * torch.randn(hidden_dim))
        self.blocks = nn.Sequential(*(transformer_block(hidden_dim, self.HEADS) for _ in range(self.DEPTH)))
        self.predict = nn.Sequential(nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, size))

    def forward(self, tokens: Tensor, visible: Tensor, grid: tuple[int, int]) -> Tensor:
        """Predicts (batch, patches, size), row by row of the grid.

        Args:
            tokens: (batch, visible, embed_dim).
            visible: (batch, visible) int64 indices of their patches.
            grid: Rows and columns of patches.
        """
        seen = self.embed(tokens)
        masked = self.token.to(seen.dtype).expand(len(seen), grid[0] * grid[1], -1)
        everywhere = masked.scatter(1, visible.unsqueeze(2).expand_as(seen), seen)
        positions = sines(grid, self.token.numel(), self.token.device)
        prediction: Tensor = self.predict(self.blocks(everywhere + positions.to(self.token.dtype)))
        return prediction


def sines(grid: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """Positions (rows · columns, channels) of a grid: sines and cosines of rows, then of columns."""
    rates = 10_000 ** -(torch.arange(channels // 4, device=device) / (channels // 4))
    rows, columns = (torch.arange(side, device=device)[:, None] * rates for side in grid)
    waves = [torch.cat([turns.sin(), turns.cos()], 1) for turns in (rows, columns)]
    both = [waves[0][:, None].expand(-1, grid[1], -1), waves[1][None].expand(grid[0], -1, -1)]
    return torch.cat(both, 2).flatten(0, 1)
