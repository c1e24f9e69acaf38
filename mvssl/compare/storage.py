"""A comparison on the disk: ``comparison.json`` and, for its arrays, ``comparison.npz``."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvssl.atomic import replacing, write_text
from mvssl.compare.comparison import Comparison, MethodScores

DESCRIPTION, ARRAYS = "comparison.json", "comparison.npz"
_VERSION = 1
_PLAIN = (
    "command", "config", "environment", "corpus", "vocabulary", "tag_groups", "cells", "notes", "titles",
    "task", "robustness", "fingerprints", "layer_weights",
)  # fmt: skip


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes all that a report is made of, the description last: without it, nothing is there."""
    arrays: dict[str, NDArray[Any]] = {"targets": comparison.targets}
    if comparison.groups is not None:
        arrays["groups"] = comparison.groups.astype(str)
    for place, entry in enumerate(comparison.scores):
        arrays[f"scores/{place}"] = entry.scores
    for place, embeddings in enumerate(comparison.embeddings.values()):
        arrays[f"embeddings/{place}"] = embeddings
    with replacing(folder / ARRAYS) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    described = {name: getattr(comparison, name) for name in _PLAIN} | {
        "version": _VERSION,
        "label_counts": list(comparison.label_counts.items()),
        "curves": [[*run, terms] for run, terms in comparison.curves.items()],
        "costs": [[*run, cost] for run, cost in comparison.costs.items()],
        "scores": [[entry.method, entry.seed, entry.probe] for entry in comparison.scores],
        "embeddings": list(comparison.embeddings),
        "missing": [list(cell) for cell in comparison.missing],
    }
    write_text(folder / DESCRIPTION, json.dumps(described, indent=1, default=str) + "\n")


def load_comparison(folder: Path) -> Comparison:
    """Reads what :func:`save_comparison` wrote.

    Raises:
        FileNotFoundError: If the folder holds no finished comparison.
        ValueError: If its files are damaged, or of another version.
    """
    described = _described(folder)
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            return _comparison(described, arrays)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: {DESCRIPTION} and {ARRAYS} are damaged ({error})") from error


def _described(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    if not path.is_file():
        begun = (folder / "config.yaml").is_file()
        reason = (
            f"holds an unfinished comparison (no {DESCRIPTION}): type its `mvssl compare` line again"
            if begun
            else f"holds no comparison ({DESCRIPTION} is missing)"
        )
        raise FileNotFoundError(f"{folder} {reason}")
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = described["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r})") from error
    if version != _VERSION:
        raise ValueError(f"{path} is of version {version}, and this mvssl reads version {_VERSION}")
    return described


def _comparison(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Comparison:
    plain = {name: described[name] for name in _PLAIN if name in described} | {
        "vocabulary": tuple(described["vocabulary"]),
        "tag_groups": {name: tuple(tags) for name, tags in described["tag_groups"].items()},
        "cells": tuple((fraction, repeat) for fraction, repeat in described["cells"]),
        "notes": tuple(described["notes"]),
    }
    return Comparison(
        **plain,
        label_counts={fraction: (few, many) for fraction, (few, many) in described["label_counts"]},
        targets=arrays["targets"],
        groups=arrays.get("groups"),
        scores=tuple(
            MethodScores(method, seed, arrays[f"scores/{place}"], probe)
            for place, (method, seed, probe) in enumerate(described["scores"])
        ),
        curves={(method, seed): terms for method, seed, terms in described["curves"]},
        costs={(method, seed): cost for method, seed, cost in described["costs"]},
        embeddings={
            method: arrays[f"embeddings/{place}"] for place, method in enumerate(described["embeddings"])
        },
        missing=tuple((method, seed, why) for method, seed, why in described.get("missing", ())),
    )
