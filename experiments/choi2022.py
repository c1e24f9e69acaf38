"""Which strategy keeps which aspect of music? Positives × negatives × the augmented side, on known causes.

The axes of "Towards Proper Contrastive Self-supervised Learning Strategies for Music Audio Representation"
(https://arxiv.org/abs/2207.04471), with SimCLR on the embedded corpus. Writes choi2022.csv and choi2022.svg,
a map from strategy to what linear probes recover of each cause, as a difference to the untrained encoder.

python experiments/choi2022.py --steps 120 --out runs/choi2022
"""

import argparse
import csv
from itertools import product
from pathlib import Path

import torch
from matplotlib.figure import Figure

import mvssl
from mvssl.data import synthetic
from mvssl.evaluation import causes_kept
from mvssl.pretext import SimCLR

CHAINS = {"none": "crops", "anchor": "choi2022_anchor", "positive": "choi2022_positive", "both": "choi2022"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--steps", type=int, default=120)
parser.add_argument("--views", type=int, default=192, help="per step, whatever the strategy")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--positives", nargs="+", default=["same", "adjacent", "random", "non_overlapping"])
parser.add_argument("--negatives", nargs="+", default=["batch", "track", "both"])
parser.add_argument("--augmented", nargs="+", default=list(CHAINS))
parser.add_argument("--out", type=Path, default=Path("runs/choi2022"))
options = parser.parse_args()

corpus = synthetic(progress=True)
rows: dict[str, dict[str, float]] = {}


def judge(name: str, encoder: mvssl.encoders.Encoder) -> None:
    rows[name] = causes_kept(encoder, corpus, seconds=encoder.seconds, sample_rate=encoder.sample_rate)
    print(name, {aspect: round(value, 3) for aspect, value in rows[name].items()}, flush=True)


for positives, negatives, side in product(options.positives, options.negatives, options.augmented):
    torch.manual_seed(options.seed)
    encoder = mvssl.create_encoder("tiny")
    if not rows:
        judge("untrained", encoder)
    places = 1 if negatives == "batch" else 2  # of a track, each with an anchor and a positive
    pretext = SimCLR(encoder, negatives=negatives, positions=places)
    views = mvssl.views.chain(CHAINS[side], encoder.seconds, 2 * places, positives, positions=places)
    out = options.out / f"{positives}-{negatives}-{side}"
    tracks = options.views // (2 * places)
    mvssl.fit(
        pretext,
        corpus,
        views,
        steps=options.steps,
        batch_size=tracks,
        seed=options.seed,
        out=out,
        resume=True,
    )
    judge(out.name, encoder)

options.out.mkdir(parents=True, exist_ok=True)
aspects = list(rows["untrained"])
with (options.out / "choi2022.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, ["strategy", *aspects])
    writer.writeheader()
    writer.writerows({"strategy": name, **kept} for name, kept in rows.items())
base = rows.pop("untrained")
gains = [[kept[aspect] - base[aspect] for aspect in aspects] for kept in rows.values()]
figure = Figure((7, 1 + 0.24 * len(gains)), layout="constrained")
axes = figure.subplots()
limit = max(abs(gain) for row in gains for gain in row)
image = axes.imshow(gains, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
axes.set_xticks(range(len(aspects)), aspects)
axes.set_yticks(range(len(rows)), [name.replace("-", " · ") for name in rows])
figure.colorbar(image, label="kept more (red) or less (blue) than by the untrained encoder")
figure.savefig(options.out / "choi2022.svg")
