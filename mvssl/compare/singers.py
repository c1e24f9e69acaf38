"""Who sings? Upstreams × kinds of audio × frozen or fine-tuned, judged on the same tracks, in one report."""

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from mvssl.compare.comparison import Comparison
from mvssl.compare.gathering import from_evaluations
from mvssl.compare.report import write_report
from mvssl.compare.singer_tables import HEARD, Audio, Row, singer_blocks, write_singers
from mvssl.compare.summary import Summary
from mvssl.data import Corpus, Gate, corpora, open_corpus, prepare_voices
from mvssl.device import default_device
from mvssl.encoders import create_encoder, encoders
from mvssl.evaluation import Evaluation, SupervisedRecipe, evaluate, finetune, mel_statistics
from mvssl.evaluation.adapters import TransformersEncoder
from mvssl.evaluation.finetuning import FINETUNED, FROZEN
from mvssl.evaluation.layers import Layered, PooledLayers
from mvssl.evaluation.sources import load_source

SILENCE = {"off": (False,), "on": (True,), "both": (False, True)}
"""Whether silence is removed, by what a user says."""

MEL = "mel_statistics"
_SAMPLE_RATE = 16_000  # of mel statistics
_PROBE = "mlp"


def compare_singers(
    data: str | os.PathLike[str] | Corpus,
    upstreams: Sequence[str],
    out: str | os.PathLike[str],
    *,
    separation: Sequence[str] = ("none",),
    silence_removal: Literal["off", "on", "both"] = "both",
    modes: Sequence[str] = (FROZEN,),
    weights: str | os.PathLike[str] | None = None,
    threshold_db: float = -35.0,
    seconds: float = 5.0,
    crops: int = 10_000,
    encoder_rate: float = 1e-3,
    seed: int = 0,
    resamples: int = 1000,
    progress: bool = False,
) -> Summary:
    """Compares what upstreams know of singers; writes ``report.html``, ``singers.csv`` and all their numbers.

    Tracks are cut into segments, a probe is trained on segments, and the scores of a track are the mean of
    the logarithms of its segments' probabilities. Frozen upstreams are read by an MLP on a learned weighted
    sum of their hidden states, or where those differ in size the embedding. All
    are judged on the tracks that every kind of audio has. Killed and called again, it goes on.

    Args:
        data: A folder of singers (see the corpus ``singer_folder``), a folder with a manifest, or anything
            else that :func:`mvssl.data.open_corpus` opens, of classes.
        upstreams: Presets of encoders, which stay untrained, ``"mel_statistics"``, folders of runs, or
            ``hf:`` and a folder. The first preset is the baseline.
        out: Folder for the report, the audio that is made, and all that is kept.
        separation: How the voice is got, see :func:`mvssl.data.prepare_voices`; one or more.
        silence_removal: Whether audio without silence is judged, or both.
        modes: ``"frozen"``, ``"finetuned"`` from the last state, or both.
        weights: File of weights of a network that separates.
        threshold_db: Of the gate that removes silence.
        seconds: Length of a segment; shorter tracks are left out.
        crops: Segments that a fine-tuning run sees.
        encoder_rate: Learning rate of the upstream in fine-tuning.
        seed: Of untrained weights, and of training.
        resamples: Test-set resamples behind each interval.
        progress: Show progress bars.

    Raises:
        CorpusError: If the labels are no classes, or no track can be used.
        FileNotFoundError: If weights of a separator are not there.
        ValueError: If an argument is unknown, or two upstreams have one name.
    """
    if silence_removal not in SILENCE or not modes or set(modes) - {FROZEN, FINETUNED}:
        raise ValueError(
            f"silence_removal={silence_removal!r}, modes={','.join(modes)}: use off, on or both, and frozen, "
            "finetuned or both"
        )
    out = Path(out)
    kinds = [Audio(name, gated) for name in dict.fromkeys(separation) for gated in SILENCE[silence_removal]]
    corpus, heard = _audio(data, kinds, out, weights, Gate(threshold_db), seconds, progress)
    loaded = _loaded(upstreams, seed)
    runs: dict[str, Evaluation] = {}
    rows: list[Row] = []
    for (name, encoder), audio in ((pair, audio) for pair in loaded.items() for audio in kinds):
        shared: dict[str, Any] = {"seed": seed, "progress": progress, "fractions": (1.0,), "repeats": 1}
        if FROZEN in modes:
            found, layers = _frozen(encoder, heard[audio], seconds, out / "embeddings", shared)
            rows.append(Row(name, audio, FROZEN, layers))
            runs[rows[-1].method] = replace(found, corpus=corpus)
        if FINETUNED in modes and name != MEL:
            found = finetune(
                _of_segments(encoder, seconds), heard[audio], out=out / "trained",
                recipe=SupervisedRecipe.finetuning(crops, encoder_rate=encoder_rate), **shared,
            )  # fmt: skip
            rows.append(Row(name, audio, FINETUNED, "from the last state"))
            runs[rows[-1].method] = replace(found, corpus=corpus)
    if not runs:
        raise ValueError("there is nothing to compare: mel_statistics cannot be fine-tuned")
    comparison = _comparison(runs, rows, _titles(upstreams, loaded), threshold_db, seconds, crops)
    summary = write_report(
        comparison,
        out,
        resamples,
        title=f"Who sings? {corpus.name}",
        more=lambda made, found: singer_blocks(made, found, rows),
    )
    write_singers(out / "singers.csv", comparison, summary, rows)
    return summary


