"""HuBERT on raw audio, and musicHuBERT."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl.distributed import mean
from mvssl.functional import cluster_logits, feature_penalty, hubert
from mvssl.pretext.base import Pretext, PretextOutput, register_pretext
from mvssl.pretext.clusters import (
    DESCRIPTION,
    collected,
    find_centroids,
    load_clusters,
    make_features,
    nearest,
)
from mvssl.pretext.presets import PUBLISHED_RATE, ClusterPreset, presets
from mvssl.pretext.spans import WAVE, SpanMasking, WaveEncoder, parted, together

_FRAMES = 100  # per cluster, that clusters are found from
_LEAST_FRAMES = 10_000
_STARTS = 3  # the published 20 would take minutes

_Frames = tuple[Tensor, Tensor]
"""Projections (frames, dim), and the numbers of the clusters that they belong to (frames,)."""


@register_pretext("hubert", paper="arXiv:2106.07447")
class HuBERT(Pretext):
    """Predicts which cluster masked frames belong to (HuBERT, musicHuBERT).

    Targets are made of the very crop, as it comes: features, and of each masked frame the nearest centroid.
    So they follow whatever a view chain does, and there are no files of labels. Centroids come from
    ``mvssl data kmeans``, on any number of frames, or :meth:`prepare` finds them, on a few thousand, which
    :func:`mvssl.fit` calls when a run begins.

    ``accuracy`` is the share of masked frames that get their cluster, ``most_frequent`` that of the batch's
    commonest cluster, which the trivial predictor would get. Of the published code, the smaller gradient of
    the convolutions is left out, since Adam undoes it. Each view is a task of its own, so one is enough; the
    embeddings in the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.spans.WaveEncoder`.
        targets: What is clustered: ``"mfcc"`` (39 values, 100 times a second), ``"mfcc60"``, ``"chroma"``,
            ``"cqt"``; the folder of an earlier run, with ``layer``; or a folder that ``mvssl data kmeans``
            wrote.
        layer: Index of the earlier encoder's hidden state, 0 being what its first layer takes.
        clusters: How many, where they are not found before. The paper has 100, then 500 for the second
            iteration.
        mask_prob: Share of the frames in spans, counted as if spans never overlapped.
        span: Frames per span; by default 0.2 s of them, the published 10 of 20 ms.
        alpha: Weight of masked frames in the loss; others have the rest (§II-B). Less than the published 1
            teaches the convolutions sooner: clusters of frames that are heard are the easier ones.
        projection_dim: Size of the embeddings of clusters.
        temperature: Divides cosines.
        penalty: Weight of the mean square of what the convolutions make. The published 10 silences them in
            runs of some hundred steps, before anything is learned.
        preset: ``"paper"``, or ``"musichubert"`` with the learning rate that was published.

    Raises:
        FileNotFoundError: If there are no such targets.
        RuntimeError: In use, if clusters have not been found.
        TypeError: If the encoder is none of raw audio in its parts.
        ValueError: If an argument is out of range; in use, if views are too short for spans.
    """

    learning_rate = 2e-3
    min_views = 1
    requires = WAVE
    chain = "crops"
    paper_views = "one crop of up to 15.6 s of audio, masked"
    centroids: Tensor

    @presets(musichubert={"clusters": 500, "alpha": 1.0, "penalty": 10.0})
    def __init__(
        self,
        encoder: nn.Module,
        targets: str | os.PathLike[str] = "mfcc",
        layer: int | None = None,
        clusters: int = 100,
        mask_prob: float = 0.8,
        span: int | None = None,
        alpha: float = 0.5,
        projection_dim: int = 256,
        temperature: float = 0.1,
        penalty: float = 0.1,
        preset: ClusterPreset = "paper",
    ) -> None:
        super().__init__(encoder)
        wave: Any = encoder
        if min(clusters, projection_dim) < 1 or temperature <= 0 or penalty < 0 or not 0 <= alpha <= 1:
            raise ValueError(
                f"clusters={clusters}, projection_dim={projection_dim}, temperature={temperature} must be "
                f"all positive, penalty={penalty} not negative, and alpha={alpha} lie in [0, 1]"
            )
        self.temperature, self.penalty, self.alpha = temperature, penalty, alpha
        if preset != "paper":
            self.learning_rate = PUBLISHED_RATE
        folder = Path(targets)
        if (folder / DESCRIPTION).is_file():
            self.features, centroids = load_clusters(folder, wave.sample_rate)
        else:
            self.features = make_features(os.fspath(targets), wave.sample_rate, layer)
            centroids = torch.full((clusters, self.features.dim), torch.nan)
        self.register_buffer("centroids", centroids)
        self.masking = SpanMasking(wave, mask_prob, span)
        self.project = nn.Linear(self.embed_dim, projection_dim)
        self.clusters = nn.Parameter(torch.empty(len(centroids), projection_dim).uniform_())
        self.ratio = self.features.rate * wave.stride / wave.sample_rate  # frames of features per frame
        self._find_out()
        self.register_load_state_dict_post_hook(_look_again)

    def _find_out(self) -> None:
        """Notes whether clusters are known; to look at the buffer in each step would wait for the device."""
        self.prepared = not bool(self.centroids.isnan().any())

    def prepare(self, views: Iterable[Sequence[Tensor]]) -> None:
        """Finds the clusters in views, unless they are known.

        Args:
            views: Views of batch after batch; as many are taken as make 100 frames per cluster, and 10,000.

        Raises:
            ValueError: If there are fewer frames than clusters.
        """
        if self.prepared:
            return
        found: list[NDArray[np.float32]] = []
        missing = max(_LEAST_FRAMES, _FRAMES * len(self.centroids))
        for batch in views:
            found.append(collected(self.features, batch))
            missing -= len(found[-1])
            if missing <= 0:
                break
        if not found:
            raise ValueError("no views to find clusters in: give some batches")
        centroids = find_centroids(np.concatenate(found), len(self.centroids), starts=_STARTS)
        self.centroids.copy_(torch.from_numpy(centroids))
        self._find_out()

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        if not self.prepared:
            raise RuntimeError(
                "HuBERT has no clusters yet: call pretext.prepare([views, ...]) with the views of some "
                "batches first, or give the folder of mvssl data kmeans as targets"
            )
        batches = together(views, self.masking.keys(views))
        made = [self._pass(audio, keys) for audio, keys in batches]
        embeddings, frames, penalties = zip(*made, strict=True)
        masked, *others = zip(*frames, strict=True)
        rows = len(views[0])
        losses = torch.stack([self._predicted(each) for each in (masked, *others)])
        shares = self._shares(masked)
        losses, penalty, *shares = mean([losses, torch.stack(penalties).mean(), *shares], rows)
        terms = {
            "prediction": losses[0].detach(), "penalty": penalty.detach(), "accuracy": shares[0],
            "most_frequent": shares[1].max(),
        }  # fmt: skip
        whole = [p.unflatten(0, (len(e), -1)) for (p, _), e in zip(masked, embeddings, strict=True)]
        weights = losses.new_tensor([self.alpha, 1 - self.alpha][: len(losses)])
        loss = (weights * losses).sum() + self.penalty * penalty
        return PretextOutput(loss, terms, parted(embeddings, rows), parted(whole, rows))

    def _pass(self, audio: Tensor, keys: Tensor) -> tuple[Tensor, list[_Frames], Tensor]:
        """Embeddings, masked frames and, if they count, the others, and the mean square of features."""
        encoder: Any = self.encoder
        wave: WaveEncoder = encoder
        features = wave.features(audio)
        hidden, spans = self.masking(wave.project(features), keys)
        states = wave.contextualise(hidden)
        read = self._read(audio, hidden.shape[1])
        places = (spans.of, spans.beside) if self.alpha < 1 else (spans.of,)
        frames = [(self.project(at(states[-1])), nearest(at(read), self.centroids)) for at in places]
        return wave.pool(states), frames, feature_penalty(features)

    def _predicted(self, views: Sequence[_Frames]) -> Tensor:
        """The loss of predicting clusters; views count alike."""
        return torch.stack([hubert(p, self.clusters, t, self.temperature) for p, t in views]).mean()

    @torch.no_grad()
    def _read(self, audio: Tensor, frames: int) -> Tensor:
        """Features at the encoder's frames: every second of 100 Hz for 50 Hz, as published."""
        found: Tensor = self.features(audio)
        places = (torch.arange(frames, device=audio.device) * self.ratio).long()
        return found[:, places.clamp_max(found.shape[1] - 1)]

    @torch.no_grad()
    def _shares(self, views: Sequence[_Frames]) -> list[Tensor]:
        """The share of frames whose cluster is predicted, and that of each cluster; views count alike."""
        hits, used = [], []
        for projections, targets in views:
            guesses = cluster_logits(projections, self.clusters, self.temperature).argmax(1)
            hits.append((guesses == targets).to(self.centroids.dtype).mean())
            ones = torch.full_like(targets, 1 / len(targets), dtype=self.centroids.dtype)
            used.append(torch.zeros_like(self.centroids[:, 0]).index_add(0, targets, ones))
        return [torch.stack(hits).mean(), torch.stack(used).mean(0)]


def _look_again(pretext: HuBERT, _: object) -> None:
    """What follows the loading of a state; a function with a name, since others cannot be pickled."""
    pretext._find_out()
