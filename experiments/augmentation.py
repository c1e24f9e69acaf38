"""Does augmentation matter? SimCLR with plain crops and with ``light``, on plain and on normalised log-mels.

An encoder that normalises its log-mels hears neither gain nor equaliser, so augmenting them matters less.

python experiments/augmentation.py --steps 200 --out runs/augmentation
"""

import argparse
from itertools import product
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.pretext import SimCLR

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--out", type=Path, default=Path("runs/augmentation"))
options = parser.parse_args()


def report(name: str, encoder: mvssl.encoders.Encoder) -> None:
    found = mvssl.evaluate(encoder, corpus).mean()
    print(name, {f"{fraction:.0%}": round(value, 3) for fraction, value in found.items()}, flush=True)


corpus = synthetic(progress=True)
for normalised, views, seed in product((False, True), ("crops", "light"), options.seeds):
    torch.manual_seed(seed)
    pretext = SimCLR(mvssl.create_encoder("tiny", normalised=normalised))
    out = options.out / f"{views}-{'normalised' if normalised else 'plain'}-{seed}"
    if views == "crops":
        report(f"untrained-{out.name}", pretext.encoder)
    mvssl.fit(pretext, corpus, views, steps=options.steps, seed=seed, out=out, resume=True)
    report(out.name, pretext.encoder)
