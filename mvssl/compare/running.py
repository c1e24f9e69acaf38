"""Running a cell: training or not, then the probe."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvssl.atomic import write_json
from mvssl.compare.cells import EMBEDDINGS, ROBUSTNESS, Cell, claimed, upstream_methods
from mvssl.compare.comparison import FINE_TUNED
from mvssl.compare.settings import Settings
from mvssl.data import Corpus
from mvssl.device import default_device, keep_freed_memory
from mvssl.encoders import Encoder, create_encoder, load_encoder
from mvssl.evaluation import Subset, evaluate, extract_embeddings, mel_statistics, robustness
from mvssl.evaluation.sources import load_source
from mvssl.evaluation.supervised import SupervisedRecipe, train_on_subsets
from mvssl.pretext import create_pretext
from mvssl.training import fit
from mvssl.views import ViewChain


def seeded_encoder(name: str, seed: int) -> Encoder:
    """The encoder with the weights that every method of one seed starts from."""
    torch.manual_seed(seed)
    return create_encoder(name)


@dataclass(frozen=True, eq=False)
class Runner:
    """All that cells have in common, made once: any process that has it can run any cell.

    Attributes:
        settings: What is asked for.
        corpus: Checked, prepared if asked for, with labels.
        views: Bound to the front end of the encoder.
        subsets: Labelled tracks of each evaluation.
        seconds: Nominal length of the encoder's clips.
        sample_rate: Of the encoder, in Hz.
    """

    settings: Settings
    corpus: Corpus
    views: ViewChain
    subsets: list[Subset]
    seconds: float
    sample_rate: int

    def run(self, cell: Cell) -> None:
        """Runs a cell, or what an interrupted call has left of it.

        Raises:
            BlockingIOError: If another process is running it.
        """
        keep_freed_memory()
        runners: dict[str, Callable[[Cell], None]] = {
            "random": self._random, "mel_statistics": self._mel_statistics, "supervised": self._supervised
        }  # fmt: skip
        other = self._finetuned if cell.method.endswith(FINE_TUNED) else self._pretext
        runners |= dict.fromkeys(upstream_methods(self.settings.frozen), self._upstream)
        with claimed(cell.folder):
            if cell.done:
                return
            try:
                runners.get(cell.method, other)(cell)
            except FloatingPointError as error:  # training diverged, or left what cannot be judged
                cell.finish(None, diverged=str(error))

    def _encoder(self, seed: int) -> Encoder:
        return seeded_encoder(self.settings.encoder, seed)

    def _pretext(self, cell: Cell) -> None:
        s = self.settings
        pretext = create_pretext(cell.method, self._encoder(cell.seed))
        result = fit(
            pretext, self.corpus, self.views, steps=s.steps, out=cell.folder, resume=True,
            batch_size=s.batch_size, learning_rate=s.learning_rate, minutes=s.minutes, seed=cell.seed,
            precision=s.precision, checkpoint_every=100,
        )  # fmt: skip
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

    def _upstream(self, cell: Cell) -> None:
        encoder: Any = load_source(upstream_methods(self.settings.frozen)[cell.method])
        scores = self._probe(cell, encoder, encoder.seconds, encoder.sample_rate)
        cell.finish(scores, parameters=_count(encoder))

    def _probe(
        self,
        cell: Cell,
        encode: torch.nn.Module,
        seconds: float | None = None,
        sample_rate: int | None = None,
    ) -> NDArray[np.float64]:
        """Embeds the corpus, keeps the test tracks' embeddings, and scores them for every label subset."""
        crops: Any = {"seconds": seconds or self.seconds, "sample_rate": sample_rate or self.sample_rate}
        embeddings = extract_embeddings(encode.to(default_device()), self.corpus, **crops)
        test = self.corpus.indices("test")
        cell.keep(EMBEDDINGS, embeddings.pooled()[test].astype(np.float16))
        if self.settings.robustness and cell.seed == self.settings.seeds[0]:
            found = robustness(encode, self.corpus, progress=True, **crops)
            write_json(cell.folder / ROBUSTNESS, [*found.curves()])
        return evaluate(embeddings, self.corpus, subsets=self.subsets).results["linear"].scores

    def _supervised(self, cell: Cell) -> None:
        s = self.settings
        recipe = SupervisedRecipe(s.supervised_crops, batch_size=s.batch_size, precision=s.precision)
        self._train_with_labels(cell, lambda: create_encoder(s.encoder), recipe, "Supervised from scratch")

    def _finetuned(self, cell: Cell) -> None:
        s, pretext = self.settings, cell.source
        assert pretext is not None
        if "diverged" in pretext.facts():
            cell.finish(None, diverged=f"{pretext.method} left no encoder to start from")
            return
        recipe = SupervisedRecipe.finetuning(
            s.supervised_crops, batch_size=s.batch_size, precision=s.precision
        )
        folder: Path = pretext.folder
        self._train_with_labels(cell, lambda: load_encoder(folder), recipe, f"{pretext.method}, fine-tuned")

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


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
