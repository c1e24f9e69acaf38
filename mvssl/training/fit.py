"""Training a pretext: :func:`fit` around any model and corpus, :func:`pretrain` from names."""

import copy
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mvssl.atomic import write_json, write_text
from mvssl.data import Batch, Corpus, loader, open_corpus, remarks
from mvssl.data.batches import signals_left_to_the_run
from mvssl.data.tars import is_streamed
from mvssl.device import TrainingPrecision, default_device, default_workers, keep_freed_memory
from mvssl.distributed import rank
from mvssl.encoders import Encoder, create_encoder, save_encoder
from mvssl.optim import Optimiser
from mvssl.pretext import Pretext, create_pretext, pretexts
from mvssl.pretext.base import require_suitable
from mvssl.pretext.chunks import require_chunks
from mvssl.training.checkpoints import has_checkpoint
from mvssl.training.recipe import ENDLESS, FitResult, OnDivergence, Recipe, budget
from mvssl.training.run import environment, prepare_run
from mvssl.training.showing import OnlineProbe
from mvssl.views import ViewChain, chain
from mvssl.views.samplers import Short

_logger = logging.getLogger(__name__)


def fit(
    pretext: Pretext,
    data: str | os.PathLike[str] | Corpus,
    views: str | ViewChain | None = None,
    *,
    steps: int,
    out: str | os.PathLike[str],
    resume: bool = False,
    progress: bool = True,
    watch: str | os.PathLike[str] | Corpus | None = None,
    watch_every: int = 100,
    **recipe: Any,
) -> FitResult:
    """Trains a pretext on the training split of a corpus.

    The run directory gets ``metrics.csv``, TensorBoard events, ``last.ckpt`` with the one before it,
    ``previous.ckpt``, and at the end ``encoder.safetensors`` with ``encoder.json``.

    A run that was killed, at whatever moment, and is resumed with as many processes ends with the same
    weights, optimiser and metrics as one that was not, bit by bit on a CPU (but for ``minutes``). SIGTERM and
    Ctrl-C, and under SLURM SIGUSR1 (``#SBATCH --signal=USR1@60``, which also puts the job back into the
    queue), end a run after the step that it is at, with a checkpoint.

    Several processes train as one does on the whole batch: start the same script with ``torchrun``, with
    ``srun``, or pass ``devices``. Every process gets its share of ``batch_size``; the first one writes.

    Args:
        pretext: What to train; its encoder says the sample rate.
        data: A corpus, a folder, a manifest, or the name of a corpus; or a URL of archives, which are
            streamed, see :func:`mvssl.data.stream`.
        views: A view chain, or the name of one, then with crops of the encoder's nominal length; by default
            the pretext's own, ``pretext.chain``.
        steps: Optimiser steps.
        out: Run directory.
        resume: Continue from ``last.ckpt`` if there is one.
        progress: Show a progress bar.
        watch: A corpus with labels, whose nearest neighbours show in ``watch.csv`` and TensorBoard what the
            encoder has learned so far; the run itself is not changed by it.
        watch_every: Steps between two looks.
        **recipe: Other fields of :class:`Recipe`.

    Raises:
        CheckpointError: If the run is to be resumed, and all of its checkpoints are damaged.
        CorpusError: If the corpus cannot be used, or lacks what the pretext or the views need: groups, stems.
        FileExistsError: If ``out`` holds a run and ``resume`` is false.
        FloatingPointError: If the loss or the gradient stops being finite, or the gradient explodes; what is
            known about it stands in ``divergence.json``, and the last checkpoint is kept.
        OSError: If the last checkpoint cannot be written; without others, the run goes on.
        SystemExit: After SIGTERM and SIGUSR1, with 128 + their number.
        TypeError: If ``chunk`` is given and the pretext cannot be trained in chunks.
    """
    from mvssl.training.lightning import train
    from mvssl.training.processes import launched

    keep_freed_memory()
    settings = Recipe(steps=steps, **recipe)
    processes = launched(settings.devices)
    if settings.chunk is not None:
        require_chunks(pretext, settings.chunk)
    encoder: Any = pretext.encoder
    views = pretext.chain if views is None else views
    n_views = max(2, pretext.min_views)
    view_chain = chain(views, encoder.seconds, n_views) if isinstance(views, str) else views
    corpus = None if is_streamed(data) else open_corpus(data, min_seconds=view_chain.sampler.min_seconds)
    if corpus is not None and pretext.needs_groups:
        corpus.require_groups()
    source = data if corpus is None else corpus
    remarked = () if corpus is None else remarks(corpus, view_chain.sampler)
    if hasattr(encoder, "frontend"):
        view_chain.bind(encoder.frontend)
    probe = None
    if watch is not None:
        watched = open_corpus(watch, min_seconds=encoder.seconds)
        probe = OnlineProbe(watched, watch_every, encoder.seconds, encoder.sample_rate)
    folder = prepare_run(Path(out), has_checkpoint(Path(out)), resume)
    workers = default_workers(default_device()) if settings.workers is None else settings.workers

    def batches(start: int) -> Iterator[Batch]:
        with signals_left_to_the_run():
            return iter(
                loader(
                    source, view_chain, settings.batch_size,
                    steps=settings.steps * settings.accumulate, start_step=start, seed=settings.seed,
                    sample_rate=encoder.sample_rate, workers=workers, rank=processes.rank,
                    processes=processes.size,
                )
            )  # fmt: skip

    def whole_batches() -> Iterator[Batch]:
        yield from loader(
            source, view_chain, settings.batch_size, steps=ENDLESS, seed=settings.seed,
            sample_rate=encoder.sample_rate, workers=0,
        )  # fmt: skip

    if settings.scale_lr:
        remarked = (*remarked, _said(settings, pretext))
    if not has_checkpoint(folder):
        _prepare(pretext, view_chain, whole_batches())
    result = train(
        pretext, batches, view_chain, settings, folder, processes,
        names=None if corpus is None else corpus.paths, probe=probe, progress=progress,
    )  # fmt: skip
    if processes.rank == 0:
        save_encoder(pretext.encoder, folder, sample_rate=encoder.sample_rate, embed_dim=encoder.embed_dim)
    problems = tuple(dict.fromkeys((*(() if corpus is None else corpus.problems), *result.problems)))
    return replace(result, problems=problems, remarks=remarked)


