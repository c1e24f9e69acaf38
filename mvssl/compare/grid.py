"""The grid: every method with every seed, one resumable cell each, then the report."""

import inspect
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvssl.arguments import several
from mvssl.atomic import write_json
from mvssl.compare.cells import Cell, cells_of, claimed, upstream_methods
from mvssl.compare.collecting import OUTLINE, collect
from mvssl.compare.comparison import FINE_TUNED, UPSTREAM, Comparison
from mvssl.compare.gathering import enlarged, of_corpus, surroundings
from mvssl.compare.launching import Launch, Launcher, Where, launch_of
from mvssl.compare.report import write_report
from mvssl.compare.running import Runner, seeded_encoder
from mvssl.compare.settings import Settings
from mvssl.compare.storage import save_comparison
from mvssl.data import Corpus, CorpusError, open_corpus, prepare, remarks
from mvssl.device import Precision, keep_freed_memory
from mvssl.encoders import Encoder
from mvssl.evaluation import Subset, draw_subsets, save_subsets
from mvssl.evaluation.sources import load_source
from mvssl.evaluation.upstreams import HUB, LOCAL
from mvssl.frontends import Waveform
from mvssl.pretext import list_pretexts
from mvssl.pretext import pretexts as registered
from mvssl.pretext.base import require_suitable
from mvssl.training.recipe import budget
from mvssl.views import ViewChain, chain
from mvssl.views.samplers import Short

_NO_SETTINGS = {"out", "launcher", "jobs", "slurm"}  # where and how, which decide no number
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
    frozen: str | list[str] = "",
    views: str | None = None,
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
    launcher: Where = "none",
    jobs: int | None = None,
    slurm: dict[str, Any] | None = None,
) -> Path:
    """Compares pretexts with each other and with three baselines at several label fractions.

    Every pretext trains the same encoder on the training split, without labels. A linear probe on the
    frozen encoder is then trained on fractions of the labels; with ``finetune`` so is the encoder. Killed and
    started again, a comparison goes on where it stopped; jobs that still run are waited for.

    Args:
        data: Folder of audio, JSON Lines manifest, or name of a corpus.
        pretexts: Names of pretexts, separated by commas, or ``all`` that suit the encoder and need
            nothing but audio.
        seeds: Seeds of pre-training, separated by commas.
        steps: Optimiser steps of each pretext; 200 if neither this nor ``minutes`` is given.
        minutes: Stop each pretext by the clock; results then vary with the speed of the machine.
        fractions: Label fractions, separated by commas.
        repeats: Draws of each fraction below 1.
        encoder: Encoder preset. Upstreams, as under ``frozen``, may stand here as well, beside it or alone.
        frozen: Encoders that were trained elsewhere, as further baselines: ``hf:`` and the folder of a model
            for transformers (see :func:`mvssl.evaluation.upstreams.load_upstream`), ``hub:`` and its name on
            the hub, or folders of runs; separated by commas. They take audio at their own sample rate, in
            crops of their own length.
        views: View chain. All pretexts get the same, as a fair comparison needs, whatever their papers used
            (see mvssl/pretext/PRETEXTS.md). By default ``light``, or for encoders of raw audio
            ``light_waveform``.
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
        launcher: Where cells (a method with a seed) are run: none (here, one after the other), local (jobs on
            this machine) or slurm. Jobs need this machine, or Slurm, to see the same files. ``mvssl report``
            makes a report at any time of what is there. Numbers depend a little, by rounding, on how many
            threads a job has, and on the machine.
        jobs: Most jobs at a time. Local ones share this process's threads evenly, and take turns on its GPUs;
            by default one per GPU, or 2. Slurm gets all of them at once by default.
        slurm: What Slurm is asked for, in submitit's words, such as ``{partition: gpu, gpus_per_node: 1,
            cpus_per_task: 8, timeout_min: 240}``.

    Returns:
        Path of ``report.html``.

    Raises:
        BlockingIOError: If another process is running one of its cells.
        ChildProcessError: If a launched cell failed; the report of the others is written all the same.
        CorpusError: If the corpus cannot be used or has no labels.
        FileExistsError: If ``out`` holds a comparison with other settings.
        ValueError: If an argument is wrong.
    """
    arguments = dict(locals())
    folder = Path(arguments.pop("out"))
    launch = launch_of(*(arguments.pop(name) for name in ("launcher", "jobs", "slurm")))
    return Grid(_settings(**arguments), folder).run(launch)


