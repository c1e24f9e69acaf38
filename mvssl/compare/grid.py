"""Runs the grid: every method with every seed, one resumable cell each, then the report."""

import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mvssl.compare.comparison import FINE_TUNED, Comparison, MethodScores
from mvssl.compare.gathering import enlarged, of_corpus, surroundings
from mvssl.compare.report import write_report
from mvssl.compare.settings import Settings, several
from mvssl.data import Corpus, CorpusError, open_corpus, prepare, remarks
from mvssl.device import Precision, default_device, keep_freed_memory
from mvssl.encoders import Encoder, create_encoder, load_encoder
from mvssl.evaluation import (
    Subset,
    draw_subsets,
    evaluate,
    extract_embeddings,
    mel_statistics,
    robustness,
    save_subsets,
)
from mvssl.evaluation.supervised import SupervisedRecipe, train_on_subsets
from mvssl.pretext import create_pretext, list_pretexts, pretexts
from mvssl.pretext.base import require_suitable
from mvssl.training import fit, read_metrics
from mvssl.training.fit import budget
from mvssl.training.run import write_json
from mvssl.views import ViewChain, chain
from mvssl.views.samplers import Short

SCORES, EMBEDDINGS, ROBUSTNESS, CELL = "scores.npy", "embeddings.npy", "robustness.json", "cell.json"
SUBSET_SEED = 0  # the same label subsets for every method and seed: differences are paired


def compare(
    data: str = "synthetic",
    pretexts: str | list[str] = "simclr,byol,vicreg",
    seeds: str | int | list[int] = "0",
    steps: int | None = None,
    minutes: float | None = None,
    fractions: str | float | list[float] = "0.01,0.05,0.1,0.2,1.0",
    repeats: int = 4,
    encoder: str = "tiny",
    views: str = "light",
    n_views: int = 2,
    sampler: str | None = None,
    min_gap: float | None = None,
    max_gap: float | None = None,
    short: Short = "drop",
    batch_size: int = 96,
    learning_rate: float | None = None,
    supervised_crops: int = 10_000,
    finetune: bool = False,
    robustness: bool = False,
    precision: Precision = "auto",
    prepare: bool = False,
    out: str = "mvssl-compare",
) -> Path:
    """Compares pretexts with each other and with three baselines at several label fractions.

    Every pretext trains the same encoder on the training split, without labels. A linear probe on the
    frozen encoder is then trained on fractions of the labels; with ``finetune`` so is the encoder. Killed and
    started again, a comparison goes on where it stopped.

    Args:
        data: Folder of audio, JSON Lines manifest, or name of a corpus.
        pretexts: Names of pretexts, separated by commas, or ``all`` that need nothing but audio.
        seeds: Seeds of pre-training, separated by commas.
        steps: Optimiser steps of each pretext; 200 if neither this nor ``minutes`` is given.
        minutes: Stop each pretext by the clock; results then vary with the speed of the machine.
        fractions: Label fractions, separated by commas.
        repeats: Draws of each fraction below 1.
        encoder: Encoder preset.
        views: View chain. All pretexts get the same, as a fair comparison needs, whatever their papers used
            (see mvssl/pretext/PRETEXTS.md).
        n_views: Views per track.
        sampler: Where the crops of a track come from (``mvssl list samplers``); by default the chain's own.
        min_gap: Least gap between crops in seconds, of the samplers gap and adjacent.
        max_gap: Greatest gap in seconds, of the same.
        short: What becomes of tracks that the crops do not fit into: drop, pad (with silence) or loop. Those
            that are shorter than one crop are left out in any case: they could not be judged.
        batch_size: Tracks per batch.
        learning_rate: Peak of the learning rate; by default each pretext's own.
        supervised_crops: Crops that the supervised baseline sees on all labels; fewer on fractions. So many
            does fine-tuning see, too.
        finetune: Also train each pre-trained encoder on with the labels of every subset, as the supervised
            baseline trains a new one.
        robustness: Also judge the probes of frozen encoders on damaged test tracks (noise, pitch, low-pass,
            MP3), which takes some minutes each; of the first seed.
        precision: Of the encoder in training: auto, fp32 or bf16.
        prepare: Decode every file once, into shards of 16-bit samples under ``out`` (1.9 MB a minute at
            16 kHz): much faster for MP3s.
        out: Folder for everything that comes of it.

    Returns:
        Path of ``report.html``.

    Raises:
        CorpusError: If the corpus cannot be used or has no labels.
        FileExistsError: If ``out`` holds a comparison with other settings.
        ValueError: If an argument is wrong.
    """
    arguments = dict(locals())
    folder = Path(arguments.pop("out"))
    return Grid(_settings(**arguments), folder).run()