def _prepare(pretext: Pretext, views: ViewChain, batches: Iterator[Batch]) -> None:
    """Lets a pretext look at the corpus, on every process at the same tracks of it."""
    device = default_device()

    def made() -> Iterator[Sequence[Tensor]]:
        pretext.to(device)
        chain = copy.deepcopy(views).to(device)  # what a chain remembers of inputs is for the run only
        yield from (chain(batch.to(device)) for batch in batches)

    pretext.prepare(made())


def _said(settings: Recipe, pretext: Pretext) -> str:
    """Tells the learning rate that came of scaling."""
    rate, tracks = settings.peak(pretext.learning_rate), settings.batch_size * settings.accumulate
    sentence = f"the learning rate was scaled by {tracks} tracks per step / 256, to {rate:g}"
    _logger.warning(sentence)
    return sentence


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
    precision: TrainingPrecision = "auto",
    workers: int | None = None,
    chunk: int | None = None,
    accumulate: int = 1,
    optimiser: Optimiser = "adamw",
    weight_decay: float = 1e-2,
    layer_decay: float | None = None,
    scale_lr: bool = False,
    compile: bool = False,
    on_divergence: OnDivergence = "stop",
    devices: int = 1,
    watch: str | None = None,
    watch_every: int = 100,
    arguments: dict[str, Any] | None = None,
) -> FitResult:
    """Pre-trains one encoder and leaves ``encoder.safetensors`` and ``encoder.json``.

    Args:
        data: Folder of audio, JSON Lines manifest, name of a corpus, or URL of archives to stream.
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
        precision: Of the encoder: auto, fp32, bf16, or on GPUs fp16.
        workers: Processes that read audio; by default none on a CPU-only machine.
        chunk: Most tracks that are encoded at a time; by default the whole batch.
        accumulate: Batches whose gradients are averaged for a step; losses compare tracks of one batch only,
            unlike with chunk.
        optimiser: adamw, lars or sgd; the latter two need a learning rate.
        weight_decay: Of matrices and kernels.
        layer_decay: Factor on the learning rate from each layer of the encoder to the one before it.
        scale_lr: Multiply the learning rate by tracks per step / 256.
        compile: Compile the encoder, which takes minutes.
        on_divergence: Stop, or skip the step.
        devices: Processes on this machine; with torchrun or srun, they say.
        watch: Corpus with labels whose nearest neighbours are looked at now and then.
        watch_every: Steps between two looks.
        arguments: Of the pretext, such as ``{preset: music2vec, span: 5}``.

    Raises:
        ValueError: If an argument is wrong, or the encoder lacks what the pretext requires.
    """
    asked = dict(locals())
    folder = Path(out)
    torch.manual_seed(seed)
    network = create_encoder(encoder)
    require_suitable(pretext, network)
    model = _created(pretext, network, arguments or {})
    views = model.chain if views is None else views
    crops = chain(
        views, model.encoder.seconds, n_views, sampler, min_gap=min_gap, max_gap=max_gap, short=short  # type: ignore[arg-type]
    )  # fmt: skip
    result = fit(
        model, data, crops, steps=budget(steps, minutes, default=600), out=folder, resume=resume,
        batch_size=batch_size, learning_rate=learning_rate, checkpoint_every=checkpoint_every,
        minutes=minutes, seed=seed, precision=precision, workers=workers, chunk=chunk, accumulate=accumulate,
        optimiser=optimiser, weight_decay=weight_decay, layer_decay=layer_decay, scale_lr=scale_lr,
        compile=compile, on_divergence=on_divergence, devices=devices, watch=watch, watch_every=watch_every,
    )  # fmt: skip
    if rank() > 0:
        return result
    write_text(folder / "config.yaml", yaml.safe_dump({**asked, "views": views}, sort_keys=False))
    write_json(folder / "environment.json", {**environment(), "seconds": result.seconds})
    for problem in result.problems:
        _logger.warning("left out %s: %s", problem.path, problem.reason)
    return result


def _created(name: str, encoder: Encoder, arguments: dict[str, Any]) -> Pretext:
    known = list(signature(pretexts.entry(name).target).parameters)[1:]
    if unknown := arguments.keys() - known:
        raise ValueError(
            f"{name} takes no {', '.join(sorted(unknown))}: it takes {', '.join(known) or 'none'}"
        )
    return create_pretext(name, encoder, **arguments)
