"""What a frozen encoder says of each frame, and networks that judge frames one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from mvssl.data import Corpus, Problem
from mvssl.evaluation.embeddings import evaluation_mode, numbered, track_crops
from mvssl.evaluation.layers import Layered
from mvssl.evaluation.probes.networks import Networks, Shape
from mvssl.evaluation.tasks import tasks

_BATCH = 32  # crops that are encoded at once
_CHECKED = 20_000  # validation frames that a check looks at


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of all tracks of a corpus, one track after the other.

    Attributes:
        values: (frames, dim) float16.
        starts: (tracks + 1,) where each track begins, and the end.
        rate: Frames per second.
        problems: Tracks that turned out to be shorter than one crop; silence was added to them.
    """

    values: Tensor
    starts: NDArray[np.int64]
    rate: float
    problems: tuple[Problem, ...] = ()

    def rows(self, tracks: NDArray[np.int64]) -> Tensor:
        """Numbers of the frames of some tracks."""
        spans = [np.arange(self.starts[track], self.starts[track + 1]) for track in tracks]
        return torch.from_numpy(np.concatenate(spans))


def extract_frames(
    encoder: Layered,
    corpus: Corpus,
    layer: int,
    *,
    seconds: float,
    sample_rate: int,
    progress: bool = False,
) -> Frames:
    """The frames of one hidden state, of all whole crops of every track; the frames of a crop fill it evenly.

    Args:
        encoder: Has ``hidden_states``. If it is a module, it is run on its device and in evaluation mode.
        corpus: The tracks.
        layer: Number of the hidden state.
        seconds: Length of a crop.
        sample_rate: In Hz.
        progress: Show a progress bar.

    Raises:
        AudioFileError: If a track cannot be read.
        FloatingPointError: If a frame is not finite, or more than 16 bits hold.
    """
    parts, counts, problems = [], np.zeros(len(corpus), np.int64), []
    tracks = track_crops(corpus, round(seconds * sample_rate), sample_rate)
    crops = numbered(iter(tqdm(tracks, "frames", len(corpus), disable=not progress)))
    with evaluation_mode(encoder) as device, torch.inference_mode():
        while batch := list(islice(crops, _BATCH)):
            numbers, audio, wrong = zip(*batch, strict=True)
            states = encoder.hidden_states(torch.from_numpy(np.stack(audio)).to(device))[layer].half().cpu()
            if not states.isfinite().all():
                raise FloatingPointError(f"hidden state {layer} is not finite in 16 bits; has it diverged?")
            parts.append(states.flatten(0, 1))
            np.add.at(counts, list(numbers), states.shape[1])
            problems += [problem for problem in wrong if problem]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Frames(torch.cat(parts), starts, states.shape[1] / seconds, tuple(problems))


class FrameProbe:
    """Networks with one output per frame, a learning rate each, trained side by side and stopped early.

    Adam on the sigmoid cross-entropy of frames drawn at random; what is kept of a network are the weights
    that were best on frames of the validation split.

    Args:
        frames: Features; they are standardised over the training frames.
        targets: (frames,) from 0 to 1.
        train: Tracks to learn from.
        valid: Tracks to stop by.
        rates: Learning rates.
        hidden: Width of the hidden layer; 0 for a linear probe.
        dropout: Share of the hidden units that is left out in training.
        batch_size: Frames per step.
        check_every: Steps between two looks at the validation frames.
        patience: Looks without progress after which a network ends.
        max_steps: Steps after which all end.
        seed: Of weights, batches and dropout.

    Raises:
        FloatingPointError: If training diverges with every learning rate.
    """

    def __init__(
        self,
        frames: Frames,
        targets: Tensor,
        train: NDArray[np.int64],
        valid: NDArray[np.int64],
        *,
        rates: Sequence[float],
        hidden: int = 512,
        dropout: float = 0.2,
        batch_size: int = 512,
        check_every: int = 50,
        patience: int = 10,
        max_steps: int = 3_000,
        seed: int = 0,
    ) -> None:
        self._frames, self.rates = frames, tuple(rates)
        rows, checked = frames.rows(train), frames.rows(valid)
        generator = torch.Generator().manual_seed(seed)
        checked = checked[torch.randperm(len(checked), generator=generator)[:_CHECKED]]
        self._mean, self._std = _moments(frames.values, rows)
        self._shape = Shape(frames.values.shape[1], hidden, 1)
        task = tasks.entry("tagging").target
        nets = Networks(self._shape, torch.tensor(self.rates), task, seed)
        best, found, last = [np.inf] * len(rates), [nets.weights_of(net) for net in range(len(rates))], 0
        for step in range(max_steps):
            drawn = rows[torch.randint(len(rows), (batch_size,), generator=generator)]
            mask = (torch.rand(batch_size, hidden, generator=generator) >= dropout) / (1 - dropout)
            x, y = self._ready(drawn), targets[drawn, None]
            nets.step(x.expand(len(rates), -1, -1), y.expand(len(rates), -1, -1), mask)
            if (step + 1) % check_every:
                continue
            outputs = nets.outputs(self._ready(checked))
            losses = task.losses(outputs, targets[checked, None].expand_as(outputs)).mean((1, 2))
            for net, loss in enumerate(losses.tolist()):
                if loss < best[net]:
                    best[net], found[net], last = loss, nets.weights_of(net), step
            if step - last >= patience * check_every:
                break
        if not np.isfinite(best).any():
            raise FloatingPointError(f"training diverges with each learning rate of {self.rates}: lower them")
        self._weights = found
        self.usable = [net for net, loss in enumerate(best) if np.isfinite(loss)]

    def activations(self, net: int, tracks: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Of one network, from 0 to 1 for each frame of some tracks."""
        found = []
        for track in tracks:
            rows = self._frames.rows(np.array([track]))
            with torch.inference_mode():
                outputs = self._shape.forward(self._weights[net], self._ready(rows))
            found.append(outputs[:, 0].sigmoid().double().numpy())
        return found

    def _ready(self, rows: Tensor) -> Tensor:
        return (self._frames.values[rows].float() - self._mean) / self._std


def _moments(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (dim,) of some rows, a part at a time; a constant keeps its size."""
    total, squares = (torch.zeros(values.shape[1], dtype=torch.float64) for _ in range(2))
    for part in rows.split(2**16):
        chosen = values[part].double()
        total += chosen.sum(0)
        squares += chosen.square().sum(0)
    mean = total / len(rows)
    variance = (squares / len(rows) - mean.square()).clamp_min(0)
    std = torch.where(variance > 1e-10 * mean.square(), variance, 1.0).sqrt()
    return mean.float(), std.float()
