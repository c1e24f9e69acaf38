"""What there is of a comparison: its finished cells, whether all of them are or not."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mvssl.compare.cells import EMBEDDINGS, ROBUSTNESS, SCORES, cells_of
from mvssl.compare.comparison import FINE_TUNED, Comparison, MethodScores
from mvssl.compare.gathering import now
from mvssl.compare.phrases import many
from mvssl.compare.storage import load_comparison
from mvssl.evaluation.finetuning import FINETUNED, SCRATCH
from mvssl.training import read_metrics

OUTLINE = "outline"
"""Folder with the comparison as it is before the first cell: corpus, labels and settings, no scores."""


def collect(out: Path) -> Comparison:
    """The cells of a comparison that are finished; the others are its ``missing``.

    Args:
        out: What was given to ``mvssl compare``.

    Raises:
        FileNotFoundError: If no cell is finished yet, or there is no comparison.
    """
    outline = load_comparison(out / OUTLINE)
    cells = cells_of(outline.config, out)
    done = [cell for cell in cells if cell.done]
    facts = {(cell.method, cell.seed): cell.facts() for cell in done}
    kept = [cell for cell in done if "diverged" not in facts[cell.method, cell.seed]]
    if not kept:
        raise FileNotFoundError(f"{out}: none of its {len(cells)} cells has a result yet")
    return replace(
        outline,
        environment={
            **outline.environment,
            "date": now(),
            "threads of each cell": _counted(fact.get("threads", "unknown") for fact in facts.values()),
        },
        corpus=dict(outline.corpus) | {"problems": _problems(outline, facts.values())},
        scores=tuple(
            MethodScores(c.method, c.seed, np.load(c.folder / SCORES), _judge(c.method)) for c in kept
        ),
        curves={
            (cell.method, cell.seed): _columns(read_metrics(cell.folder))
            for cell in kept
            if cell.method in outline.config["pretexts"]
        },
        costs={
            key: {name: fact[name] for name in ("seconds", "views", "parameters") if name in fact}
            for key, fact in facts.items()
        },
        notes=(*outline.notes, *_notes(facts)),
        embeddings={
            cell.method: np.load(cell.folder / EMBEDDINGS)
            for cell in kept
            if cell.seed == outline.config["seeds"][0] and (cell.folder / EMBEDDINGS).is_file()
        },
        robustness={
            cell.method: json.loads((cell.folder / ROBUSTNESS).read_text(encoding="utf-8"))
            for cell in kept
            if (cell.folder / ROBUSTNESS).is_file()
        },
        missing=tuple((cell.method, cell.seed, cell.state()) for cell in cells if cell not in done),
    )


def _judge(method: str) -> str:
    """What made scores of a method's encoder, by the names that :func:`mvssl.finetune` has for it, too."""
    return FINETUNED if method.endswith(FINE_TUNED) else SCRATCH if method == "supervised" else "linear"


def _counted(values: Iterable[Any]) -> str:
    """``1 (12 cells), 2 (3 cells)``."""
    return ", ".join(f"{value} ({many(count, 'cell')})" for value, count in Counter(values).items())


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in ("step", "loss", "rankme")}


def _problems(outline: Comparison, facts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """With those that came to light in training."""
    late = [problem for fact in facts for problem in fact.get("problems", ())]
    pairs = [tuple(problem.items()) for problem in outline.corpus["problems"] + late]
    return [dict(pair) for pair in dict.fromkeys(pairs)]


def _notes(facts: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[str]:
    notes = []
    if any(fact.get("stopped_by_clock") for fact in facts.values()):
        notes.append("Training was stopped by the clock: the same command gives other numbers elsewhere.")
    for (method, seed), fact in facts.items():
        if "diverged" in fact and not method.endswith(FINE_TUNED):
            notes.append(f"{method} with seed {seed} diverged and is left out: {fact['diverged']}.")
        if fact.get("collapse"):
            notes.append(f"{method} with seed {seed} {fact['collapse']}.")
    return notes