def _settings(**arguments: Any) -> Settings:
    """Checked settings from what :func:`compare` takes."""
    preset, upstreams = _encoders(arguments["encoder"])
    frozen = several(arguments["frozen"], str, "frozen") if arguments.get("frozen") else ()
    arguments |= {"encoder": preset, "frozen": (*upstreams, *frozen)}
    if arguments["pretexts"] == "all" or arguments["views"] is None:
        arguments |= _chosen_for(seeded_encoder(preset, 0), arguments["pretexts"], arguments["views"])
    lists = {
        "pretexts": several(arguments["pretexts"], str, "pretexts"),
        "seeds": several(arguments["seeds"], int, "seeds"),
        "fractions": several(arguments["fractions"], float, "fractions"),
    }
    steps = budget(arguments["steps"], arguments["minutes"], default=200)
    return Settings(**{**arguments, "data": str(arguments["data"]), "steps": steps, **lists})


def _encoders(given: str) -> tuple[str, tuple[str, ...]]:
    """The preset that pretexts train, and upstreams that are judged beside them."""
    named = several(given, str, "encoder")
    upstreams = tuple(name for name in named if name.startswith((LOCAL, HUB)))
    presets = [name for name in named if name not in upstreams]
    if len(presets) > 1:
        raise ValueError(f"encoder={given}: give one preset; all pretexts train the same")
    return presets[0] if presets else "tiny", upstreams


def _chosen_for(encoder: Encoder, pretexts: Any, views: str | None) -> dict[str, Any]:
    """Pretexts and views that suit the encoder, where it was left to us to choose."""
    if views is None:
        views = "light_waveform" if isinstance(encoder.frontend, Waveform) else "light"
    if pretexts == "all":
        kinds = {name: registered.entry(name).target for name in list_pretexts()}
        left_out = {name: "it needs groups" for name, kind in kinds.items() if kind.needs_groups}
        for name, kind in kinds.items():
            if missing := kind.lacking(encoder):
                left_out[name] = f"the encoder lacks {', '.join(missing)}"
        pretexts = [name for name in kinds if name not in left_out]
        for name, reason in left_out.items():
            tqdm.write(f"left out {name}: {reason}", file=sys.stderr)
    return {"pretexts": pretexts, "views": views}


