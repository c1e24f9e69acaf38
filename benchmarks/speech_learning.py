"""What data2vec and HuBERT learn on the embedded corpus, beside the same transformer untrained.

Each trains ``wave_tiny``; HuBERT also in a second iteration, on clusters of a layer of the first. Written are
what the objective reached against the trivial predictor (the most frequent cluster of a batch, the mean
target of a batch), means over the last tenth of the run, and the linear probe's macro average precision on
the test split by share of the labels. Parts that the file already holds are not run again.

    python benchmarks/speech_learning.py --out benchmarks/results/speech_learning_cpu2.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import mvssl
from mvssl.atomic import write_json
from mvssl.data import Corpus, synthetic
from mvssl.encoders import create_encoder
from mvssl.pretext import create_pretext
from mvssl.training import read_metrics
from mvssl.training.run import environment

TRIVIAL = {"hubert": ("accuracy", "most_frequent"), "data2vec": ("loss", "constant")}
FRACTIONS = (0.05, 0.1, 1.0)
PARTS = ("untrained", "hubert", "hubert, second iteration", "data2vec")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=None, help="by default each pretext's own")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--layer", type=int, default=3, help="of the first iteration, for the second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/speech_learning"))
    parser.add_argument("--out", type=Path, default=Path("speech_learning.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    corpus = synthetic(progress=True)
    second = {"targets": options.runs / "hubert", "layer": options.layer}
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    asked = {
        name: getattr(options, name) for name in ("steps", "batch_size", "learning_rate", "layer", "seed")
    }
    if found.get("settings", asked) != asked:
        raise SystemExit(f"{options.out} was made with other settings: choose another --out")
    found |= {"environment": environment(), "settings": asked}
    for name in options.parts:
        if name not in found:
            kind = name.partition(",")[0]
            arguments = second if "second" in name else {}
            found[name] = learned(kind, arguments, corpus, options, options.runs / name.replace(", ", "_"))
            write_json(options.out, found)
        print(name, json.dumps(found[name]), flush=True)


def learned(
    kind: str, arguments: dict[str, Any], corpus: Corpus, options: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """What a pretext reached, if there is one, and what probes of its encoder get."""
    torch.manual_seed(options.seed)
    encoder, reached = create_encoder("wave_tiny"), {}
    if kind in TRIVIAL:
        result = mvssl.fit(
            create_pretext(kind, encoder, **arguments), corpus, "crops", steps=options.steps,
            batch_size=options.batch_size, learning_rate=options.learning_rate, seed=options.seed, out=out,
            resume=True,
        )  # fmt: skip
        rows = read_metrics(out)
        last = rows[-max(1, len(rows) // 10) :]
        means = {term: sum(row[term] for row in last) / len(last) for term in TRIVIAL[kind]}
        reached = {
            **{term: round(value, 4) for term, value in means.items()},
            "seconds": round(result.seconds),
        }
    probes = mvssl.evaluate(encoder, corpus, fractions=FRACTIONS).mean()
    return {**reached, **{f"mAP at {share:.0%}": round(value, 4) for share, value in probes.items()}}


if __name__ == "__main__":
    main()
