"""What a run is told, and what it tells: :class:`Recipe` and :class:`FitResult`."""

from dataclasses import dataclass
from typing import Literal, get_args

from mvssl.data import Problem
from mvssl.device import TrainingPrecision
from mvssl.optim import Optimiser

ENDLESS = 10**9  # steps of a run that only the clock ends

OnDivergence = Literal["stop", "skip"]


@dataclass(frozen=True)
class Recipe:
    """How a pretext is optimised.

    Attributes:
        steps: Optimiser steps; with ``minutes`` the most that are made.
        batch_size: Tracks per batch, over all processes: each takes an equal share.
        learning_rate: Peak of the learning rate; None takes the pretext's own, which suits AdamW only.
        weight_decay: Of matrices and kernels.
        warmup: Share of the run in which the learning rate rises.
        clip_norm: Largest norm of the gradient.
        precision: ``"bf16"`` runs the encoder under autocast (losses and front ends stay in fp32);
            ``"auto"`` does so where the hardware multiplies bf16 natively; ``"fp16"``, on GPUs only, scales
            the loss so that small gradients do not vanish.
        seed: Of crops, their order and their augmentation.
        workers: Processes that read audio; 0 reads in the main process, None chooses by the device.
        checkpoint_every: Steps between checkpoints; 0 writes one at the end only.
        log_every: Steps between logged rows.
        minutes: Stop by the clock. A run then depends on the speed of the machine.
        chunk: Most tracks that are encoded at a time, for batches that the memory does not hold otherwise,
            see :func:`mvssl.pretext.forward_in_chunks`; None encodes the batch at once.
        accumulate: Batches whose gradients are averaged for one step. Losses that compare tracks compare
            those of one batch only: what makes one large batch of it is ``chunk``. What is logged is of the
            last of them.
        optimiser: ``"adamw"``, ``"lars"`` or ``"sgd"``; the others than AdamW need a ``learning_rate``.
        layer_decay: Factor on the learning rate of each layer of the encoder, against the one behind it
            (0.75, say); None has one learning rate for all.
        scale_lr: Multiply the learning rate by tracks per step over 256; the run then says so.
        compile: Compile the encoder (``torch.compile``), which takes minutes, and is worth it on long runs.
        on_divergence: When the loss or the gradient is not finite, or the gradient explodes, ``"stop"`` or
            ``"skip"`` the step, up to ten in a row; what was skipped is counted.
        explosion: Norm of the gradient that counts as exploded, in multiples of the median of the last
            hundred steps (or of ``clip_norm``, if that is more); None never does.
        devices: Processes on this machine, a GPU each where there are any. With torchrun or srun, they say.
        strategy: Of Lightning, for several processes.
        show_every: Steps between audio and mels of a few views in TensorBoard; 0 shows none.
    """

    steps: int
    batch_size: int = 96
    learning_rate: float | None = None
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip_norm: float = 3.0
    precision: TrainingPrecision = "auto"
    seed: int = 0
    workers: int | None = None
    checkpoint_every: int = 0
    log_every: int = 10
    minutes: float | None = None
    chunk: int | None = None
    accumulate: int = 1
    optimiser: Optimiser = "adamw"
    layer_decay: float | None = None
    scale_lr: bool = False
    compile: bool = False
    on_divergence: OnDivergence = "stop"
    explosion: float | None = 1000.0
    devices: int = 1
    strategy: str = "ddp"
    show_every: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.log_every < 1 or self.checkpoint_every < 0:
            raise ValueError(
                f"steps={self.steps}, batch_size={self.batch_size}, log_every={self.log_every}, "
                f"checkpoint_every={self.checkpoint_every}: at least 1, 2, 1 and 0 are needed"
            )
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes={self.minutes} must be positive")
        if self.accumulate < 1 or self.devices < 1 or self.show_every < 0:
            raise ValueError(
                f"accumulate={self.accumulate}, devices={self.devices}, show_every={self.show_every}: "
                "at least 1, 1 and 0 are needed"
            )
        if self.explosion is not None and self.explosion <= 1:
            raise ValueError(f"explosion={self.explosion} must be above 1, or None")
        if self.on_divergence not in get_args(OnDivergence):
            raise ValueError(f"on_divergence={self.on_divergence!r}: use 'stop' or 'skip'")
        self._check_optimiser()

    def _check_optimiser(self) -> None:
        if self.optimiser not in get_args(Optimiser):
            raise ValueError(f"optimiser={self.optimiser!r}: use {', '.join(get_args(Optimiser))}")
        if self.optimiser != "adamw" and self.learning_rate is None:
            raise ValueError(
                f"optimiser={self.optimiser!r} needs a learning_rate: those of pretexts are for AdamW"
            )
        if self.optimiser == "lars" and self.weight_decay <= 0:
            raise ValueError("optimiser='lars' is plain SGD without weight_decay: give one above 0")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay={self.layer_decay} must lie in (0, 1]")

    def peak(self, learning_rate: float) -> float:
        """Peak of the learning rate.

        Args:
            learning_rate: What the pretext has of its own.
        """
        rate = learning_rate if self.learning_rate is None else self.learning_rate
        return rate * self.batch_size * self.accumulate / 256 if self.scale_lr else rate


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
        views: Views the encoder was trained on, by all processes.
        seconds: Wall-clock seconds of training, over all resumed parts.
        stopped_by_clock: Whether ``minutes`` ended the run before ``steps`` did.
        problems: Files that could not be read, each once; other tracks stood in for them.
        collapse: When the run collapsed and what shows it, in words; None if it did not.
        remarks: What was special, a sentence each: tracks that had to be lengthened, or that have no partner;
            a scaled learning rate.
        skipped: Steps that were skipped because they diverged.
        failed_saves: Checkpoints that could not be written; the one before stayed.
    """

    steps: int
    views: int
    seconds: float
    stopped_by_clock: bool
    problems: tuple[Problem, ...]
    collapse: str | None
    remarks: tuple[str, ...] = ()
    skipped: int = 0
    failed_saves: int = 0
