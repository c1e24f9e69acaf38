"""How do temperature and batch size of SimCLR go together? Every run sees the same number of views.

python experiments/temperature_batch.py --views 60000 --out runs/temperature
"""

import argparse
from itertools import product
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.pretext import SimCLR

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--temperatures", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.5])
parser.add_argument("--batch_sizes", type=int, nargs="+", default=[24, 48, 96, 192])
parser.add_argument("--views", type=int, default=60_000)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/temperature"))
options = parser.parse_args()

corpus = synthetic(progress=True)
for temperature, size, seed in product(options.temperatures, options.batch_sizes, options.seeds):
    torch.manual_seed(seed)
    pretext = SimCLR(mvssl.create_encoder("tiny"), temperature=temperature)
    out, steps = options.out / f"{temperature:g}-{size}-{seed}", options.views // (2 * size)
    mvssl.fit(pretext, corpus, "light", steps=steps, batch_size=size, seed=seed, out=out, resume=True)
    found = mvssl.evaluate(pretext.encoder, corpus).mean()
    print(out.name, {f"{fraction:.0%}": round(value, 3) for fraction, value in found.items()}, flush=True)
