"""Training a pretext: :func:`fit` around any model and corpus, :func:`pretrain` from names."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from mvssl.data import Batch, Corpus, Problem, loader, open_corpus, remarks
from mvssl.device import Precision, default_device, default_workers, keep_freed_memory
from mvssl.encoders import create_encoder, save_encoder
from mvssl.pretext import Pretext, create_pretext
from mvssl.pretext.base import require_suitable
from mvssl.pretext.chunks import require_chunks
from mvssl.training.run import environment, prepare_run, write_json, write_text
from mvssl.views import ViewChain, chain
from mvssl.views.samplers import Short

CHECKPOINT = "last.ckpt"
ENDLESS = 10**9  # steps of a run that only the clock ends


@dataclass(frozen=True)
class Recipe:
    """How a pretext is optimised.

    Attributes:
        steps: Optimiser steps; with ``minutes`` the most that are made.
        batch_size: Tracks per batch.
        learning_rate: Peak of the learning rate; None takes the pretext's own.
        weight_decay: Of matrices and kernels.
        warmup: Share of the run in which the learning rate rises.
        clip_norm: Largest norm of the gradient.
        precision: ``"bf16"`` runs the encoder under autocast (losses and front ends stay in fp32);
            ``"auto"`` does so where the hardware multiplies bf16 natively.
        seed: Of crops, their order and their augmentation.
        workers: Processes that read audio; 0 reads in the main process, None chooses by the device.
        checkpoint_every: Steps between checkpoints; 0 writes one at the end only.
        log_every: Steps between logged rows.
        minutes: Stop by the clock. A run then depends on the speed of the machine.
        chunk: Most tracks that are encoded at a time, for batches that the memory does not hold otherwise,
            see :func:`mvssl.pretext.forward_in_chunks`; None encodes the batch at once.
    """

    steps: int
    batch_size: int = 96
    learning_rate: float | None = None
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip_norm: float = 3.0
    precision: Precision = "auto"
    seed: int = 0
    workers: int | None = None
    checkpoint_every: int = 0
    log_every: int = 10
    minutes: float | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.log_every < 1 or self.checkpoint_every < 0:
            raise ValueError(
                f"steps={self.steps}, batch_size={self.batch_size}, log_every={self.log_every}, "
                f"checkpoint_every={self.checkpoint_every}: at least 1, 2, 1 and 0 are needed"
            )
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes={self.minutes} must be positive")


def budget(steps: int | None, minutes: float | None, default: int) -> int:
    """Steps to make: as many as asked for, else whatever fits into ``minutes``, else the default."""
    if steps is not None:
        return steps
    return default if minutes is None else ENDLESS


@dataclass(frozen=True)
class FitResult:
    """What came of a run.

    Attributes:
        steps: Steps made.
        views: Views the encoder was trained on.
        seconds: Wall-clock seconds of training, over all resumed parts.
        stopped_by_clock: Whether ``minutes`` ended the run before ``steps`` did.
        problems: Files that could not be read, each once; other tracks stood in for them.
        collapse: When the run collapsed and what shows it, in words; None if it did not.
        remarks: What was special about the crops, a sentence each: tracks that had to be lengthened, or that
            have no partner.
    """

    steps: int
    views: int
    seconds: float
    stopped_by_clock: bool
    problems: tuple[Problem, ...]
    collapse: str | None
    remarks: tuple[str, ...] = ()


def fit(
    pretext: Pretext,
    data: str | os.PathLike[str] | Corpus,
    views: str | ViewChain | None = None,
    *,
    steps: int,
    out: str | os.PathLike[str],
    resume: bool = False,
    progress: bool = True,
    **recipe: Any,
) -> FitResult:
    """Trains a pretext on the training split of a corpus.

    The run directory gets ``metrics.csv``, TensorBoard events, ``last.ckpt``, and at the end
    ``encoder.safetensors`` with ``encoder.json``.

    Args:
        pretext: What to train; its encoder says the sample rate.
        data: A corpus, a folder, a manifest, or the name of a corpus.
        views: A view chain, or the name of one, then with crops of the encoder's nominal length; by default
            the pretext's own, ``pretext.chain``.
        steps: Optimiser steps.
        out: Run directory.
        resume: Continue from ``last.ckpt`` if there is one.
        progress: Show a progress bar.
        **recipe: Other fields of :class:`Recipe`.

    Raises:
        CorpusError: If the corpus cannot be used, or lacks what the pretext or the views need: groups, stems.
        FileExistsError: If ``out`` holds a run and ``resume`` is false.
        FloatingPointError: If the loss stops being finite; the last checkpoint is kept.
        TypeError: If ``chunk`` is given and the pretext cannot be trained in chunks.
    """
    from mvssl.training.lightning import train

    keep_freed_memory()
    settings = Recipe(steps=steps, **recipe)
    if settings.chunk is not None:
        require_chunks(pretext, settings.chunk)
    encoder: Any = pretext.encoder
    views = pretext.chain if views is None else views
    n_views = max(2, pretext.min_views)
    view_chain = chain(views, encoder.seconds, n_views) if isinstance(views, str) else views
    corpus = open_corpus(data, min_seconds=view_chain.sampler.min_seconds)
    if pretext.needs_groups:
        corpus.require_groups()
    remarked = remarks(corpus, view_chain.sampler)
    if hasattr(encoder, "frontend"):
        view_chain.bind(encoder.frontend)
    folder = prepare_run(Path(out), CHECKPOINT, resume)

    workers = default_workers(default_device()) if settings.workers is None else settings.workers

    def batches(start_step: int) -> Iterator[Batch]:
        return iter(
            loader(
                corpus, view_chain, settings.batch_size, steps=settings.steps, start_step=start_step,
                seed=settings.seed, sample_rate=encoder.sample_rate, workers=workers,
            )
        )  # fmt: skip

    result = train(pretext, batches, view_chain, settings, folder, progress=progress)
    save_encoder(pretext.encoder, folder, sample_rate=encoder.sample_rate, embed_dim=encoder.embed_dim)
    problems = tuple(dict.fromkeys((*corpus.problems, *result.problems)))
    return replace(result, problems=problems, remarks=remarked)


def pretrain(
    data: str = "synthetic",
    pretext: str = "simclr",
    encoder: str = "tiny",
    views: str | None = None,
    n_views: int = 2,
    sampler: str | None = None,
    min_gap: float | None = None,
    max_gap: float | None = None,
    short: Short = "drop",
    steps: int | None = None,
    seed: int = 0,
    out: str = "runs/pretrain",
    resume: bool = False,
    batch_size: int = 96,
    learning_rate: float | None = None,
    checkpoint_every: int = 200,
    minutes: float | None = None,
    precision: Precision = "auto",
    workers: int | None = None,
    chunk: int | None = None,
) -> FitResult:
    """Pre-trains one encoder and leaves ``encoder.safetensors`` and ``encoder.json``.

    Args:
        data: Folder of audio, JSON Lines manifest, or name of a corpus.
        pretext: Name of the pretext.
        encoder: Encoder preset.
        views: View chain; by default the pretext's own (see mvssl/pretext/PRETEXTS.md).
        n_views: Views per track.
        sampler: Where the crops of a track come from (``mvssl list samplers``); by default the chain's own.
        min_gap: Least gap between crops in seconds, of the samplers gap and adjacent.
        max_gap: Greatest gap in seconds, of the same.
        short: What becomes of tracks that the crops do not fit into: drop, pad (with silence) or loop.
        steps: Optimiser steps; 600 if neither this nor ``minutes`` is given.
        seed: Of weights, crops, order and augmentation.
        out: Run directory.
        resume: Continue an interrupted run.
        batch_size: Tracks per batch.
        learning_rate: Peak of the learning rate; by default the pretext's own.
        checkpoint_every: Steps between checkpoints.
        minutes: Stop by the clock; the result then varies with the speed of the machine.
        precision: Of the encoder: auto, fp32 or bf16.
        workers: Processes that read audio; by default none on a CPU-only machine.
        chunk: Most tracks that are encoded at a time; by default the whole batch.

    Raises:
        ValueError: If an argument is wrong, or the encoder lacks what the pretext requires.
    """
    arguments = dict(locals())
    folder = Path(out)
    torch.manual_seed(seed)
    network = create_encoder(encoder)
    require_suitable(pretext, network)
    model = create_pretext(pretext, network)
    views = model.chain if views is None else views
    crops = chain(
        views, model.encoder.seconds, n_views, sampler, min_gap=min_gap, max_gap=max_gap, short=short  # type: ignore[arg-type]
    )  # fmt: skip
    result = fit(
        model, data, crops, steps=budget(steps, minutes, default=600), out=folder, resume=resume,
        batch_size=batch_size, learning_rate=learning_rate, checkpoint_every=checkpoint_every,
        minutes=minutes, seed=seed, precision=precision, workers=workers, chunk=chunk,
    )  # fmt: skip
    write_text(folder / "config.yaml", yaml.safe_dump({**arguments, "views": views}, sort_keys=False))
    write_json(folder / "environment.json", {**environment(), "seconds": result.seconds})
    for problem in result.problems:
        logging.getLogger(__name__).warning("left out %s: %s", problem.path, problem.reason)
    return result
