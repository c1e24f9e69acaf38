"""The limited-data protocol in one call: embeddings, label subsets, probes, metrics, intervals."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvssl.data import Corpus, CorpusError, open_corpus
from mvssl.encoders import load_encoder
from mvssl.evaluation.bootstrap import Difference, Interval, bootstrap_metric, interval, resample_weights
from mvssl.evaluation.embeddings import Embeddings, extract_embeddings
from mvssl.evaluation.inputs import open_task
from mvssl.evaluation.metrics import average_precision, best_thresholds, chance_ap, f1, macro, micro, roc_auc
from mvssl.evaluation.probes import ProbeData, ProbeResult
from mvssl.evaluation.probes import probes as registered
from mvssl.evaluation.subsets import Subset, draw_subsets, save_subsets

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 1.0)
RANKING = {"ap": average_precision, "roc_auc": roc_auc}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What frozen embeddings are worth on a corpus, by probe and share of the labels.

    Printed, it is a table of macro average precision.

    Attributes:
        corpus: What was judged on.
        subsets: Labelled tracks of each fraction and repeat.
        results: What each probe said of the test split, by the name of the probe.
    """

    corpus: Corpus
    subsets: tuple[Subset, ...]
    results: Mapping[str, ProbeResult]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Tags of the test tracks (test tracks, tags)."""
        return self.corpus.targets[self.corpus.indices("test")]

    @property
    def chance(self) -> float:
        """Macro average precision of random scores."""
        return float(macro(chance_ap(self.truth)))

    @property
    def undefined(self) -> dict[str, str]:
        """Tags that some metric does not exist for, and why; macro means of that metric leave them out."""
        valid = self.corpus.targets[self.corpus.indices("valid")]
        reasons = {}
        for place, tag in enumerate(self.corpus.vocabulary):
            positives = self.truth[:, place].sum()
            if positives in (0, len(self.truth)):
                reasons[tag] = f"on {'no' if positives == 0 else 'every'} test track"
            elif not valid[:, place].any():
                reasons[tag] = "on no validation track: no threshold for F1"
        return reasons

    def mean(self, metric: str = "ap", probe: str = "linear") -> dict[float, float]:
        """A macro metric by fraction, the mean over repeats.

        Args:
            metric: ``"ap"``, ``"roc_auc"`` or ``"f1"``.
            probe: One of those that were asked for.
        """
        values = macro(self._values(metric, probe))
        return {fraction: float(values[rows].mean()) for fraction, rows in self._fractions().items()}

    def interval(self, metric: str = "ap", probe: str = "linear") -> dict[float, Interval]:
        """Where :meth:`mean` would lie with other test tracks, by fraction: 95 % of a bootstrap over them.

        Args:
            metric: ``"ap"`` or ``"roc_auc"``.
            probe: One of those that were asked for.
        """
        resampled, estimates = self._resampled(metric, probe), self.mean(metric, probe)
        return {
            fraction: interval(values, estimate=estimates[fraction]) for fraction, values in resampled.items()
        }

    def difference(
        self, other: "Evaluation", metric: str = "ap", probe: str = "linear"
    ) -> dict[float, Difference]:
        """How much better this is than another, by fraction, under the same resamples of the test tracks.

        Args:
            other: Of the same corpus, fractions and probe.
            metric: ``"ap"`` or ``"roc_auc"``.
            probe: One that both were asked for.

        Raises:
            ValueError: If the two were not judged on the same test tracks and fractions.
        """
        self._require_alike(other)
        ours, theirs = self.mean(metric, probe), other.mean(metric, probe)
        resampled, others = self._resampled(metric, probe), other._resampled(metric, probe)
        found = {}
        for fraction, values in resampled.items():
            gain = ours[fraction] - theirs[fraction]
            low, high = interval(values - others[fraction], estimate=gain)
            found[fraction] = Difference(gain, float(low), float(high))
        return found

    def labels_needed(
        self,
        other: "Evaluation",
        fraction: float = 1.0,
        metric: str = "ap",
        probe: str = "linear",
    ) -> tuple[float, Interval]:
        """The share of labels that this needs to be as good as another with a fraction of them.

        As a factor of that fraction: 0.2 means a fifth of the labels. Between fractions the metric is taken
        to grow linearly with the logarithm of the share. Below 1 labels are saved. What is reached with the
        smallest fraction counts as that, so that the factor is no lower; infinity says that this does not
        get there with all labels.

        Args:
            other: Of the same corpus, fractions and probe.
            fraction: What the other may use.
            metric: ``"ap"`` or ``"roc_auc"``.
            probe: One that both were asked for.

        Returns:
            The factor, and its 95 % interval over resamples of the test tracks.

        Raises:
            ValueError: If the two were not judged on the same test tracks and fractions, ``fraction`` among
                them.
        """
        self._require_alike(other)
        ours, theirs = self.mean(metric, probe), other.mean(metric, probe)
        if fraction not in ours:
            raise ValueError(f"fraction={fraction:g} is none of {', '.join(f'{each:g}' for each in ours)}")
        shares = np.array(list(ours))
        value = share_needed(shares, np.array(list(ours.values())), theirs[fraction]) / fraction
        curves = np.stack(list(self._resampled(metric, probe).values()), axis=-1)
        resampled = share_needed(shares, curves, other._resampled(metric, probe)[fraction]) / fraction
        # By order, because some may be infinite; the resamples' bias is that of both and cancels.
        low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
        return float(value), Interval(low, high)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every value: by probe, fraction, repeat and metric, of each tag, ``macro`` and ``micro``."""
        for probe, result in self.results.items():
            for metric in (*RANKING, "f1"):
                values = self._values(metric, probe)
                for subset, of_tags, scores in zip(self.subsets, values, result.scores, strict=True):
                    found = dict(zip(self.corpus.vocabulary, of_tags, strict=True)) | {
                        "macro": macro(of_tags)
                    }
                    if metric in RANKING:
                        found["micro"] = micro(RANKING[metric], scores, self.truth)
                    for tag, value in found.items():
                        yield {
                            "probe": probe, "fraction": subset.fraction, "repeat": subset.repeat,
                            "tracks": len(subset.indices), "tag": tag, "metric": metric,
                            "value": float(value),
                        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``results.csv``, ``subsets.json``, the scores of the test tracks, and this table as text."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(self.rows())
        with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        save_subsets(
            folder / "subsets.json", self.subsets, self.corpus.paths[self.corpus.indices("train")].tolist()
        )
        scores: dict[str, Any] = {name: found.scores for name, found in self.results.items()}
        np.savez(folder / "scores.npz", **scores)
        (folder / "evaluation.txt").write_text(f"{self}\n", encoding="utf-8")
        return folder

    def __str__(self) -> str:
        return self._table

    @cached_property
    def _table(self) -> str:
        """Its intervals take a while."""
        fractions = list(self._fractions())
        lines = [
            f"{self.corpus.name}: macro average precision [95 % over test tracks], chance {self.chance:.3f}"
        ]
        lines.append("labels    " + "".join(f"{f'{fraction:.4g}':>22}" for fraction in fractions))
        for probe in self.results:
            means, ends = self.mean("ap", probe), self.interval("ap", probe)
            cells = (f"{means[f]:.3f} [{ends[f].low:.3f}, {ends[f].high:.3f}]" for f in fractions)
            lines.append(f"{probe:10}" + "".join(f"{cell:>22}" for cell in cells))
        lines += [f"left out: {tag} is {why}" for tag, why in self.undefined.items()]
        return "\n".join(lines)

    def _require_alike(self, other: "Evaluation") -> None:
        test, others = (each.corpus.paths[each.corpus.indices("test")] for each in (self, other))
        if not np.array_equal(test, others) or list(self._fractions()) != list(other._fractions()):
            raise ValueError("the two must be judged on the same test tracks, at the same fractions")

    def _resampled(self, metric: str, probe: str) -> dict[float, NDArray[np.float64]]:
        """The mean over repeats in each resample of the test tracks, by fraction."""
        if metric not in RANKING:
            raise ValueError(f"metric={metric!r}: use 'ap' or 'roc_auc'")
        test = self.corpus.indices("test")
        groups = None if self.corpus.groups is None else self.corpus.groups[test]
        weights = resample_weights(len(test), groups=groups)
        values = macro(bootstrap_metric(RANKING[metric], self.results[probe].scores, self.truth, weights))
        return {fraction: values[rows].mean(axis=0) for fraction, rows in self._fractions().items()}

    def _fractions(self) -> dict[float, list[int]]:
        """Numbers of the subsets of each fraction."""
        found: dict[float, list[int]] = {}
        for number, subset in enumerate(self.subsets):
            found.setdefault(subset.fraction, []).append(number)
        return found

    def _values(self, metric: str, probe: str) -> NDArray[np.float64]:
        """(subsets, tags)."""
        result = self.results[probe]
        if metric in RANKING:
            return np.stack([RANKING[metric](scores, self.truth) for scores in result.scores])
        if metric != "f1":
            raise ValueError(f"metric={metric!r}: use 'ap', 'roc_auc' or 'f1'")
        valid = self.corpus.targets[self.corpus.indices("valid")]
        thresholds = [best_thresholds(scores, valid) for scores in result.valid_scores]
        found = [f1(scores >= t, self.truth) for scores, t in zip(result.scores, thresholds, strict=True)]
        return np.where(valid.any(axis=0), np.stack(found), np.nan)


def evaluate(
    encoder: Callable[[Tensor], Tensor] | Embeddings | ArrayLike,
    task: str | os.PathLike[str] | Corpus,
    *,
    fractions: Sequence[float] = FRACTIONS,
    repeats: int = 4,
    probes: Sequence[str] = ("linear",),
    seconds: float | None = None,
    sample_rate: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    subsets: Sequence[Subset] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Judges frozen embeddings with few labels; ``mvssl compare`` judges in the same way.

    Args:
        encoder: An encoder of ours; any module or function from audio (batch, samples) to (batch, dim), then
            with ``seconds`` and ``sample_rate``; or embeddings, of crops or (tracks, dim) in the order of the
            corpus.
        task: A corpus with tags: its name, folder or manifest.
        fractions: Shares of the training split's labels.
        repeats: Draws of each fraction below 1.
        probes: Names of registered probes: ``"linear"``, ``"mlp"``, ``"knn"``.
        seconds: Length of the crops that are embedded; by default what the encoder was made for.
        sample_rate: In Hz; by default the encoder's.
        cache: Folder that keeps embeddings, see :func:`extract_embeddings`.
        seed: Of the label subsets.
        subsets: Labelled tracks to use, such as those of a paper, instead of drawing any.
        progress: Show a progress bar.

    Raises:
        CorpusError: If the corpus has no labels or lacks a split, or tracks are shorter than a crop.
        ValueError: If an argument is out of range or missing, or embeddings are not those of the corpus.
    """
    chosen = [registered.entry(name).target for name in probes]
    if isinstance(encoder, Embeddings) or not callable(encoder):
        corpus = open_corpus(task)
        corpus.require_labels()
        features = _given(encoder, corpus)
    else:
        corpus, seconds, sample_rate = open_task(encoder, task, seconds, sample_rate)
        features = extract_embeddings(
            encoder, corpus, seconds=seconds, sample_rate=sample_rate, cache=cache, progress=progress
        ).pooled()
    train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
    data = ProbeData(features, corpus.targets, train=train, valid=valid, test=test)
    if subsets is None:
        subsets = draw_subsets(corpus.targets[train], fractions, repeats, seed)
    results = {name: probe(data, subsets) for name, probe in zip(probes, chosen, strict=True)}
    return Evaluation(corpus, tuple(subsets), results)


def evaluate_files(
    source: str,
    task: str = "synthetic",
    out: str = "runs/evaluate",
    fractions: tuple[float, ...] = FRACTIONS,
    repeats: int = 4,
    probes: tuple[str, ...] = ("linear", "knn"),
    seed: int = 0,
) -> Evaluation:
    """Judges a pre-trained encoder, or embeddings made elsewhere, with few labels.

    Args:
        source: Folder of a pre-training run, or an .npz file with ``embeddings`` (tracks, dim) and ``paths``,
            the names of the tracks as the corpus has them.
        task: A corpus with tags: its name, folder or manifest; the embedded one by default.
        out: Folder for results.csv, subsets.json, scores.npz and evaluation.txt. Embeddings are kept there.
        fractions: Shares of the training split's labels.
        repeats: Draws of each fraction below 1.
        probes: linear, mlp, knn.
        seed: Of the label subsets.
    """
    shared: dict[str, Any] = {"fractions": fractions, "repeats": repeats, "probes": probes, "seed": seed}
    if source.endswith(".npz"):
        corpus = open_corpus(task)
        found = evaluate(_read_embeddings(Path(source), corpus), corpus, **shared)
    else:
        found = evaluate(load_encoder(source), task, cache=Path(out) / "embeddings", progress=True, **shared)
    found.save(out)
    return found


def share_needed(
    shares: NDArray[np.float64], values: NDArray[np.float64], target: ArrayLike
) -> NDArray[np.float64]:
    """The lowest share of labels at which a curve reaches a value.

    Args:
        shares: (shares,) ascending.
        values: (..., shares); linear in the logarithm of the share between them.
        target: (...).

    Returns:
        (...): the first share where all values are as high, infinity where none is.
    """
    target = np.asarray(target)
    reached = values >= target[..., None]
    first = reached.argmax(axis=-1)
    before = np.maximum(first - 1, 0)
    above, below = (np.take_along_axis(values, at[..., None], -1)[..., 0] for at in (first, before))
    part = np.divide(target - below, above - below, out=np.ones_like(above), where=above > below)
    logarithm = np.log(shares)
    found = np.exp(logarithm[before] + part * (logarithm[first] - logarithm[before]))
    return np.where(reached.any(axis=-1), found, np.inf)


def _given(embeddings: Embeddings | ArrayLike, corpus: Corpus) -> NDArray[np.floating]:
    values = embeddings.pooled() if isinstance(embeddings, Embeddings) else np.asarray(embeddings)
    if values.ndim != 2 or len(values) != len(corpus):
        raise ValueError(
            f"embeddings {values.shape} must be (tracks, dim) of the corpus's {len(corpus)} tracks"
        )
    return values


def _read_embeddings(file: Path, corpus: Corpus) -> NDArray[np.floating]:
    """Those of the tracks of a corpus, in its order."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    try:
        with np.load(file, allow_pickle=False) as content:
            values, paths = content["embeddings"], content["paths"]
    except Exception as error:  # whatever a damaged archive makes of it
        raise ValueError(f"{file}: an archive with 'embeddings' and 'paths' is needed ({error})") from error
    row = {str(path): number for number, path in enumerate(paths)}
    if len(row) != len(values):
        raise ValueError(f"{file}: {len(values)} embeddings for {len(row)} different paths")
    missing = [str(path) for path in corpus.paths if str(path) not in row]
    if missing:
        raise CorpusError(
            f"{file}: no embedding of {len(missing)} tracks of {corpus.name} (first: {missing[0]})"
        )
    return values[[row[str(path)] for path in corpus.paths]]
