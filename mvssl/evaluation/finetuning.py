"""What a pre-trained encoder is worth when labels may change it too, beside the same encoder untrained."""

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mvssl.data import Corpus, open_corpus
from mvssl.encoders import Encoder
from mvssl.evaluation.adapters import TransformersEncoder
from mvssl.evaluation.embeddings import fingerprint
from mvssl.evaluation.inputs import open_task
from mvssl.evaluation.probes import ProbeResult
from mvssl.evaluation.protocol import FRACTIONS, evaluate, label_subsets
from mvssl.evaluation.result import Evaluation
from mvssl.evaluation.subsets import Subset
from mvssl.evaluation.supervised import SubsetScores, SupervisedRecipe, train_on_subsets
from mvssl.evaluation.tasks import task_of
from mvssl.frontends import Waveform
from mvssl.views import ViewChain, chain

_LABELS = ("fractions", "shots", "repeats", "subsets")  # arguments that say which labels there are
NEEDED = ("embed_dim", "frontend", "seconds", "sample_rate")
MODES = FROZEN, FINETUNED, SCRATCH = "frozen", "finetuned", "scratch"


def finetune(
    encoder: Encoder | nn.Module,
    task: str | os.PathLike[str] | Corpus,
    *,
    fractions: Sequence[float] = FRACTIONS,
    shots: Sequence[int] = (),
    repeats: int = 4,
    subsets: Sequence[Subset] | str | os.PathLike[str] | None = None,
    recipe: SupervisedRecipe | None = None,
    views: str | ViewChain | None = None,
    from_scratch: bool = False,
    seed: int = 0,
    progress: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Trains an encoder with labels, once per label subset, and judges it as :func:`mvssl.evaluate` does.

    The same arguments with ``from_scratch=True`` give the baseline: the same network, budget and subsets
    without pre-training. Results stand under the names ``"finetuned"`` and ``"scratch"``, for
    ``mean(probe="finetuned")``. To set both against a linear probe on the frozen encoder, merge the results:
    ``dataclasses.replace(frozen, results={**frozen.results, **finetuned.results})``.

    Args:
        encoder: An encoder of ours, or what :func:`mvssl.evaluation.adapters.from_module` or
            ``from_transformers`` make of another. It is not changed.
        task: A corpus with labels: its name, folder or manifest.
        fractions: Shares of the training split's labels.
        shots: Labelled tracks per tag or class, instead of fractions.
        repeats: Draws of each fraction below 1, or of each number of shots.
        subsets: Labelled tracks to use instead of drawing any, or a file of them.
        recipe: Budget and optimiser; by default 10,000 crops with all labels, and the learning rates of
            :meth:`SupervisedRecipe.finetuning`, or those from scratch.
        views: Whose transforms augment the crops; by default ``"light"``, or ``"light_waveform"`` for
            encoders of raw audio.
        from_scratch: Start from fresh weights.
        seed: Of label subsets, heads, fresh weights, order, crops and augmentation.
        progress: Show a progress bar.
        out: Folder that keeps the scores of each subset; killed and called again, it goes on where it
            stopped. Runs with other settings or weights have other sub-folders.

    Raises:
        CorpusError: If the corpus has no labels or lacks a split, or tracks are shorter than a crop.
        TypeError: If ``encoder`` cannot be trained.
        ValueError: If its class is not ours and it is to start afresh.
    """
    model = _trainable(encoder)
    corpus = open_task(model, task, None, None).corpus
    subsets = label_subsets(corpus, subsets, fractions=fractions, shots=shots, repeats=repeats, seed=seed)
    if recipe is None:
        recipe = SupervisedRecipe() if from_scratch else SupervisedRecipe.finetuning()
    if views is None:
        views = "light_waveform" if isinstance(model.frontend, Waveform) else "light"
    crops = chain(views, model.seconds) if isinstance(views, str) else views
    name = SCRATCH if from_scratch else FINETUNED
    folder = None
    if out is not None:
        settings = (name, recipe, crops, seed, [subset.indices.tolist() for subset in subsets])
        folder = Path(out) / f"{name}-{_digest(model, corpus, settings)}"
    found = train_on_subsets(
        _fresh(model) if from_scratch else lambda: copy.deepcopy(model).cpu(),
        corpus, subsets, crops, recipe=recipe, seed=seed, folder=folder, progress=name if progress else None,
    )  # fmt: skip
    return Evaluation(corpus, tuple(subsets), {name: _as_result(found, corpus, recipe)})


def evaluate_modes(
    encoder: nn.Module,
    task: str | os.PathLike[str] | Corpus,
    modes: Sequence[str],
    *,
    crops: int,
    encoder_rate: float,
    cache: str | os.PathLike[str],
    out: str | os.PathLike[str],
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Evaluation:
    """One encoder frozen, fine-tuned and from scratch, as far as asked for, on the same subsets.

    Args:
        encoder: As :func:`finetune` takes it.
        task: A corpus with labels: its name, folder or manifest.
        modes: Of ``"frozen"``, which gives one result per probe, ``"finetuned"`` and ``"scratch"``.
        crops: Crops that a run sees on all labels.
        encoder_rate: Learning rate of the encoder in fine-tuning.
        cache: Folder that keeps the embeddings of the frozen encoder.
        out: Folder that keeps the scores of the others.
        seed: Of the label subsets, and of training.
        progress: Show progress bars.
        **options: Further arguments of :func:`mvssl.evaluate`, of which those that say which labels there are
            go to :func:`finetune`, too.

    Raises:
        ValueError: If a mode is unknown, or there is none.
    """
    if not modes or set(modes) - set(MODES):
        raise ValueError(f"modes={','.join(modes)}: give one or more of {', '.join(MODES)}")
    corpus = open_corpus(task, min_seconds=float(encoder.seconds))  # type: ignore[arg-type]
    shared: dict[str, Any] = {"seed": seed, "progress": progress}
    found = []
    if FROZEN in modes:
        found.append(evaluate(encoder, corpus, cache=cache, **shared, **options))
    shared |= {name: options[name] for name in _LABELS if name in options}
    if FINETUNED in modes:
        recipe = SupervisedRecipe.finetuning(crops, encoder_rate=encoder_rate)
        found.append(finetune(encoder, corpus, recipe=recipe, out=out, **shared))
    if SCRATCH in modes:
        recipe = SupervisedRecipe(crops)
        found.append(finetune(encoder, corpus, recipe=recipe, from_scratch=True, out=out, **shared))
    results = {name: result for each in found for name, result in each.results.items()}
    return replace(found[0], results=results)


def _trainable(encoder: nn.Module) -> Any:
    """The encoder, if it says what training needs.

    It is typed as Any, because modules of other packages are no :class:`Encoder`.
    """
    missing = [name for name in NEEDED if not hasattr(encoder, name)]
    if missing or not isinstance(encoder, nn.Module):
        raise TypeError(
            f"{type(encoder).__name__} cannot be trained with labels: it is no module, or lacks "
            f"{', '.join(missing) or 'parameters'}; wrap it with mvssl.evaluation.adapters.from_module"
        )
    return encoder


def _fresh(encoder: nn.Module) -> Callable[[], Any]:
    """Makes encoders of the same class and arguments, with random weights."""
    if isinstance(encoder, TransformersEncoder):
        return encoder.fresh
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"from_scratch: mvssl does not know how to make a {type(encoder).__name__} with fresh weights; "
            "give a freshly initialised one, without from_scratch"
        )
    return partial(type(encoder), **encoder.config)


def _digest(model: Any, corpus: Corpus, settings: tuple[Any, ...]) -> str:
    """Names what the scores depend on."""
    audio = fingerprint(model, corpus, model.seconds, model.sample_rate)
    content = (audio, corpus.task, corpus.fingerprint(), *settings)
    return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()


def _as_result(found: SubsetScores, corpus: Corpus, recipe: SupervisedRecipe) -> ProbeResult:
    """As probes tell theirs; the grid has one element, the learning rate of the encoder."""
    overall, targets = task_of(corpus).lead.overall, corpus.targets[corpus.indices("valid")]
    rate = recipe.learning_rate if recipe.encoder_rate is None else recipe.encoder_rate
    return ProbeResult(
        scores=found.test.astype(np.float64),
        valid_scores=found.valid.astype(np.float64),
        chosen=np.full(len(found.test), rate),
        grid=(rate,),
        valid_values=np.array([[float(overall(scores, targets))] for scores in found.valid]),
    )
