"""The tracks that networks under training are judged on."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mvssl.data import Corpus
from mvssl.encoders import Encoder
from mvssl.evaluation.embeddings import track_crops

_logger = logging.getLogger(__name__)


class HeldOut:
    """Crops of the tracks that runs are judged on, made once for all runs.

    What is kept in memory is what the front end makes of them: log-mels, or audio if the encoder takes that.

    Args:
        encoder: Whose front end makes them; it is on the CPU.
        corpus: The corpus.
        rows: Rows of the corpus.
    """

    def __init__(self, encoder: Encoder, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        size = round(encoder.seconds * encoder.sample_rate)
        mels, owners = [], []
        with torch.inference_mode():
            for place, (crops, problem) in enumerate(
                track_crops(corpus.take(rows), size, encoder.sample_rate)
            ):
                mels.append(encoder.frontend(torch.from_numpy(crops)))
                owners += [place] * len(crops)
                if problem is not None:
                    _logger.warning("%s %s", problem.path, problem.reason)
        self._mels, self._owners = torch.cat(mels), torch.tensor(owners)
        self._tracks = len(rows)
        self.targets = corpus.targets[rows]

    def scores(self, model: nn.Module, bf16: bool = False, batch_size: int = 256) -> NDArray[np.float32]:
        """Mean outputs of each track, (tracks, columns).

        Raises:
            FloatingPointError: If an output is not finite.
        """
        model.eval()
        device = next(model.parameters()).device
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = torch.cat([model(mel.to(device)).float().cpu() for mel in self._mels.split(batch_size)])
        model.train()
        if not logits.isfinite().all():
            raise FloatingPointError("training with labels diverged: outputs are not finite; lower its rates")
        sums = torch.zeros(self._tracks, logits.shape[1]).index_add_(0, self._owners, logits)
        return (sums / self._owners.bincount().unsqueeze(1)).numpy()
