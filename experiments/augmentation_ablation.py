"""Which augmentation matters? Crops and one transform at a time, as in CLMR's ablation (arXiv:2103.09410).

The transforms are the members of the chain ``clmr_text``. Log-mels are not normalised, else gain and filters
could not be heard. Brackets hold 95 % intervals of the difference to crops alone, over test tracks.

python experiments/augmentation_ablation.py --data synthetic --steps 200 --out runs/ablation
"""

import argparse
from pathlib import Path

import torch

import mvssl
from mvssl.data import open_corpus
from mvssl.evaluation import average_precision as ap
from mvssl.evaluation import bootstrap_metric, draw_subsets, interval, macro, probe_subsets, resample_weights
from mvssl.pretext import SimCLR
from mvssl.views import Crops, ViewChain, chain

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--data", default="synthetic", help="a corpus with tags: its name, folder or manifest")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--fraction", type=float, default=0.1, help="share of the labels")
parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
options = parser.parse_args()

corpus = open_corpus(options.data, min_seconds=2.0)
subsets = draw_subsets(corpus.targets[corpus.indices("train")], [options.fraction])
test = corpus.indices("test")
groups = None if corpus.groups is None else corpus.groups[test]
weights = resample_weights(len(test), groups=groups)
results = {}
for members in ([], *([member] for member in chain("clmr_text").waveform)):
    torch.manual_seed(options.seed)
    encoder = mvssl.create_encoder("tiny", normalised=False)
    name = type(members[0]).__name__ if members else "crops"
    views = ViewChain(Crops(encoder.seconds), members)
    out = options.out / name
    mvssl.fit(SimCLR(encoder), corpus, views, steps=options.steps, seed=options.seed, out=out, resume=True)
    scores = probe_subsets(
        encoder, corpus, subsets, seconds=encoder.seconds, sample_rate=encoder.sample_rate, progress=False
    )
    mean = macro([ap(score, corpus.targets[test]) for score in scores]).mean()
    resampled = macro(bootstrap_metric(ap, scores, corpus.targets[test], weights)).mean(0)
    results[name] = mean, resampled
    gain = mean - results["crops"][0]
    low, high = interval(resampled - results["crops"][1], estimate=gain)
    difference = f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]" if members else ""
    print(f"{name:12} {options.fraction:.0%} mAP {mean:.3f} {difference}", flush=True)
