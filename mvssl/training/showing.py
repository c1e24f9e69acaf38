"""A view of learning while it goes on: audio and mels of views, neighbours of labelled tracks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvssl import seeding
from mvssl.data import Batch, Corpus
from mvssl.training.log import RunLog, Table

if TYPE_CHECKING:
    from mvssl.training.lightning import PretextModule

WATCHED = "watch.csv"
_TRACKS = 2  # whose views are shown
_MOST = 400  # labelled tracks of each split that are looked at
_CROPS = 2  # of each
_NEIGHBOURS = 10
_WATCH = 3  # stream of random numbers


def show_views(events: Any, step: int, module: "PretextModule", batch: Batch) -> None:
    """Puts crops and views of the first tracks of a batch into TensorBoard, to be heard and seen.

    Args:
        events: A ``SummaryWriter``.
        step: Steps made.
        module: What has just made the views.
        batch: Of which crops.
    """
    encoder = module.pretext.encoder
    frontend, rate = getattr(encoder, "frontend", None), int(encoder.sample_rate)  # type: ignore[arg-type]
    for number, (crops, views) in enumerate(zip(batch.crops, module.made, strict=True)):
        for track in range(min(_TRACKS, len(crops))):
            name = f"track {track}/view {number}"
            audio = views[track] if views.ndim == 2 else crops[track]
            kind = "view" if views.ndim == 2 else "crop"
            events.add_audio(f"{name}/{kind}", audio.float().cpu().clamp(-1, 1), step, sample_rate=rate)
            mel = _mel(views[track : track + 1], frontend)
            if mel is not None:
                events.add_image(f"{name}/mel", _picture(mel), step, dataformats="HW")


@torch.no_grad()
def _mel(view: Tensor, frontend: Callable[[Tensor], Tensor] | None) -> Tensor | None:
    if view.ndim == 2 and frontend is not None:
        view = frontend(view)
    return view[0].float().cpu() if view.ndim == 3 else None


def _picture(mel: Tensor) -> Tensor:
    """(bins, frames), high bins above, from black to white."""
    low, high = mel.min(), mel.max()
    return ((mel - low) / (high - low).clamp_min(1e-6)).flip(0)


class OnlineProbe:
    """How well neighbours predict labels, every so many steps, in ``watch.csv`` and TensorBoard.

    The labels are seen by nobody but this: a run with it ends with the very weights of one without. At most
    400 labelled training tracks are the neighbours of at most 400 of the validation split, two crops of each.

    Args:
        corpus: With labels in both splits.
        every: Steps between two looks.
        seconds: Length of a crop.
        sample_rate: In Hz.

    Raises:
        CorpusError: If there are no labels that can be learned and tested.
    """

    def __init__(self, corpus: Corpus, every: int, seconds: float, sample_rate: int) -> None:
        if every < 1:
            raise ValueError(f"watch_every={every} must be positive")
        corpus = corpus.labelled()
        rng = seeding.generator(_WATCH)
        rows = [np.sort(rng.permutation(corpus.indices(split))[:_MOST]) for split in ("train", "valid")]
        self.corpus = corpus.take(np.concatenate(rows))
        self.every, self.seconds, self.sample_rate = every, seconds, sample_rate
        self._train = np.arange(len(rows[0]))
        self._valid = np.arange(len(rows[0]), len(self.corpus))

    def due(self, step: int) -> bool:
        """Whether to look after a step."""
        return step % self.every == 0

    def open(self, folder: Path, step: int) -> None:
        """Begins, or goes on after a step."""
        self._table = Table(folder / WATCHED, step)

    def look(self, encoder: nn.Module, step: int, log: RunLog, *, last: bool) -> None:
        """Embeds the tracks and writes what neighbours say; at the last step, all into the projector."""
        from mvssl.evaluation import extract_embeddings
        from mvssl.evaluation.tasks import task_of

        # Modes one by one: an encoder may hold parts that are not in training mode.
        modes = [(module, module.training) for module in encoder.modules()]
        with torch.random.fork_rng():
            features = extract_embeddings(
                encoder, self.corpus, seconds=self.seconds, sample_rate=self.sample_rate, max_crops=_CROPS,
                progress=False,
            ).pooled()  # fmt: skip
        for module, training in modes:
            module.training = training
        if np.isfinite(features).all():
            row = {"step": step, f"knn_{task_of(self.corpus).lead.name}": self._value(features)}
            log.attempt(lambda: self._table.write(row))
            log.scalars(row)
            if last:
                names = [str(path) for path in self.corpus.paths]
                log.show(lambda events: events.add_embedding(features, names, global_step=step))

    def _value(self, features: NDArray[np.float32]) -> float:
        """The task's leading metric on the validation split."""
        from mvssl.evaluation import Subset
        from mvssl.evaluation.probes import ProbeData, knn_probe

        data = ProbeData(
            features, self.corpus.targets, train=self._train, valid=self._valid, test=[],
            task=self.corpus.task,
        )  # fmt: skip
        whole = Subset(1.0, 0, np.arange(len(self._train)))
        return float(knn_probe(data, [whole], grid=(_NEIGHBOURS,)).valid_values[0, 0])
