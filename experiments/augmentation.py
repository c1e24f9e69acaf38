"""Does augmentation matter? SimCLR on the embedded corpus with plain crops and with the ``light`` chain.

python experiments/augmentation.py --steps 400 --out runs/augmentation
"""

import argparse
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.evaluation import average_precision, draw_subsets, extract_embeddings, linear_probe, macro
from mvssl.pretext import SimCLR

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/augmentation"))
options = parser.parse_args()

corpus = synthetic(progress=True)
train, valid, test = (corpus.indices(split) for split in ("train", "valid", "test"))
subsets = draw_subsets(corpus.targets[train])
for views in ("crops", "light"):
    for seed in options.seeds:
        torch.manual_seed(seed)
        pretext = SimCLR(mvssl.create_encoder("tiny"))
        out = options.out / f"{views}-{seed}"
        mvssl.fit(pretext, corpus, views, steps=options.steps, seed=seed, out=out, resume=True)
        embeddings = extract_embeddings(pretext.encoder, corpus, seconds=3.0, sample_rate=16_000).values
        result = linear_probe(
            embeddings, corpus.targets, train=train, valid=valid, test=test, subsets=subsets
        )
        scores: dict[float, list[float]] = {}
        for subset, score in zip(subsets, result.scores, strict=True):
            scores.setdefault(subset.fraction, []).append(
                float(macro(average_precision(score, corpus.targets[test])))
            )
        print(
            views,
            seed,
            {f"{fraction:.0%}": round(sum(aps) / len(aps), 3) for fraction, aps in scores.items()},
        )
