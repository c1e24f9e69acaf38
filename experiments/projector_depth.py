"""How deep should a projector be? SimCLR with 0 to 3 hidden layers; 0 is a linear projection.

python experiments/projector_depth.py --steps 300 --out runs/projector
"""

import argparse
from itertools import product
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.pretext import SimCLR

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--depths", type=int, nargs="+", default=[0, 1, 2, 3])
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/projector"))
options = parser.parse_args()

corpus = synthetic(progress=True)
for depth, seed in product(options.depths, options.seeds):
    torch.manual_seed(seed)
    pretext = SimCLR(mvssl.create_encoder("tiny"), hidden_layers=depth)
    out = options.out / f"{depth}-{seed}"
    mvssl.fit(pretext, corpus, "light", steps=options.steps, seed=seed, out=out, resume=True)
    found = mvssl.evaluate(pretext.encoder, corpus).mean()
    print(out.name, {f"{fraction:.0%}": round(value, 3) for fraction, value in found.items()}, flush=True)