def _settings(**arguments: Any) -> Settings:
    """Checked settings from what :func:`compare` takes."""
    from_audio = [name for name in list_pretexts() if not pretexts.entry(name).target.needs_groups]
    names = from_audio if arguments["pretexts"] == "all" else arguments["pretexts"]
    lists = {
        "pretexts": several(names, str, "pretexts"),
        "seeds": several(arguments["seeds"], int, "seeds"),
        "fractions": several(arguments["fractions"], float, "fractions"),
    }
    steps = budget(arguments["steps"], arguments["minutes"], default=200)
    return Settings(**{**arguments, "data": str(arguments["data"]), "steps": steps, **lists})


def _defaults() -> Settings:
    parameters = inspect.signature(compare).parameters.values()
    return _settings(**{p.name: p.default for p in parameters if p.name != "out"})


@dataclass(frozen=True)
class Cell:
    """One method with one seed: where it lives and what it cost."""

    method: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do; ``cell.json`` is written last."""
        return (self.folder / CELL).is_file()

    def facts(self) -> dict[str, Any]:
        """What ``cell.json`` says."""
        facts: dict[str, Any] = json.loads((self.folder / CELL).read_text(encoding="utf-8"))
        return facts

    def keep(self, name: str, values: NDArray[np.floating]) -> None:
        """Writes an array in one piece."""
        draft = self.folder / (name + ".part")
        with draft.open("wb") as file:
            np.save(file, values)
        os.replace(draft, self.folder / name)

    def finish(self, scores: NDArray[np.floating] | None, **facts: Any) -> None:
        """Writes the scores (none if the run diverged), then ``cell.json``."""
        if scores is not None:
            self.keep(SCORES, scores.astype(np.float32))
        write_json(self.folder / CELL, facts)


class Grid:
    """The cells of a comparison over one corpus.

    Args:
        settings: What is asked for.
        out: Where everything is written.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        keep_freed_memory()
        self.settings, self.out = settings, out
        self.started = time.time()
        nominal = self._encoder(0)  # says lengths and rates; it is never trained
        for name in settings.pretexts:
            require_suitable(name, nominal)
        self.seconds, self.sample_rate = nominal.seconds, nominal.sample_rate
        self.views = self._chain(nominal)
        settings.claim(out)
        # Probes and the supervised baseline take whole crops of every track.
        needed = max(self.views.sampler.min_seconds, self.seconds)
        opened = open_corpus(settings.data, min_seconds=needed, check="full", progress=True)
        self.corpus: Corpus = opened.labelled()
        self.corpus.require_apart()
        if any(pretexts.entry(name).target.needs_groups for name in settings.pretexts):
            self.corpus.require_groups()
        self.remarks = remarks(self.corpus, self.views.sampler)
        self._remember_corpus()
        if settings.prepare:
            self.corpus = prepare(self.corpus, out / "audio", self.sample_rate, progress=True)
        self.rows = {split: self.corpus.indices(split) for split in ("train", "valid", "test")}
        if settings.batch_size > len(self.rows["train"]):
            raise CorpusError(
                f"batch_size={settings.batch_size} is larger than the {len(self.rows['train'])} usable "
                f"training tracks: pass --batch_size {len(self.rows['train'])} or less"
            )
        targets = self.corpus.targets[self.rows["train"]]
        self.subsets: list[Subset] = draw_subsets(targets, settings.fractions, settings.repeats, SUBSET_SEED)
        save_subsets(out / "subsets.json", self.subsets, self.corpus.paths[self.rows["train"]].tolist())

    def run(self) -> Path:
        """Runs what is not done yet and writes the report; returns its path."""
        cells = self.cells()
        for number, cell in enumerate(cells, 1):
            state = "done before" if cell.done else f"seed {cell.seed}"
            tqdm.write(f"[{number}/{len(cells)}] {cell.method}, {state}", file=sys.stderr)
            if not cell.done:
                cell.folder.mkdir(parents=True, exist_ok=True)
                self._run(cell)
        write_report(self.comparison(cells), self.out)
        return self.out / "report.html"

    def cells(self) -> list[Cell]:
        """All cells: pretexts first, before what is fine-tuned from them.

        Mel statistics have no weights, hence no seed but the first.
        """
        seeds, names = self.settings.seeds, self.settings.pretexts
        tuned = tuple(name + FINE_TUNED for name in names) if self.settings.finetune else ()
        pairs = [(method, seed) for method in (*names, *tuned, "random") for seed in seeds]
        pairs += [("mel_statistics", seeds[0]), *(("supervised", seed) for seed in seeds)]
        return [self._cell(method, seed) for method, seed in pairs]

    def _cell(self, method: str, seed: int) -> Cell:
        return Cell(method, seed, self.out / "cells" / f"{method}-seed{seed}")

    def _run(self, cell: Cell) -> None:
        runners: dict[str, Callable[[Cell], None]] = {
            "random": self._random, "mel_statistics": self._mel_statistics, "supervised": self._supervised
        }  # fmt: skip
        other = self._finetuned if cell.method.endswith(FINE_TUNED) else self._pretext
        runners.get(cell.method, other)(cell)

    def _encoder(self, seed: int) -> Encoder:
        """The encoder with the weights that every method of one seed starts from."""
        torch.manual_seed(seed)
        return create_encoder(self.settings.encoder)

    def _chain(self, encoder: Encoder) -> ViewChain:
        s = self.settings
        views = chain(s.views, encoder.seconds, s.n_views, s.sampler, **s.sampler_options)
        return views.bind(encoder.frontend)

    def _pretext(self, cell: Cell) -> None:
        s = self.settings
        pretext = create_pretext(cell.method, self._encoder(cell.seed))
        try:
            result = fit(
                pretext, self.corpus, self.views, steps=s.steps, out=cell.folder, resume=True,
                batch_size=s.batch_size, learning_rate=s.learning_rate, minutes=s.minutes, seed=cell.seed,
                precision=s.precision, checkpoint_every=100,
            )  # fmt: skip
        except FloatingPointError as error:
            cell.finish(None, diverged=str(error))
            return
        scores = self._probe(cell, pretext.encoder)
        problems = [asdict(problem) for problem in result.problems if problem not in self.corpus.problems]
        cell.finish(
            scores, seconds=result.seconds, views=result.views, steps=result.steps, problems=problems,
            parameters=_count(pretext.encoder), stopped_by_clock=result.stopped_by_clock,
            collapse=result.collapse,
        )  # fmt: skip

    def _random(self, cell: Cell) -> None:
        encoder = self._encoder(cell.seed)
        cell.finish(self._probe(cell, encoder), parameters=_count(encoder))

    def _mel_statistics(self, cell: Cell) -> None:
        statistics = mel_statistics(self._encoder(cell.seed).frontend)
        cell.finish(self._probe(cell, statistics), parameters=0)

    def _probe(self, cell: Cell, encode: torch.nn.Module) -> NDArray[np.float64]:
        """Embeds the corpus, keeps the test tracks' embeddings, and scores them for every label subset."""
        embeddings = extract_embeddings(
            encode.to(default_device()), self.corpus, seconds=self.seconds, sample_rate=self.sample_rate
        )
        cell.keep(EMBEDDINGS, embeddings.pooled()[self.rows["test"]].astype(np.float16))
        if self.settings.robustness and cell.seed == self.settings.seeds[0]:
            found = robustness(
                encode, self.corpus, seconds=self.seconds, sample_rate=self.sample_rate, progress=True
            )
            write_json(cell.folder / ROBUSTNESS, [*found.curves()])
        return evaluate(embeddings, self.corpus, subsets=self.subsets).results["linear"].scores

    def _supervised(self, cell: Cell) -> None:
        s = self.settings
        recipe = SupervisedRecipe(s.supervised_crops, batch_size=s.batch_size, precision=s.precision)
        self._train_with_labels(cell, lambda: create_encoder(s.encoder), recipe, "Supervised from scratch")

    def _finetuned(self, cell: Cell) -> None:
        s, name = self.settings, cell.method.removesuffix(FINE_TUNED)
        pretext = self._cell(name, cell.seed)
        if "diverged" in pretext.facts():
            cell.finish(None, diverged=f"{name} left no encoder to start from")
            return
        recipe = SupervisedRecipe.finetuning(
            s.supervised_crops, batch_size=s.batch_size, precision=s.precision
        )
        self._train_with_labels(cell, lambda: load_encoder(pretext.folder), recipe, f"{name}, fine-tuned")

    def _train_with_labels(
        self, cell: Cell, start: Callable[[], Encoder], recipe: SupervisedRecipe, title: str
    ) -> None:
        """Trains one encoder per label subset; the scores of each are kept as soon as there are any."""
        found = train_on_subsets(
            start, self.corpus, self.subsets, self.views, recipe=recipe, seed=cell.seed, folder=cell.folder,
            progress=title,
        )  # fmt: skip
        cell.finish(
            found.test, seconds=found.seconds, views=found.crops, parameters=_count(self._encoder(cell.seed))
        )

    def comparison(self, cells: Sequence[Cell]) -> Comparison:
        """Gathers finished cells for the report."""
        s = self.settings
        facts = {(cell.method, cell.seed): cell.facts() for cell in cells}
        kept = [cell for cell in cells if "diverged" not in facts[cell.method, cell.seed]]
        return Comparison(
            command=s.command(self.out, _defaults()),
            config=s.as_config(),
            environment={**surroundings(), "seconds of this call": round(time.time() - self.started)},
            scores=tuple(MethodScores(c.method, c.seed, np.load(c.folder / SCORES)) for c in kept),
            curves={
                (cell.method, cell.seed): _columns(read_metrics(cell.folder))
                for cell in kept
                if cell.method in s.pretexts
            },
            costs={
                key: {name: fact[name] for name in ("seconds", "views", "parameters") if name in fact}
                for key, fact in facts.items()
            },
            notes=tuple(self._notes(facts)),
            titles=self._titles(),
            embeddings={
                cell.method: np.load(cell.folder / EMBEDDINGS)
                for cell in kept
                if cell.seed == s.seeds[0] and (cell.folder / EMBEDDINGS).is_file()
            },
            robustness={
                cell.method: json.loads((cell.folder / ROBUSTNESS).read_text(encoding="utf-8"))
                for cell in kept
                if (cell.folder / ROBUSTNESS).is_file()
            },
            **self._of_corpus(facts),
        )

    def _titles(self) -> dict[str, str]:
        titles = {name: pretexts.entry(name).target.__name__ for name in self.settings.pretexts}
        return titles | {name + FINE_TUNED: f"{title}, fine-tuned" for name, title in titles.items()}

    def _of_corpus(self, facts: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
        """With the problems that came to light in training."""
        found = of_corpus(self.corpus, self.subsets)
        late = [problem for fact in facts.values() for problem in fact.get("problems", ())]
        problems = [tuple(problem.items()) for problem in found["corpus"]["problems"] + late]
        found["corpus"]["problems"] = [dict(pair) for pair in dict.fromkeys(problems)]
        return found

    def _notes(self, facts: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
        notes = [f"{remark}." for remark in self.remarks]
        notes += enlarged(self.subsets)
        if any(fact.get("stopped_by_clock") for fact in facts.values()):
            notes.append("Training was stopped by the clock: the same command gives other numbers elsewhere.")
        for (method, seed), fact in facts.items():
            if "diverged" in fact and not method.endswith(FINE_TUNED):
                notes.append(f"{method} with seed {seed} diverged and is left out: {fact['diverged']}.")
            if fact.get("collapse"):
                notes.append(f"{method} with seed {seed} {fact['collapse']}.")
        return notes

    def _remember_corpus(self) -> None:
        """Refuses to mix cells of different corpora in one folder."""
        path = self.out / "corpus.json"
        fingerprint = self.corpus.fingerprint()
        if path.is_file() and json.loads(path.read_text())["fingerprint"] != fingerprint:
            raise CorpusError(
                f"{self.settings.data} has changed since the comparison in {self.out} began: "
                "choose another --out, or delete it"
            )
        write_json(path, {"fingerprint": fingerprint, "vocabulary": self.corpus.vocabulary})


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in ("step", "loss", "rankme")}
