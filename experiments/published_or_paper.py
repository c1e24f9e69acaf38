"""What do the settings of a published comparison change? Five pretexts as in their papers and as in its code.

python experiments/published_or_paper.py --steps 300 --out runs/presets
"""

import argparse
from itertools import product
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic

NAMES = ("simclr", "byol", "dino", "barlow_twins", "vicreg")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/presets"))
options = parser.parse_args()

corpus = synthetic(progress=True)
for name, preset, seed in product(NAMES, ("paper", "deezer2024"), options.seeds):
    torch.manual_seed(seed)
    pretext = mvssl.create_pretext(name, mvssl.create_encoder("tiny"), preset=preset)
    out = options.out / f"{name}-{preset}-{seed}"
    mvssl.fit(pretext, corpus, "light", steps=options.steps, seed=seed, out=out, resume=True)
    found = mvssl.evaluate(pretext.encoder, corpus).mean()
    print(out.name, {f"{fraction:.0%}": round(value, 3) for fraction, value in found.items()}, flush=True)
