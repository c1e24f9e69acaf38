"""How fast may labels change a pre-trained encoder? Learning rates beside a linear probe and from scratch.

python experiments/finetuning.py --steps 120 --out runs/finetuning
"""

import argparse
from pathlib import Path

import torch

import mvssl
from mvssl.data import synthetic
from mvssl.evaluation import SupervisedRecipe
from mvssl.pretext import SimCLR

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=120)
parser.add_argument("--fractions", type=float, nargs="+", default=[0.05, 1.0])
parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3, 3e-3], help="of the encoder")
parser.add_argument("--crops", type=int, default=10_000)
parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
options = parser.parse_args()

corpus = synthetic(progress=True)
torch.manual_seed(0)
pretext = SimCLR(mvssl.create_encoder("tiny"))
mvssl.fit(pretext, corpus, "light", steps=options.steps, out=options.out / "simclr", resume=True)
shared = {"fractions": options.fractions, "repeats": 3}
print(mvssl.evaluate(pretext.encoder, corpus, **shared))
shared |= {"progress": True, "out": options.out}
scratch = SupervisedRecipe(options.crops)
print(mvssl.finetune(pretext.encoder, corpus, recipe=scratch, from_scratch=True, **shared))
for rate in options.rates:
    for head_first in (0.0, 0.25) if rate == 1e-3 else (0.0,):
        recipe = SupervisedRecipe.finetuning(options.crops, encoder_rate=rate, head_first=head_first)
        print(f"encoder {rate:g}, head alone for {head_first:.0%} of the steps", flush=True)
        found = mvssl.finetune(pretext.encoder, corpus, recipe=recipe, **shared)
        print(found, f"on validation: {found.validation('finetuned')}", sep="\n", flush=True)
