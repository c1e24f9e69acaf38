"""Which strategy keeps which aspect of music? Positives × negatives × the augmented side, on known causes.

The axes of "Towards Proper Contrastive Self-supervised Learning Strategies for Music Audio Representation"
(https://arxiv.org/abs/2207.04471), with SimCLR on the embedded corpus. Writes choi2022.csv and choi2022.svg,
a map from strategy to what linear probes recover of each cause, as a difference to the untrained encoder in
hundredths.

python experiments/choi2022.py --steps 120 --out runs/choi2022
"""

import argparse
import csv
from itertools import product
from pathlib import Path

import numpy as np
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
    recipe = {"steps": options.steps, "batch_size": tracks, "seed": options.seed}
    mvssl.fit(pretext, corpus, views, out=out, resume=True, **recipe)
    judge(out.name, encoder)

options.out.mkdir(parents=True, exist_ok=True)
aspects = list(rows["untrained"])
with (options.out / "choi2022.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, ["strategy", *aspects])
    writer.writeheader()
    writer.writerows({"strategy": name, **kept} for name, kept in rows.items())
figure = Figure(
    (3 + 2.6 * len(options.negatives), 1.6 + 0.3 * len(rows) / len(options.negatives)), layout="constrained"
)
panels = figure.subplots(1, len(options.negatives), sharey=True, squeeze=False)[0]
base = np.array(list(rows.pop("untrained").values()))
gains = {name: np.array(list(kept.values())) - base for name, kept in rows.items()}
limit = np.abs(list(gains.values())).max()
strategies = list(product(options.positives, options.augmented))
for axes, negatives in zip(panels, options.negatives, strict=True):
    gain = np.array([gains[f"{positives}-{negatives}-{side}"] for positives, side in strategies])
    image = axes.imshow(gain, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.ndindex(gain.shape):
        color = "white" if abs(gain[row, column]) > 0.7 * limit else "black"
        text = f"{100 * gain[row, column]:+.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    for edge in range(len(options.augmented), len(strategies), len(options.augmented)):
        axes.axhline(edge - 0.5, color="black", linewidth=0.8)
    axes.set_title(f"negatives: {negatives}", fontsize=10)
    axes.set_xticks(range(len(aspects)), aspects, rotation=45, ha="right")
    axes.set_yticks(range(len(strategies)), [" · ".join(strategy) for strategy in strategies])
panels[0].set_ylabel("positives · augmented side")
figure.colorbar(image, ax=panels, label="change against the untrained encoder")
figure.savefig(options.out / "choi2022.svg")
