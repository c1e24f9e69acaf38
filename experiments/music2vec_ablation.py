"""Which numbers of music2vec matter? The axes of arXiv:2307.05161, one at a time, around the study's middle.

Mask probability, span in seconds, target layers and crop; batches shrink as crops grow, so that every step
hears as much audio. Target layers are thirds of the encoder's, which has fewer than the study's twelve. The
table holds the macro average precision of a linear probe, also untrained. Writes ablation.csv.

python experiments/music2vec_ablation.py --steps 2000 --out runs/music2vec
python experiments/music2vec_ablation.py --quick --out runs/music2vec_quick
"""

import argparse
import csv
from pathlib import Path

import torch

import mvssl
from mvssl.data import open_corpus
from mvssl.pretext import Data2Vec

AXES = {"mask_prob": (0.5, 0.65, 0.8), "span": (0.1, 0.2, 0.3), "thirds": (2, 3), "seconds": (1.0, 2.0, 4.0)}
MIDDLE = {"mask_prob": 0.65, "span": 0.2, "thirds": 2, "seconds": 2.0}
QUICK = {"mask_prob": (0.5,), "span": (0.1,), "thirds": (3,), "seconds": (1.0,)}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--data", default="synthetic", help="a corpus with tags: its name, folder or manifest")
parser.add_argument("--encoder", default="wave_tiny")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--audio", type=float, default=64.0, help="seconds of audio per step and view")
parser.add_argument("--quick", action="store_true", help="one change of each axis, and 100 steps at most")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--fraction", type=float, default=0.1, help="share of the labels")
parser.add_argument("--out", type=Path, default=Path("runs/music2vec"))
options = parser.parse_args()

axes, steps = (QUICK, min(100, options.steps)) if options.quick else (AXES, options.steps)
corpus = open_corpus(options.data, min_seconds=max(MIDDLE["seconds"], *axes["seconds"]))
cells = [MIDDLE] + [
    {**MIDDLE, axis: value} for axis, values in axes.items() for value in values if value != MIDDLE[axis]
]


def judge(encoder):
    found = mvssl.evaluate(encoder, corpus, fractions=[options.fraction])
    return found.validation()[options.fraction], found.mean()[options.fraction]


torch.manual_seed(options.seed)
rows = [["untrained", *judge(mvssl.create_encoder(options.encoder)), ""]]
for cell in cells:
    torch.manual_seed(options.seed)
    encoder = mvssl.create_encoder(options.encoder, seconds=cell["seconds"])
    layers = max(1, round(len(encoder.layers) * cell["thirds"] / 3))
    span = round(cell["span"] * encoder.sample_rate / encoder.stride)
    pretext = Data2Vec(encoder, cell["mask_prob"], span, layers)
    name = "-".join(f"{value:g}" for value in cell.values())
    size = max(2, round(options.audio / cell["seconds"]))
    mvssl.fit(
        pretext, corpus, steps=steps, batch_size=size, seed=options.seed, out=options.out / name, resume=True
    )
    rows.append([name, *judge(encoder), f"{pretext.target_layers} of {len(encoder.layers)} layers"])
    print(f"{name:18} validation {rows[-1][1]:.3f}, mAP {rows[-1][2]:.3f}, {rows[-1][3]}", flush=True)
print(f"{'untrained':18} validation {rows[0][1]:.3f}, mAP {rows[0][2]:.3f}")
with (options.out / "ablation.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["-".join(MIDDLE), "validation mAP", "mAP", "target"], *rows])
