"""Which augmentation matters? Crops and one transform at a time, as in CLMR's ablation (arXiv:2103.09410).

Or, with --without, a whole chain and the chain without each of its members. Log-mels are not normalised
unless told, else gain and filters could hardly be heard. Brackets hold 95 % intervals of the difference to
crops alone, or to the whole chain, over test tracks. Writes ablation.csv.

python experiments/augmentation_ablation.py --data synthetic --steps 120 --out runs/ablation
python experiments/augmentation_ablation.py --chain light --without --normalised --out runs/light
"""

import argparse
import csv
from dataclasses import astuple
from pathlib import Path

import torch

import mvssl
from mvssl.data import open_corpus
from mvssl.pretext import SimCLR
from mvssl.views import Crops, ViewChain, chain

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--data", default="synthetic", help="a corpus with tags: its name, folder or manifest")
parser.add_argument("--chain", default="clmr_text", help="whose members are tried")
parser.add_argument("--without", action="store_true", help="try the chain without each, not with each alone")
parser.add_argument("--cells", nargs="+", help="only these, by the names that the table gives them")
parser.add_argument("--normalised", action="store_true", help="give the encoder normalised log-mels")
parser.add_argument("--steps", type=int, default=120)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--fraction", type=float, default=0.1, help="share of the labels")
parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
options = parser.parse_args()

corpus = open_corpus(options.data, min_seconds=2.0)
chosen = chain(options.chain)
members = {type(member).__name__: member for member in (*chosen.waveform, *chosen.spectrogram)}
if options.without:
    others = {f"without {name}": [n for n in members if n != name] for name in members}
    cells = {options.chain: [*members], **others, "crops": []}
else:
    cells = {"crops": [], **{name: [name] for name in members}}
if options.cells:
    cells = {cell: cells[cell] for cell in options.cells}

rows, first = [], None
for cell, names in cells.items():
    torch.manual_seed(options.seed)
    encoder = mvssl.create_encoder("tiny", normalised=options.normalised)
    waveform, spectrogram = (
        [member for name, member in members.items() if name in names and member in part]
        for part in (chosen.waveform, chosen.spectrogram)
    )
    views = ViewChain(Crops(encoder.seconds), waveform, spectrogram)
    out = options.out / cell
    mvssl.fit(SimCLR(encoder), corpus, views, steps=options.steps, seed=options.seed, out=out, resume=True)
    found = mvssl.evaluate(encoder, corpus, fractions=[options.fraction])
    first = first or found
    valid, mean = found.validation()[options.fraction], found.mean()[options.fraction]
    gain, low, high = astuple(found.difference(first)[options.fraction])
    rows.append([cell, valid, mean, gain, low, high])
    text = f"mAP {mean:.3f} {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
    print(f"{cell:18} {options.fraction:.0%} validation {valid:.3f}, {text}", flush=True)
with (options.out / "ablation.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["views", "validation mAP", "mAP", "difference", "low", "high"], *rows])
