"""What lets BYOL learn in a few hundred steps? Normalised log-mels and a batch norm on projections.

python experiments/byol.py --steps 200 --out runs/byol
"""

import argparse
from itertools import product
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.pretext import BYOL

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/byol"))
options = parser.parse_args()


def report(name: str, encoder: mvssl.encoders.Encoder) -> None:
    found = mvssl.evaluate(encoder, corpus).mean()
    print(name, {f"{fraction:.0%}": round(value, 3) for fraction, value in found.items()}, flush=True)


corpus = synthetic(progress=True)
for normalised, norm, seed in product((False, True), (False, True), options.seeds):
    torch.manual_seed(seed)
    pretext = BYOL(mvssl.create_encoder("tiny", normalised=normalised), projection_norm=norm)
    name = f"{'normalised' if normalised else 'plain'}-{'with' if norm else 'without'}-batch-norm-{seed}"
    if not norm:
        report(f"{name}-untrained", pretext.encoder)
    mvssl.fit(pretext, corpus, steps=options.steps, seed=seed, out=options.out / name, resume=True)
    report(name, pretext.encoder)
