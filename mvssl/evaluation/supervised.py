"""The baseline that uses labels only: an encoder trained from scratch on a labelled subset."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mvssl.data import Corpus, loader, read_audio
from mvssl.device import Precision, default_device, default_workers, uses_bf16
from mvssl.encoders import Encoder
from mvssl.evaluation.metrics import average_precision, macro
from mvssl.optim import adamw, warmup_cosine
from mvssl.views import Crops, ViewChain

CHECKS = 3  # times that a run is judged on validation; the best of them is kept


@dataclass(frozen=True)
class SupervisedRecipe:
    """How the supervised baseline is trained.

    Attributes:
        crops: Crops seen by a run on all labels. On a share s of the labels a run sees √s times as many:
            fewer tracks need fewer steps, yet more passes over each.
        batch_size: Crops per step.
        learning_rate: Peak of the learning rate, after a warm-up, before a cosine.
        weight_decay: Of matrices and kernels.
        clip_norm: Largest norm of the gradient.
        precision: Of the encoder.
    """

    crops: int
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    clip_norm: float = 3.0
    precision: Precision = "auto"

    def steps(self, share: float) -> int:
        """Steps of a run on a share of the labels; at least one per check."""
        return max(CHECKS, round(self.crops * share**0.5 / self.batch_size))


class HeldOut:
    """Log-mel crops of the tracks that runs are judged on, made once for all runs.

    Args:
        encoder: Whose front end makes them.
        corpus: The corpus.
        rows: Rows of the corpus.
    """

    def __init__(self, encoder: Encoder, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        size = round(encoder.seconds * encoder.sample_rate)
        mels, owners = [], []
        with torch.inference_mode():
            for place, row in enumerate(rows.tolist()):
                audio = torch.from_numpy(read_audio(corpus.path(row), sample_rate=encoder.sample_rate))
                crops = audio[: len(audio) // size * size].reshape(-1, size)
                mels.append(encoder.frontend(crops))
                owners += [place] * len(crops)
        self._mels, self._owners = torch.cat(mels), torch.tensor(owners)
        self._tracks = len(rows)

    def scores(self, model: nn.Module, bf16: bool = False, batch_size: int = 256) -> NDArray[np.float32]:
        """Mean logits of each track, (tracks, tags)."""
        model.eval()
        device = next(model.parameters()).device
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = torch.cat([model(mel.to(device)).float().cpu() for mel in self._mels.split(batch_size)])
        model.train()
        sums = torch.zeros(self._tracks, logits.shape[1]).index_add_(0, self._owners, logits)
        return (sums / self._owners.bincount().unsqueeze(1)).numpy()


def train_supervised(
    encoder: Encoder,
    corpus: Corpus,
    rows: Sequence[int] | NDArray[np.int64],
    views: ViewChain,
    valid: HeldOut,
    test: HeldOut,
    *,
    share: float,
    recipe: SupervisedRecipe,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Trains an encoder and a linear layer on labelled tracks with binary cross-entropy.

    The run is judged on validation at three points; test scores are those of the best.

    Args:
        encoder: Freshly initialised; it is trained in place.
        corpus: The corpus.
        rows: Labelled rows of the corpus.
        views: Whose transforms augment the crops; bound to the encoder's front end.
        valid: Validation tracks.
        test: Test tracks.
        share: Share of all labels that ``rows`` are.
        recipe: Budget and optimiser.
        seed: Of order, crops and augmentation.

    Returns:
        Test scores (test tracks, tags).
    """
    labelled = corpus.take(np.asarray(rows))
    device = default_device()
    model = nn.Sequential(encoder, nn.Linear(encoder.embed_dim, len(corpus.vocabulary))).to(device)
    model.train()
    optimiser = adamw([model], recipe.learning_rate, recipe.weight_decay)
    targets = torch.from_numpy(labelled.targets).float().to(device)
    valid_targets = corpus.targets[corpus.indices("valid")]
    # Batches keep their size where there are few tracks: then each track gives several crops.
    tracks = min(len(labelled), recipe.batch_size)
    views = views.with_sampler(Crops(encoder.seconds, n_views=max(1, round(recipe.batch_size / tracks))))
    steps, best, kept = recipe.steps(share), -1.0, model.state_dict()
    bf16 = uses_bf16(recipe.precision, device)
    batches = loader(
        labelled, views, tracks, split=None, steps=steps, seed=seed, sample_rate=encoder.sample_rate,
        workers=default_workers(device),
    )  # fmt: skip
    for step, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * warmup_cosine(step / steps)
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(torch.cat(views(batch)))
        truth = targets[batch.items].repeat(len(batch.crops), 1)
        F.binary_cross_entropy_with_logits(logits.float(), truth).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) * CHECKS // steps > step * CHECKS // steps:
            score = float(macro(average_precision(valid.scores(model, bf16), valid_targets)))
            if score > best:
                best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return test.scores(model, bf16)
