"""The callback around each step: teacher, log, progress bar, checkpoints, clock."""

import math
import signal
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from tqdm import tqdm

from mvssl.data import Batch, Problem
from mvssl.distributed import gather, rank, world_size
from mvssl.pretext import CollapseMonitor, PretextOutput
from mvssl.pretext.health import signs_of_collapse
from mvssl.training.checkpoints import CHECKPOINT, CheckpointError, CheckpointWarning
from mvssl.training.divergence import Divergence
from mvssl.training.log import RunLog
from mvssl.training.random_streams import random_streams, restore_random_streams
from mvssl.training.recipe import ENDLESS, FitResult, Recipe
from mvssl.training.showing import OnlineProbe, show_views
from mvssl.training.signals import StopSignals

if TYPE_CHECKING:
    from mvssl.training.lightning import PretextModule, Stream


class Watcher(pl.Callback):
    """Everything around a step; of several processes, the first writes.

    Args:
        folder: Of the run.
        recipe: Of the run.
        stream: Where batches come from.
        signals: What may end the run early.
        divergence: Counts what was skipped.
        probe: What looks at the encoder now and then.
        progress: Whether to show a progress bar.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        stream: "Stream",
        signals: StopSignals,
        divergence: Divergence,
        probe: OnlineProbe | None,
        progress: bool,
    ) -> None:
        self.folder, self.recipe, self.stream, self.signals = folder, recipe, stream, signals
        self.divergence, self.probe, self.progress = divergence, probe, progress
        self.problems: dict[Problem, None] = {}
        self.monitor = CollapseMonitor()
        self.views = 0
        self.seconds = 0.0  # of training, over all resumed parts
        self.finished = False
        self.failed_saves = 0
        self.not_saved: OSError | None = None
        self.rows: RunLog | None = None  # not called log, since Lightning puts a function there
        self._streams: list[dict[str, Any]] = []  # random ones, by process

    def on_train_start(self, trainer: pl.Trainer, module: "PretextModule") -> None:  # type: ignore[override]
        self.step = trainer.global_step
        if rank() == 0:
            self.rows = RunLog(self.folder, self.step)
            if self.probe is not None:
                self.probe.open(self.folder, self.step)
        self.mark, self.marked_views, self.marked_wait = time.perf_counter(), self.views, self.stream.waited
        self.start = self.mark - self.seconds
        module.watcher = self
        self.bar = tqdm(
            total=None if self.recipe.steps == ENDLESS else self.recipe.steps, initial=self.step,
            unit="step", disable=not self.progress or rank() > 0, desc=type(module.pretext).__name__,
            dynamic_ncols=True,
        )  # fmt: skip
        if self._streams and len(self._streams) == world_size():
            restore_random_streams(self._streams[rank()], module.device)
        elif self._streams:
            warnings.warn(
                f"resumed with {world_size()} processes instead of {len(self._streams)}: global random "
                "streams begin anew, so that the run is not exactly the one without an interruption",
                stacklevel=2,
            )
        if trainer.received_sigterm:
            self.signals.received = signal.SIGTERM
        self.signals.listen()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: "PretextModule", outputs: Any, batch: Batch, index: int
    ) -> None:
        self.problems.update(dict.fromkeys(batch.problems))
        self.views += len(batch) * len(batch.crops) * world_size()
        if trainer.global_step == self.step:
            return  # a batch whose gradient waits for others
        self.step = trainer.global_step
        self.seconds = time.perf_counter() - self.start
        stop = self._agree(module.device)
        if not module.skipped:
            module.pretext.after_step(self.step - 1, round(self.step / self.share(self.step)))
        self.bar.update()
        last = self.step == self.recipe.steps
        if self.step % self.recipe.log_every == 0 or last:
            self._log(module, batch)
        self.finished = self.share(self.step) >= 1
        if self.probe is not None and (self.probe.due(self.step) or self.finished):
            self._probe(module)
        if self.finished or stop:
            trainer.should_stop = True
        due = self.recipe.checkpoint_every and self.step % self.recipe.checkpoint_every == 0
        if self.finished or stop or due:
            self.save(trainer, module)

    def _agree(self, device: torch.device) -> bool:
        """Whether a signal came to any process; the clock is the first one's, for all."""
        if world_size() == 1:
            return bool(self.signals.received)
        seconds = self.seconds if rank() == 0 else 0.0
        told = torch.tensor([seconds, float(self.signals.received)], dtype=torch.float64, device=device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        self.seconds, self.signals.received = told[0].item(), int(told[1].item())
        return bool(self.signals.received)

    def share(self, step: int) -> float:
        """Share of the run that is over after ``step`` steps."""
        by_steps = step / self.recipe.steps
        if self.recipe.minutes is None:
            return by_steps
        return max(by_steps, self.seconds / (60 * self.recipe.minutes))

    def _log(self, module: "PretextModule", batch: Batch) -> None:
        assert module.output is not None
        now = time.perf_counter()
        taken = now - self.mark
        rate, waited = (self.views - self.marked_views) / taken, self.stream.waited - self.marked_wait
        self.mark, self.marked_views, self.marked_wait = now, self.views, self.stream.waited
        output = module.output
        row = {
            "step": self.step, "views": self.views, "loss": output.loss.item(),
            **{name: sign.item() for name, sign in _health(output).items()},
            "gradient_norm": module.gradient_norm,
            "learning_rate": module.learning_rate,
            "views_per_second": rate,
            "data_share": waited / taken,
            **_memory(module.device),
            **{name: value.item() for name, value in output.terms.items()},
        }  # fmt: skip
        self.monitor.watch(self.step, row)
        if self.rows is not None:
            self.rows.write(row)
            if self._shows():
                self.rows.show(lambda events: show_views(events, self.step, module, batch))
        self.bar.set_postfix_str(f"loss {row['loss']:.3f}, {rate:.0f} views/s")

    def _shows(self) -> bool:
        """Whether views are due at this row: the first, and the first after each ``show_every`` steps."""
        every, before = self.recipe.show_every, self.step - self.recipe.log_every
        return every > 0 and (before <= 0 or self.step // every > before // every)

    def _probe(self, module: "PretextModule") -> None:
        """Looks at the encoder; what that takes is no time of training."""
        begun = time.perf_counter()
        if self.rows is not None and self.probe is not None:
            self.probe.look(module.pretext.encoder, self.step, self.rows, last=self.finished)
        spent = time.perf_counter() - begun
        self.start, self.mark = self.start + spent, self.mark + spent

    def save(self, trainer: pl.Trainer, module: "PretextModule") -> None:
        """Writes ``last.ckpt``; if that fails, says so and goes on."""
        self._gather(module.device)
        self.not_saved = None
        try:
            if self.rows is not None:
                self.rows.settle()
        except OSError as error:
            self.not_saved = error
        trainer.save_checkpoint(self.folder / CHECKPOINT)
        if self.not_saved is None:
            return
        self.failed_saves += 1
        if not (self.finished or self.signals.received):
            warnings.warn(
                f"no checkpoint could be written at step {self.step} ({self.not_saved}): the run goes on, "
                f"and the one before stays the last in {self.folder}",
                CheckpointWarning,
                stacklevel=2,
            )

    def _gather(self, device: torch.device) -> None:
        """What each process has of its own: random streams, and files that could not be read."""
        mine = random_streams(device), list(self.problems)
        told: list[Any] = [mine]
        if world_size() > 1:
            told = [None] * world_size()
            dist.all_gather_object(told, mine)
        self._streams = [streams for streams, _ in told]
        self.problems = dict.fromkeys(problem for _, found in told for problem in found)

    def close(self) -> None:
        """Ends the log; the progress bar stays as it is."""
        if hasattr(self, "bar"):
            self.bar.close()
        if self.rows is not None:
            self.rows.close()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know of the part before it."""
        problems = [(problem.path, problem.reason) for problem in self.problems]
        return {
            "views": self.views, "seconds": self.seconds, "finished": self.finished, "problems": problems,
            "monitor": self.monitor.state_dict(), "failed_saves": self.failed_saves,
            "divergence": self.divergence.state_dict(), "random_streams": self._streams,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.keys() != self.state_dict().keys():
            raise CheckpointError(
                f"the run in {self.folder} was begun by another version of mvssl: end it there, or begin anew"
            )
        self.views, self.seconds = state_dict["views"], state_dict["seconds"]
        self.finished, self.failed_saves = state_dict["finished"], state_dict["failed_saves"]
        self.monitor.load_state_dict(state_dict["monitor"])
        self.divergence.load_state_dict(state_dict["divergence"])
        self._streams = state_dict["random_streams"]
        self.problems = {Problem(*pair): None for pair in state_dict["problems"]}

    def result(self, steps: int) -> FitResult:
        """What came of the run."""
        return FitResult(
            steps, self.views, self.seconds, stopped_by_clock=steps < self.recipe.steps,
            problems=tuple(self.problems), collapse=self.monitor.finding,
            skipped=self.divergence.skipped, failed_saves=self.failed_saves,
        )  # fmt: skip


def _health(output: PretextOutput) -> dict[str, torch.Tensor]:
    """Signs of collapse in the whole batch."""
    if world_size() == 1 or not output.embeddings:
        return output.health
    with torch.no_grad():
        return signs_of_collapse(gather([view.detach().float() for view in output.embeddings]))


def _memory(device: torch.device) -> dict[str, float]:
    """Most memory that a GPU has held so far, in GiB."""
    if device.type != "cuda":
        return {}
    return {"gpu_memory": torch.cuda.max_memory_allocated(device) / math.pow(2, 30)}
