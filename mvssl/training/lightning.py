"""The one module that imports Lightning: a thin LightningModule and the callback that watches it."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.warnings import PossibleUserWarning
from tqdm import tqdm

from mvssl.data import Batch, Problem
from mvssl.device import default_device, uses_bf16
from mvssl.encoders.disk import IN_CHECKPOINT, describe_encoder
from mvssl.optim import adamw, warmup_cosine
from mvssl.pretext import CollapseMonitor, Pretext, PretextOutput, forward_in_chunks
from mvssl.training.fit import CHECKPOINT, ENDLESS, FitResult, Recipe
from mvssl.training.log import RunLog
from mvssl.views import ViewChain


class PretextModule(pl.LightningModule):
    """Makes views, computes the loss, sets the learning rate, calls ``after_step``."""

    def __init__(self, pretext: Pretext, views: ViewChain, recipe: Recipe) -> None:
        super().__init__()
        self.pretext, self.views, self.recipe = pretext, views, recipe
        self.peak = pretext.learning_rate if recipe.learning_rate is None else recipe.learning_rate
        self.output: PretextOutput | None = None
        self.gradient_norm = torch.tensor(0.0)
        self.watcher: Watcher

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.peak * warmup_cosine(self.watcher.share(self.global_step), self.recipe.warmup)
        with torch.autocast(self.device.type, enabled=False):
            views = self.views(batch)
        known = {"groups": batch.groups} if self.pretext.needs_groups else {}
        if self.recipe.chunk is None:
            self.output = self.pretext(views, **known)
        else:
            self.output = forward_in_chunks(self.pretext, views, self.recipe.chunk, **known)
        if not torch.isfinite(self.output.loss):
            raise FloatingPointError(
                f"the loss is {self.output.loss.item()} at step {self.global_step}, on tracks "
                f"{batch.items[:8].tolist()}…: lower learning_rate={self.peak:g} "
                f"or use precision='fp32'; the last checkpoint is kept"
            )
        return self.output.loss

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Says which encoder the weights are of, for :func:`mvssl.load_encoder`."""
        with suppress(ValueError):  # others than ours are trained and resumed all the same
            checkpoint[IN_CHECKPOINT] = describe_encoder(self.pretext.encoder)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw([self.pretext], self.peak, self.recipe.weight_decay)


