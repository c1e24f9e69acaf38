"""Training with labels: an encoder from scratch, or one that has been pre-trained, on labelled subsets."""

import copy
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from mvssl.atomic import replacing
from mvssl.data import Batch, Corpus, loader
from mvssl.device import Precision, default_device, default_workers, uses_bf16
from mvssl.encoders import Encoder
from mvssl.evaluation.held_out import HeldOut
from mvssl.evaluation.objective import Objective
from mvssl.evaluation.subsets import Subset
from mvssl.evaluation.tasks import task_of
from mvssl.optim import adamw, warmup_cosine
from mvssl.seeding import hash_keys
from mvssl.views import Crops, ViewChain

FINETUNING_RATE = 1e-3  # of a pre-trained encoder, a third of the head's: experiments/finetuning.py
CHECKS = 3  # times that a run is judged on validation; the best of them is kept


@dataclass(frozen=True)
class SupervisedRecipe:
    """How an encoder and a new linear layer on it, the head, are trained with labels.

    The defaults are those of training from scratch; :meth:`finetuning` gives others.

    Attributes:
        crops: Crops seen by a run on all labels. On a share s of the labels a run sees √s times as many:
            fewer tracks need fewer steps, yet more passes over each.
        batch_size: Crops per step.
        learning_rate: Peak of the learning rate of the head, after a warm-up, before a cosine.
        weight_decay: Of matrices and kernels.
        clip_norm: Largest norm of the gradient.
        precision: Of the encoder.
        encoder_rate: Peak of the learning rate of the encoder; None gives it that of the head.
        head_first: Share of the steps in which the head is trained alone; the encoder's learning rate warms
            up after them. A random head sends gradients back that distort what a pre-trained encoder knows
            (Kumar et al. 2022, arXiv:2202.10054); on the embedded corpus it made no difference.

    Raises:
        ValueError: If a number is out of range.
    """

    crops: int = 10_000
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    clip_norm: float = 3.0
    precision: Precision = "auto"
    encoder_rate: float | None = None
    head_first: float = 0.0

    def __post_init__(self) -> None:
        if self.crops < 1 or self.batch_size < 2 or not 0 <= self.head_first < 1:
            raise ValueError(
                f"crops={self.crops}, batch_size={self.batch_size}, head_first={self.head_first}: at least "
                "1 and 2, and a share below 1 are needed"
            )

    @classmethod
    def finetuning(cls, crops: int = 10_000, **changes: Any) -> "SupervisedRecipe":
        """The defaults for pre-trained encoders, which learn more slowly than the head on them.

        On the embedded corpus (``experiments/finetuning.py``; mAP at 5 and 100 % of the labels) 1e-3, a third
        of the head's rate, gives .443 and .610, beside 1e-4 (.438, .534), 3e-4 (.442, .569), 3e-3 (.438,
        .611) and a linear probe (.445, .573). Not measured on large transformers, for which lower rates are
        usual.

        Args:
            crops: As above.
            **changes: Other fields that shall differ from these defaults.
        """
        return cls(crops, **{"encoder_rate": FINETUNING_RATE, **changes})

    def steps(self, share: float) -> int:
        """Steps of a run on a share of the labels; at least one per check."""
        return max(CHECKS, round(self.crops * share**0.5 / self.batch_size))

    def rates(self, progress: float) -> tuple[float, float]:
        """Learning rates of encoder and head when a share of the run is over."""
        peak = self.learning_rate if self.encoder_rate is None else self.encoder_rate
        since = (progress - self.head_first) / (1 - self.head_first)
        return peak * warmup_cosine(max(since, 0.0)), self.learning_rate * warmup_cosine(progress)


class HeldOutScores(NamedTuple):
    """Scores (tracks, columns) of the two splits that are not trained on."""

    valid: NDArray[np.float32]
    test: NDArray[np.float32]


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
) -> HeldOutScores:
    """Trains an encoder and a linear layer on labelled tracks, with the loss of the kind of task.

    The run is judged on validation at three points, by the leading metric; scores are those of the best.

    Args:
        encoder: Freshly initialised or pre-trained; it is trained in place. The head's weights come from
            torch's global generator.
        corpus: The corpus.
        rows: Labelled rows of the corpus.
        views: Whose transforms augment the crops.
        valid: Validation tracks.
        test: Test tracks.
        share: Share of all labels that ``rows`` are.
        recipe: Budget and optimiser.
        seed: Of order, crops and augmentation.
    """
    labelled = corpus.take(np.asarray(rows))
    device = default_device()
    objective = Objective(task_of(corpus), labelled.targets)
    model = nn.Sequential(encoder, nn.Linear(encoder.embed_dim, len(corpus.vocabulary))).to(device)
    model.train()
    optimiser = _optimiser(model, recipe)
    targets = objective.standardised(labelled.targets).to(device)
    # Batches keep their size where there are few tracks: then each track gives several crops.
    tracks = min(len(labelled), recipe.batch_size)
    views = views.with_sampler(Crops(encoder.seconds, n_views=max(1, round(recipe.batch_size / tracks))))
    views = views.bind(encoder.frontend).to(device)
    bf16 = uses_bf16(recipe.precision, device)
    steps, best = recipe.steps(share), -np.inf
    kept = model.state_dict()  # follows the model, so that the last state counts where no check has a value
    batches = loader(
        labelled, views, tracks, split=None, steps=steps, seed=seed, sample_rate=encoder.sample_rate,
        workers=default_workers(device),
    )  # fmt: skip
    for step, batch in enumerate(batches):
        for group, rate in zip(optimiser.param_groups, np.repeat(recipe.rates(step / steps), 2), strict=True):
            group["lr"] = float(rate)
        _loss(model, views, batch.to(device), targets, objective, bf16).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) * CHECKS // steps > step * CHECKS // steps:
            score = objective.value(objective.scores(valid.scores(model, bf16)), valid.targets)
            if score > best:
                best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return HeldOutScores(*(objective.scores(held_out.scores(model, bf16)) for held_out in (valid, test)))