def _audio(
    data: str | os.PathLike[str] | Corpus,
    kinds: Sequence[Audio],
    out: Path,
    weights: str | os.PathLike[str] | None,
    gate: Gate,
    seconds: float,
    progress: bool,
) -> tuple[Corpus, dict[Audio, Corpus]]:
    """The tracks that every kind of audio has, as they were, and in each kind, in the same order."""
    opened = open_corpus(_source(data), min_seconds=seconds, progress=progress).labelled()
    if opened.task != "classification":
        raise ValueError(f"{opened.name}: singers are classes, and its labels are of the kind {opened.task}")
    common, made = np.ones(len(opened), bool), {}
    for kind in kinds:
        if kind != Audio("none", False):
            made[kind] = prepare_voices(
                opened, out / "audio" / kind.slug, separation=kind.separation,
                weights=weights if kind.separation not in HEARD else None,
                gate=gate if kind.gated else None, least=seconds, progress=progress,
            )  # fmt: skip
            common &= [bool(voice.path) for voice in made[kind].tracks]
    kept = np.flatnonzero(common)
    corpus = opened.take(kept)
    heard = {Audio("none", False): corpus}
    for kind, voices in made.items():
        tracks = [voices.tracks[row] for row in kept]
        heard[kind] = replace(
            corpus, root=voices.corpus.root, audio=None, stems=None,
            paths=np.array([track.path for track in tracks]),
            seconds=np.array([track.seconds for track in tracks]),
        )  # fmt: skip
    return corpus, heard


def _source(data: str | os.PathLike[str] | Corpus) -> str | Corpus:
    """A folder of folders without a manifest is one of singers."""
    if isinstance(data, Corpus):
        return data
    folder = Path(data).expanduser()
    is_known = os.fspath(data) in corpora.names() or any(
        (folder / name).is_file() for name in ("manifest.jsonl", "index.json")
    )
    return os.fspath(data) if is_known or not folder.is_dir() else f"singer_folder@{folder}"


def _loaded(upstreams: Sequence[str], seed: int) -> dict[str, nn.Module]:
    """Upstreams by their names in the comparison; the first preset is its random encoder."""
    found: dict[str, nn.Module] = {}
    for upstream in upstreams:
        is_preset = upstream in encoders.names()
        name = "random" if is_preset and "random" not in found else upstream
        if is_preset:
            torch.manual_seed(seed)
            encoder: nn.Module = create_encoder(upstream)
        elif upstream == MEL:
            encoder = mel_statistics(create_encoder("tiny", sample_rate=_SAMPLE_RATE).frontend)
        else:
            encoder = load_source(upstream)
            name = re.sub(r"\W+", "_", Path(upstream.rpartition(":")[2]).name)
        if name in found:
            raise ValueError(f"upstreams: two have the name {name!r}; rename the folder of one")
        found[name] = encoder.to(default_device())
    return found


def _titles(upstreams: Sequence[str], loaded: Mapping[str, nn.Module]) -> dict[str, str]:
    titles = {}
    for upstream, name in zip(upstreams, loaded, strict=True):
        is_preset = upstream in encoders.names()
        titles[name] = f"untrained {upstream}" if is_preset else "mel statistics" if name == MEL else name
    return titles


def _frozen(
    encoder: nn.Module, corpus: Corpus, seconds: float, cache: Path, shared: Mapping[str, Any]
) -> tuple[Evaluation, str]:
    """Scores of an MLP on the segments, and in words which layers it reads."""
    rate = int(getattr(encoder, "sample_rate", _SAMPLE_RATE))
    layer: Literal["weighted"] | None = None
    if hasattr(encoder, "hidden_states"):
        dims = PooledLayers(cast(Layered, encoder), round(seconds * rate)).dims
        layer = "weighted" if len(set(dims)) == 1 else None
    found = evaluate(
        encoder, corpus, probes=(_PROBE,), aggregate="scores", layer=layer, seconds=seconds, sample_rate=rate,
        cache=cache, **shared,
    )  # fmt: skip
    return found, "weighted sum of states" if layer else "embedding"


def _of_segments(encoder: nn.Module, seconds: float) -> nn.Module:
    """A copy whose crops are the segments, and whose embedding is its last state."""
    found = copy.deepcopy(encoder)
    found.seconds = seconds  # type: ignore[assignment]
    if isinstance(found, TransformersEncoder):
        found.layer = "last"
        found.config = {**found.config, "layer": "last"}
    return found


def _comparison(
    runs: Mapping[str, Evaluation],
    rows: Sequence[Row],
    titles: Mapping[str, str],
    threshold_db: float,
    seconds: float,
    crops: int,
) -> Comparison:
    tuned = {row.method: FINETUNED for row in rows if row.mode == FINETUNED}
    named = {
        row.method: f"{titles[row.upstream]} ({row.audio.title}{', fine-tuned' * (row.mode == FINETUNED)})"
        for row in rows
    }
    notes = (
        f"Scores are of segments of {seconds:g} s, combined per track. Silence is what is {-threshold_db:g} "
        "dB below the loudest frame of a track, and never so much that less than a segment is left.",
        *([f"Each fine-tuning run saw {crops} segments."] if tuned else []),
    )
    config = {"seconds": seconds, "threshold_db": threshold_db, "crops": crops}
    return from_evaluations(
        runs, probe=_PROBE, probes=tuned, titles={**titles, **named}, config=config, notes=notes
    )
