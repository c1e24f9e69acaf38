"""Chooses the preset ``tiny``: what a linear probe gets after equal time of training, on this machine.

For each candidate, SimCLR is trained on the embedded corpus for each of the given times (the learning-rate
schedule ends with the time) and judged by the macro average precision of the linear probe, on validation for
the choice and on test. Run it alone on the machine: it measures time. Rows that the file already holds are
not measured again.

    python benchmarks/preset_learning.py --seconds 60 120 240 --out benchmarks/results/preset_learning.csv
"""

import argparse
import csv
import itertools
import tempfile
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import mvssl
from mvssl.data import synthetic
from mvssl.encoders import create_encoder
from mvssl.pretext import SimCLR

BASE: dict[str, Any] = {
    "width": 16,
    "layers": (1, 1, 1, 1),
    "seconds": 3.0,
    "pooling": "mean_max",
    "normalised": True,
}
MEL = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
FINE = {**MEL, "n_mels": 64, "n_fft": 1024, "hop_length": 512}

# name → (encoder arguments, training arguments); each differs in one respect from the first or from "64 mels"
CANDIDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "base": ({}, {}),
    "not normalised": ({"normalised": False}, {}),
    "width 8": ({"width": 8}, {}),
    "width 24": ({"width": 24}, {}),
    "blocks 2 2 2 2": ({"layers": (2, 2, 2, 2)}, {}),
    "three stages": ({"layers": (1, 1, 1)}, {}),
    "attention pooling": ({"pooling": "attention"}, {}),
    "64 mels": ({"frontend": FINE}, {}),
    "64 mels, crops of 2 s": ({"frontend": FINE, "seconds": 2.0}, {}),
    "window 1024": ({"frontend": {**MEL, "n_fft": 1024}}, {}),
    "hop 400": ({"frontend": {**MEL, "hop_length": 400}}, {}),
    "crops of 2 s": ({"seconds": 2.0}, {}),
    "crops of 4 s": ({"seconds": 4.0}, {}),
    "batch 48": ({}, {"batch_size": 48}),
    "batch 192": ({}, {"batch_size": 192}),
    "fp32": ({}, {"precision": "fp32"}),
    "learning rate 1e-3": ({}, {"learning_rate": 1e-3}),
    "learning rate 6e-3": ({}, {"learning_rate": 6e-3}),
    "no augmentation": ({}, {"views": "crops"}),
}
FRACTIONS = (0.05, 0.1, 0.2, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 120, 240])
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("preset_learning.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    columns = ["candidate", "seconds", "seed", "views_per_second"]
    columns += [f"{split}_map_{f:g}" for split in ("validation", "test") for f in FRACTIONS]
    done = _done(options.out)
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(columns)
        for seconds, name in itertools.product(options.seconds, options.candidates):
            key = (name, f"{seconds:g}", str(options.seed))
            if key in done:
                continue
            row = [*key, *_learn(*CANDIDATES[name], seconds, options.seed)]
            writer.writerow(row)
            file.flush()
            tqdm.write("  ".join(f"{column} {value}" for column, value in zip(columns, row, strict=True)))


def _done(path: Path) -> set[tuple[str, ...]]:
    if not path.is_file():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[:3]) for row in csv.reader(file)}


def _learn(architecture: dict[str, Any], training: dict[str, Any], seconds: float, seed: int) -> list[str]:
    corpus = synthetic(progress=True)
    torch.manual_seed(seed)
    encoder = create_encoder("tiny", **{"frontend": MEL, **BASE, **architecture})
    training = {"views": "light", **training}
    with tempfile.TemporaryDirectory() as folder:
        result = mvssl.fit(
            SimCLR(encoder), corpus, steps=10**6, minutes=seconds / 60, seed=seed, out=folder, **training
        )
    found = mvssl.evaluate(encoder, corpus, fractions=FRACTIONS)
    values = [value for each in (found.validation(), found.mean()) for value in each.values()]
    return [f"{result.views / result.seconds:.0f}", *(f"{value:.4f}" for value in values)]


if __name__ == "__main__":
    main()
