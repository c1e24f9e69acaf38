"""What the evaluator costs beside loops over scikit-learn, as ratios within one run.

"probes": the limited-data protocol (5 fractions, 4 repeats, a grid of 6) on 5,000 tracks × 512 dimensions
× 50 tags, against ``LogisticRegression`` for every subset, setting and tag. scikit-learn fits a sample of the
tags (``--tags``) and its time is multiplied accordingly; scores of those tags are compared. Aims: 20 times
as fast, macro average precision within 0.002, less than 4 GiB.

"bootstrap": average precision of 50 tags on 5,000 tracks in 1,000 resamples, against scikit-learn's with
weights on a sample of the resamples (``--resamples``). Aim: under 5 s.

"extraction": crops per second of ``extract_embeddings`` on the embedded corpus, against the bare forward pass
on one ready-made batch. Aim: 0.9.

    python benchmarks/evaluator.py --out benchmarks/results/evaluator_cpu2_torch2.11.json
"""

import argparse
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from timing import alternate

from mvssl.atomic import write_json
from mvssl.data import synthetic
from mvssl.device import default_device, keep_freed_memory
from mvssl.encoders import create_encoder
from mvssl.evaluation import (
    ProbeData,
    average_precision,
    bootstrap_metric,
    draw_subsets,
    extract_embeddings,
    linear_probe,
    resample_weights,
    standardise,
)
from mvssl.training.run import environment

TRACKS, DIM, TAGS = 5_000, 512, 50
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tags", type=int, default=2, help="tags that scikit-learn fits")
    parser.add_argument("--resamples", type=int, default=5, help="resamples that scikit-learn scores")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("evaluator.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    keep_freed_memory()
    found = {
        "environment": environment(),
        "probes": probes(options.tags),
        "bootstrap": bootstrap(options.resamples),
        "extraction": extraction(options.encoder),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    print({name: found[name] for name in ("probes", "bootstrap", "extraction")})


def problem() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Correlated features, tags that depend on some of them, and a 70/10/20 split."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(TRACKS, DIM)) @ rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)
    hidden = features @ rng.normal(size=(DIM, TAGS)) / np.sqrt(DIM) + rng.normal(size=(TRACKS, TAGS))
    train, valid, test = np.split(np.arange(TRACKS), [TRACKS * 7 // 10, TRACKS * 8 // 10])
    return features, hidden > rng.uniform(0.8, 2.5, TAGS), {"train": train, "valid": valid, "test": test}


def probes(tags: int) -> dict[str, Any]:
    features, targets, splits = problem()
    subsets = draw_subsets(targets[splits["train"]])
    start = time.perf_counter()
    ours = linear_probe(ProbeData(features, targets, **splits), subsets=subsets, grid=GRID)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    x = standardise(features, splits["train"])
    start, gaps = time.perf_counter(), []
    for number, subset in enumerate(subsets):
        rows = splits["train"][subset.indices]
        for c in GRID:
            theirs = [
                LogisticRegression(C=c, max_iter=1_000)
                .fit(x[rows], targets[rows, tag])
                .decision_function(x[splits["test"]])
                for tag in range(tags)
            ]
            if c == ours.chosen[number]:
                truth = targets[splits["test"], :tags]
                difference = average_precision(np.stack(theirs, 1), truth) - average_precision(
                    ours.scores[number][:, :tags], truth
                )
                gaps.append(abs(float(difference.mean())))
    theirs_seconds = (time.perf_counter() - start) * TAGS / tags
    return {
        "ratio": round(theirs_seconds / seconds, 1), "ours s": round(seconds, 1),
        "scikit-learn s": round(theirs_seconds), "largest difference of mAP": round(max(gaps), 5),
        "peak GiB of the process": round(memory, 2),
    }  # fmt: skip


def bootstrap(resamples: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    targets = rng.random((TRACKS, TAGS)) < 0.1
    scores = rng.normal(size=(TRACKS, TAGS)) + targets
    weights = resample_weights(TRACKS)
    start = time.perf_counter()
    ours = bootstrap_metric(average_precision, scores[None], targets, weights)[0]
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    theirs = [
        average_precision_score(targets, scores, average=None, sample_weight=weight)
        for weight in weights[:resamples]
    ]
    theirs_seconds = (time.perf_counter() - start) * len(weights) / resamples
    return {
        "ratio": round(theirs_seconds / seconds, 1), "ours s": round(seconds, 2),
        "scikit-learn s": round(theirs_seconds),
        "largest difference": float(np.abs(ours[:resamples] - np.stack(theirs)).max()),
    }  # fmt: skip


def extraction(name: str) -> dict[str, Any]:
    corpus = synthetic(progress=True).take(np.arange(300))
    encoder = create_encoder(name).to(default_device()).eval()
    batch = 0.1 * torch.randn(64, round(encoder.seconds * encoder.sample_rate), device=default_device())
    crops = []

    def extract() -> None:
        found = extract_embeddings(
            encoder, corpus, seconds=encoder.seconds, sample_rate=encoder.sample_rate, progress=False
        )
        crops.append(len(found.crops))

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(20):
            encoder(batch)

    whole, bare = alternate([extract, forward], rounds=3)
    rates = crops[0] / float(np.median(whole)), 20 * len(batch) / float(np.median(bare))
    return {
        "ratio": round(rates[0] / rates[1], 3), "extracted crops/s": round(rates[0]),
        "bare forward, crops/s": round(rates[1]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
