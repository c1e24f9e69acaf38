"""What is inside a pre-trained encoder, in one command."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mvssl.arguments import several
from mvssl.data import Corpus, CorpusError
from mvssl.encoders import Encoder
from mvssl.evaluation.causes import causes_kept
from mvssl.evaluation.embeddings import extract_embeddings
from mvssl.evaluation.estimates import COLUMNS, row
from mvssl.evaluation.geometry import geometry
from mvssl.evaluation.inputs import open_task
from mvssl.evaluation.layers import layer_probes
from mvssl.evaluation.retrieval import retrieval
from mvssl.evaluation.robustness import robustness
from mvssl.evaluation.sources import load_source

PARTS = ("robustness", "retrieval", "geometry", "layers", "causes")


class Part(Protocol):
    """A result with a line per value, and a table as text."""

    def rows(self) -> Iterable[dict[str, Any]]: ...


@dataclass(frozen=True)
class Causes:
    """What linear probes recover of the causes of a sound; printed, it is a table.

    Attributes:
        kept: What :func:`~mvssl.evaluation.causes_kept` gave.
    """

    kept: Mapping[str, float]

    def rows(self) -> list[dict[str, Any]]:
        """Every value."""
        return [row(name, "kept", value, chance=0.0) for name, value in self.kept.items()]

    def __str__(self) -> str:
        lines = ["causes that linear probes recover: 0 nothing, 1 everything"]
        return "\n".join(lines + [f"{name:28}{value:.3f}" for name, value in self.kept.items()])


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is inside an encoder; printed, it is the tables of all parts.

    Attributes:
        corpus: What it was seen on.
        parts: By name.
        left_out: Parts that do not apply, and why.
    """

    corpus: Corpus
    parts: Mapping[str, Part]
    left_out: Mapping[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """Every value of every part."""
        return [{"part": name, **line} for name, part in self.parts.items() for line in part.rows()]

    def save(self, folder: str | os.PathLike[str], **facts: Any) -> Path:
        """Writes ``inspection.csv``, ``inspection.json`` with facts beside it, and the tables as text."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows()
        with (folder / "inspection.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["part", *COLUMNS])
            writer.writeheader()
            writer.writerows(rows)
        content = {
            **facts, "corpus": self.corpus.name, "fingerprint": self.corpus.fingerprint(),
            "left_out": dict(self.left_out), "rows": rows,
        }  # fmt: skip
        (folder / "inspection.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "inspection.txt").write_text(f"{self}\n", encoding="utf-8")
        return folder

    def __str__(self) -> str:
        lines = [f"{name} left out: {why}" for name, why in self.left_out.items()]
        return "\n\n".join([*(str(part) for part in self.parts.values()), *lines])


def inspect_encoder(
    encoder: Encoder,
    task: str | os.PathLike[str] | Corpus,
    *,
    parts: Sequence[str] = PARTS,
    fractions: Sequence[float] = (1.0,),
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Inspection:
    """Looks into a frozen encoder.

    With a cache clean tracks are embedded once for all parts, and once more for the layers.

    Args:
        encoder: An encoder of ours.
        task: A corpus with labels: its name, folder or manifest.
        parts: Some of :data:`PARTS`.
        fractions: Shares of the labels at which layers are compared.
        cache: Folder that keeps embeddings, see :func:`extract_embeddings`.
        progress: Show progress bars.

    Raises:
        CorpusError: If the corpus has no labels or lacks a split.
        ValueError: If there is no such part.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or not parts:
        raise ValueError(f"parts={','.join(parts)}: choose from {', '.join(PARTS)}")
    corpus, seconds, sample_rate = open_task(encoder, task, None, None)
    kept: dict[str, Any] = {"cache": cache, "progress": progress}
    crops: dict[str, Any] = {"seconds": seconds, "sample_rate": sample_rate, **kept}
    functions: dict[str, Callable[[], Part]] = {
        "robustness": lambda: robustness(encoder, corpus, **kept),
        "retrieval": lambda: retrieval(extract_embeddings(encoder, corpus, **crops), corpus),
        "geometry": lambda: geometry(extract_embeddings(encoder, corpus, **crops), corpus),
        "layers": lambda: layer_probes(encoder, corpus, fractions=fractions, **kept),
        "causes": lambda: Causes(causes_kept(encoder, corpus, **crops)),
    }
    found: dict[str, Part] = {}
    left_out = {}
    for name in (name for name in PARTS if name in parts):
        try:
            found[name] = functions[name]()
        except CorpusError as error:  # it has labels and splits, and yet not what this part needs
            left_out[name] = str(error)
    return Inspection(corpus, found, left_out)


def inspect_files(
    source: str,
    task: str = "synthetic",
    out: str = "runs/inspect",
    parts: str | list[str] = "robustness,retrieval,geometry,layers,causes",
    fractions: str | float | list[float] = 1.0,
) -> Inspection:
    """Looks into a pre-trained encoder: robustness, retrieval, geometry, layers, causes.

    Args:
        source: Folder of a pre-training run, or its last.ckpt; or hf: and the folder of a model for
            transformers.
        task: A corpus with labels: its name, folder or manifest; the embedded one by default.
        out: Folder for inspection.csv, inspection.json and inspection.txt. Embeddings are kept there.
        parts: Some of robustness, retrieval, geometry, layers and causes, separated by commas.
        fractions: Shares of the training split's labels at which layers are compared, separated by commas.
    """
    encoder: Any = load_source(source)
    found = inspect_encoder(
        encoder, task, parts=several(parts, str, "parts"), fractions=several(fractions, float, "fractions"),
        cache=Path(out) / "embeddings", progress=True,
    )  # fmt: skip
    found.save(out, source=source, task=task)
    return found