def _defaults() -> Settings:
    parameters = inspect.signature(compare).parameters.values()
    return _settings(**{p.name: p.default for p in parameters if p.name not in _NO_SETTINGS})


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
        nominal = seeded_encoder(settings.encoder, 0)  # says lengths and rates; it is never trained
        for name in settings.pretexts:
            require_suitable(name, nominal)
        views = self._chain(nominal)
        settings.claim(out)
        with claimed(out):
            self.runner = self._opened(nominal, views)

    def _opened(self, nominal: Encoder, views: ViewChain) -> Runner:
        """Does once what every cell needs: checks and prepares the corpus, draws the labelled tracks."""
        settings, out = self.settings, self.out
        # Probes and the supervised baseline take whole crops of every track.
        upstreams: list[Any] = [load_source(source) for source in settings.frozen]
        needed = max(views.sampler.min_seconds, nominal.seconds, *(each.seconds for each in upstreams))
        opened = open_corpus(settings.data, min_seconds=needed, check="full", progress=True)
        corpus: Corpus = opened.labelled()
        corpus.require_apart()
        if any(registered.entry(name).target.needs_groups for name in settings.pretexts):
            corpus.require_groups()
        remarked = remarks(corpus, views.sampler)
        self._remember_corpus(corpus)
        if settings.prepare:
            corpus = prepare(corpus, out / "audio", nominal.sample_rate, progress=True)
        train = corpus.indices("train")
        if settings.batch_size > len(train):
            raise CorpusError(
                f"batch_size={settings.batch_size} is larger than the {len(train)} usable "
                f"training tracks: pass --batch_size {len(train)} or less"
            )
        subsets = draw_subsets(corpus.targets[train], settings.fractions, settings.repeats, SUBSET_SEED)
        save_subsets(out / "subsets.json", subsets, corpus.paths[train].tolist())
        self._outline(corpus, subsets, remarked)
        return Runner(settings, corpus, views, subsets, nominal.seconds, nominal.sample_rate)

    def run(self, launch: Launch | None = None) -> Path:
        """Runs what is not done yet and writes the report; returns its path.

        Args:
            launch: Where cells are run; by default here, one after the other.

        Raises:
            ChildProcessError: If a launched cell failed; the report of the others is written all the same.
        """
        with claimed(self.out):
            return self._run(cells_of(self.settings.as_config(), self.out), launch)

    def _run(self, cells: Sequence[Cell], launch: Launch | None) -> Path:
        if launch is None:
            self._run_here(cells)
            failed: dict[Cell, str] = {}
        else:
            failed = Launcher(self.runner, cells, self.out, launch).run()
        report = self.out / "report.html"
        if any(cell.done and "diverged" not in cell.facts() for cell in cells):
            found = collect(self.out)
            took = {"seconds of this call": round(time.time() - self.started)}
            write_report(replace(found, environment={**found.environment, **took}), self.out)
        if failed:
            told = "".join(f"\n  {cell}: {reason}" for cell, reason in failed.items())
            rest = f"; the report of the others is {report}" if report.is_file() else ""
            raise ChildProcessError(
                f"{len(failed)} of {len(cells)} cells failed{rest}. The same line tries them again.{told}"
            )
        return report

    def _run_here(self, cells: Sequence[Cell]) -> None:
        for number, cell in enumerate(cells, 1):
            state = "done before" if cell.done else f"seed {cell.seed}"
            tqdm.write(f"[{number}/{len(cells)}] {cell.method}, {state}", file=sys.stderr)
            if not cell.done:
                self.runner.run(cell)

    def _chain(self, encoder: Encoder) -> ViewChain:
        s = self.settings
        views = chain(s.views, encoder.seconds, s.n_views, s.sampler, **s.sampler_options)
        return views.bind(encoder.frontend)

    def _outline(self, corpus: Corpus, subsets: Sequence[Subset], remarked: Sequence[str]) -> None:
        """Keeps what a report needs beside the cells, so that one can be made at any time."""
        s = self.settings
        names = {name: registered.entry(name).target.__name__ for name in s.pretexts}
        folder = self.out / OUTLINE
        folder.mkdir(exist_ok=True)
        outline = Comparison(
            command=s.command(self.out, _defaults()),
            config=s.as_config(),
            environment=surroundings(),
            scores=(),
            notes=(*(f"{remark}." for remark in remarked), *enlarged(subsets)),
            titles=names
            | {name + FINE_TUNED: f"{title}, fine-tuned" for name, title in names.items()}
            | {name: name.removeprefix(UPSTREAM) for name in upstream_methods(s.frozen)},
            **of_corpus(corpus, subsets),
        )
        save_comparison(outline, folder)

    def _remember_corpus(self, corpus: Corpus) -> None:
        """Refuses to mix cells of different corpora in one folder."""
        path = self.out / "corpus.json"
        fingerprint = corpus.fingerprint()
        if path.is_file() and json.loads(path.read_text())["fingerprint"] != fingerprint:
            raise CorpusError(
                f"{self.settings.data} has changed since the comparison in {self.out} began: "
                "choose another --out, or delete it"
            )
        write_json(path, {"fingerprint": fingerprint, "vocabulary": corpus.vocabulary})