class Watcher(pl.Callback):
    """Everything around a step: teacher, log, progress bar, checkpoints, clock."""

    def __init__(self, folder: Path, recipe: Recipe, progress: bool) -> None:
        self.folder, self.recipe, self.progress = folder, recipe, progress
        self.problems: dict[Problem, None] = {}
        self.monitor = CollapseMonitor()
        self.views = 0
        self.seconds = 0.0  # of training, over all resumed parts
        self.finished = False

    def on_train_start(self, trainer: pl.Trainer, module: PretextModule) -> None:  # type: ignore[override]
        self.log = RunLog(self.folder, trainer.global_step)
        self.mark, self.marked_views = time.perf_counter(), self.views
        self.start = self.mark - self.seconds
        module.watcher = self
        self.bar = tqdm(
            total=None if self.recipe.steps == ENDLESS else self.recipe.steps, initial=trainer.global_step,
            unit="step", disable=not self.progress, desc=type(module.pretext).__name__, dynamic_ncols=True,
        )  # fmt: skip

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: PretextModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        step = trainer.global_step
        module.pretext.after_step(step - 1, round(step / self.share(step)))
        self.seconds = time.perf_counter() - self.start
        self.problems.update(dict.fromkeys(batch.problems))
        self.views += len(batch) * len(batch.crops)
        self.bar.update()
        if step % self.recipe.log_every == 0 or step == self.recipe.steps:
            self._log(step, module)
        self.finished = self.share(step) >= 1
        if self.finished:
            trainer.should_stop = True
        if self.finished or (self.recipe.checkpoint_every and step % self.recipe.checkpoint_every == 0):
            self.save(trainer)

    def share(self, step: int) -> float:
        """Share of the run that is over after ``step`` steps."""
        by_steps = step / self.recipe.steps
        if self.recipe.minutes is None:
            return by_steps
        return max(by_steps, self.seconds / (60 * self.recipe.minutes))

    def _log(self, step: int, module: PretextModule) -> None:
        assert module.output is not None
        now = time.perf_counter()
        rate = (self.views - self.marked_views) / (now - self.mark)
        self.mark, self.marked_views = now, self.views
        output = module.output
        row = {
            "step": step, "views": self.views, "loss": output.loss.item(),
            **{name: sign.item() for name, sign in output.health.items()},
            "gradient_norm": module.gradient_norm.item(),
            "learning_rate": module.optimizers().param_groups[0]["lr"],  # type: ignore[union-attr]
            "views_per_second": rate,
            **{name: value.item() for name, value in output.terms.items()},
        }  # fmt: skip
        self.log.write(row)
        self.monitor.watch(step, row)
        self.bar.set_postfix_str(f"loss {row['loss']:.3f}, {rate:.0f} views/s")

    def save(self, trainer: pl.Trainer) -> None:
        """Writes ``last.ckpt`` beside the old one, then replaces it."""
        draft = self.folder / (CHECKPOINT + ".part")
        trainer.save_checkpoint(draft)
        os.replace(draft, self.folder / CHECKPOINT)

    def teardown(self, trainer: pl.Trainer, module: PretextModule, stage: str) -> None:  # type: ignore[override]
        if hasattr(self, "bar"):
            self.bar.close()
            self.log.close()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know of the part before it."""
        problems = [(problem.path, problem.reason) for problem in self.problems]
        return {
            "views": self.views, "seconds": self.seconds, "finished": self.finished, "problems": problems,
            "collapse": self.monitor.finding,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.views, self.seconds = state_dict["views"], state_dict["seconds"]
        self.finished, self.monitor.finding = state_dict["finished"], state_dict["collapse"]
        self.problems = {Problem(*pair): None for pair in state_dict["problems"]}

    def result(self, steps: int) -> FitResult:
        """What came of the run."""
        return FitResult(
            steps, self.views, self.seconds, stopped_by_clock=steps < self.recipe.steps,
            problems=tuple(self.problems), collapse=self.monitor.finding,
        )  # fmt: skip


def train(
    pretext: Pretext,
    batches: Callable[[int], Iterator[Batch]],
    views: ViewChain,
    recipe: Recipe,
    folder: Path,
    *,
    progress: bool,
) -> FitResult:
    """Runs the loop, from ``last.ckpt`` if there is one. See :func:`mvssl.fit` for the user's side."""
    checkpoint = folder / CHECKPOINT
    module, watcher = PretextModule(pretext, views, recipe), Watcher(folder, recipe, progress)
    pretext.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = default_device()
    saved = _checkpoint(checkpoint) if checkpoint.is_file() else None
    if saved is not None:
        watcher.load_state_dict(saved["callbacks"][watcher.state_key])
        if watcher.finished or saved["global_step"] >= recipe.steps:
            return _finished(pretext, watcher, saved)
    start = saved["global_step"] if saved is not None else 0
    with _quiet():
        trainer = pl.Trainer(
            accelerator=device.type, devices=1, max_steps=recipe.steps, max_epochs=-1,
            precision="bf16-mixed" if uses_bf16(recipe.precision, device) else "32-true",
            callbacks=[watcher], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        stop = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                module, _Stream(batches(start)), ckpt_path=str(checkpoint) if saved is not None else None
            )
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and leaves it ignored; a notebook wants neither.
            signal.signal(signal.SIGINT, stop)
            raise KeyboardInterrupt from None
    return watcher.result(trainer.global_step)


class _Stream:
    """Batches without a length: how long a run is, only ``max_steps`` and the clock decide.

    With a length, Lightning would count the batches of the part before a resume against it.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches


def _checkpoint(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _finished(pretext: Pretext, watcher: Watcher, content: dict[str, Any]) -> FitResult:
    """The result of a run that has nothing left to do."""
    prefix = "pretext."
    weights = content["state_dict"].items()
    pretext.load_state_dict(
        {name[len(prefix) :]: value for name, value in weights if name.startswith(prefix)}
    )
    return watcher.result(content["global_step"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what Lightning says about loaders, devices and its own services."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning on a newer torch
            yield
    finally:
        logger.setLevel(level)