def _optimiser(model: nn.Sequential, recipe: SupervisedRecipe) -> torch.optim.AdamW:
    """Two groups of parameters of the encoder, then two of the head, see :func:`mvssl.optim.adamw`."""
    encoder, head = model
    optimiser = adamw([encoder], recipe.learning_rate, recipe.weight_decay)
    for group in adamw([head], recipe.learning_rate, recipe.weight_decay).param_groups:
        optimiser.add_param_group(group)
    return optimiser


def _loss(
    model: nn.Module, views: ViewChain, batch: Batch, targets: Tensor, objective: Objective, bf16: bool
) -> Tensor:
    with torch.autocast(batch.items.device.type, torch.bfloat16, enabled=bf16):
        outputs = model(torch.cat(views(batch)))
    return objective.loss(outputs, targets[batch.items].repeat(len(batch.crops), 1))


@dataclass(frozen=True, eq=False)
class SubsetScores:
    """What training on each of several label subsets led to.

    Attributes:
        valid: (subsets, valid tracks, columns).
        test: (subsets, test tracks, columns).
        seconds: Wall-clock seconds of all runs, those of earlier calls included.
        crops: Crops that all runs saw.
    """

    valid: NDArray[np.float32]
    test: NDArray[np.float32]
    seconds: float
    crops: int


def train_on_subsets(
    start: Callable[[], Encoder],
    corpus: Corpus,
    subsets: Sequence[Subset],
    views: ViewChain,
    *,
    recipe: SupervisedRecipe,
    seed: int = 0,
    folder: Path | None = None,
    progress: str | None = None,
) -> SubsetScores:
    """Trains one encoder per label subset.

    Args:
        start: Makes the encoder that a run starts from, on the CPU. What it and the head draw from torch's
            global generators is seeded by ``seed`` and the number of the subset; for the caller they stay
            as they were.
        corpus: The corpus.
        subsets: Labelled tracks of each run.
        views: Whose transforms augment the crops.
        recipe: Budget and optimiser.
        seed: Of everything random.
        folder: Keeps the scores of each subset as soon as there are any; what is there is not trained again.
            It is for one start, corpus, recipe and seed.
        progress: Title of a progress bar; None shows none.
    """
    train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
    held_out: tuple[HeldOut, HeldOut] | None = None
    shares = [len(subset.indices) / len(train) for subset in subsets]
    runs: list[_Run] = []
    bar = tqdm(subsets, progress, unit="subset", dynamic_ncols=True, disable=progress is None)
    for number, subset in enumerate(bar):
        path = None if folder is None else folder / f"subset{number}.npz"
        run = None if path is None else _read(path)
        if run is None:
            began = time.perf_counter()
            with _seeded(int(hash_keys(seed, number)) % 2**63):
                encoder = start()
                held_out = held_out or (HeldOut(encoder, corpus, valid), HeldOut(encoder, corpus, test))
                scores = train_supervised(
                    encoder, corpus, train[subset.indices], views, *held_out, share=shares[number],
                    recipe=recipe, seed=seed,
                )  # fmt: skip
            run = _Run(scores, time.perf_counter() - began)
            if path is not None:
                _write(path, run)
        runs.append(run)
    return SubsetScores(
        valid=np.stack([run.scores.valid for run in runs]),
        test=np.stack([run.scores.test for run in runs]),
        seconds=sum(run.seconds for run in runs),
        crops=sum(recipe.steps(share) * recipe.batch_size for share in shares),
    )


class _Run(NamedTuple):
    scores: HeldOutScores
    seconds: float


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generators, and gives them back as they were."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _write(path: Path, run: _Run) -> None:
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, valid=run.scores.valid, test=run.scores.test, seconds=run.seconds)


def _read(path: Path) -> _Run | None:
    """What was kept, or None where nothing was, or nothing that can be read."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            return _Run(HeldOutScores(kept["valid"], kept["test"]), float(kept["seconds"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
