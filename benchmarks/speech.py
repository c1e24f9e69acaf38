"""What data2vec and HuBERT cost beside the transformer they train, and clusters of hours of audio.

Steps are forward and backward of one view, in turns with those of the same transformer alone, by the time of
the process on a CPU. Aims are 1.6 times its time for data2vec, whose teacher makes one more forward pass, and
1.1 for HuBERT. What HuBERT's loss holds at most is measured against what every frame beside every cluster
would take. The hours of audio of --hours are links to ten synthesised minutes.

    python benchmarks/speech.py --encoder wave_tiny --batch 8 --out benchmarks/results/speech.json
    python benchmarks/speech.py --only kmeans --hours 1 10
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch
from timing import alternate
from torch import Tensor

from mvssl.atomic import write_json
from mvssl.device import default_device
from mvssl.encoders import create_encoder
from mvssl.functional import hubert
from mvssl.kmeans import kmeans
from mvssl.pretext import Pretext, create_pretext
from mvssl.training.run import environment

AIMS = {"data2vec": 1.6, "hubert": 1.1}
SIZES = ((100, 64), (500, 64), (100, 512), (500, 512))  # clusters and the size of their embeddings
FRAMES = 2_000
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", default="wave_tiny")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, nargs="+", default=[0.2, 1.0])
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=["steps", "loss", "kmeans"])
    parser.add_argument("--out", type=Path, default=Path("speech.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found["environment"] = environment()
    parts: dict[str, Callable[[], Any]] = {
        "steps": lambda: steps(options.encoder, options.batch, options.rounds),
        "loss": losses,
        "kmeans": lambda: [clustered(hours, options.clusters) for hours in options.hours],
    }
    for name in options.only or parts:
        found[name] = parts[name]()
        write_json(options.out, found)
        print(name, json.dumps(found[name], indent=2), flush=True)


def steps(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Medians of the time of a pretext's step as a share of the transformer's in the same round."""
    torch.manual_seed(0)
    device = default_device()
    encoder = create_encoder(name).to(device)
    audio = 0.1 * torch.randn(batch, round(encoder.seconds * encoder.sample_rate), device=device)
    made = {kind: create_pretext(kind, encoder).to(device) for kind in AIMS}
    for pretext in made.values():
        pretext.prepare([[audio]])
    ways = [lambda: encoder(audio).sum().backward()]
    ways += [lambda pretext=pretext: backward(pretext, audio) for pretext in made.values()]
    ways.append(made["data2vec"].after_step)
    clock = time.perf_counter if default_device().type == "cuda" else time.process_time
    plain, *others, update = alternate(ways, rounds, clock=clock)
    shares = {
        kind: [one / other for one, other in zip(spent, plain, strict=True)]
        for kind, spent in zip(made, others, strict=True)
    }
    return {
        "encoder": name, "batch": batch, "seconds": encoder.seconds, "rounds": rounds,
        "plain_ms_per_clip": round(1000 * median(plain) / batch, 2),
        "teacher_update_ms": round(1000 * median(update), 2),
        **{f"{kind}_ratio": round(median(share), 3) for kind, share in shares.items()},
        **{f"{kind}_ratios": [round(value, 3) for value in share] for kind, share in shares.items()},
        "aims": AIMS,
    }  # fmt: skip


def backward(pretext: Pretext, audio: Tensor) -> None:
    pretext([audio]).loss.backward()


def losses() -> list[dict[str, Any]]:
    """What the loss and its gradient hold at most, in MB, by clusters and their size."""
    rows = []
    for clusters, dim in SIZES:
        projections, embedded = (torch.randn(n, dim, requires_grad=True) for n in (FRAMES, clusters))
        targets = torch.arange(FRAMES) % clusters
        peak = most_held(lambda p=projections, e=embedded, t=targets: hubert(p, e, t).backward())
        beside = 4 * FRAMES * clusters * dim
        rows.append(
            {"frames": FRAMES, "clusters": clusters, "dim": dim, "peak_mb": round(peak / 1e6, 2),
             "every_frame_beside_every_cluster_mb": round(beside / 1e6, 1)}
        )  # fmt: skip
    return rows


def most_held(function: Callable[[], object]) -> int:
    """Most bytes of tensors on the CPU at a time while a function runs."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with tempfile.TemporaryDirectory() as folder:
        with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
            function()
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return int(np.cumsum([change for _, change in changes]).max())


def clustered(hours: float, clusters: int) -> dict[str, Any]:
    """Peak memory of a process that clusters so many hours, and its time."""
    with tempfile.TemporaryDirectory() as folder:
        music = Path(folder) / "music"
        music.mkdir()
        first = music / "0.wav"
        soundfile.write(first, noise(600), RATE)
        for number in range(1, max(5, math.ceil(6 * hours / 0.67))):  # two thirds are for training
            os.link(first, music / f"{number}.wav")
        sender, receiver = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=measured, args=(receiver, str(music), str(Path(folder) / "out"), clusters)
        )
        process.start()
        found: dict[str, Any] = sender.recv()
        process.join()
    return {"hours": round(found.pop("frames") / 100 / 3600, 2), "clusters": clusters, **found}


def measured(connection: Any, music: str, out: str, clusters: int) -> None:
    """Clusters in a process of its own, and tells what that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    kmeans(music, out, clusters=clusters, frames=10**7)
    spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frames = json.loads((Path(out) / "clusters.json").read_text())["clustered"]
    connection.send(
        {"frames": frames, "seconds": round(spent, 1), "peak_mb": peak // 1000, "imports_mb": before // 1000}
    )


def noise(seconds: int) -> np.ndarray:
    """Noise that swells and fades at several rates, so that there is something to tell apart."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(seconds * RATE) / RATE
    swell = np.sin(2 * math.pi * 0.7 * time_axis) * np.sin(2 * math.pi * 0.05 * time_axis)
    tone = np.sin(2 * math.pi * (200 + 50 * np.sin(time_axis)) * time_axis)
    return (0.1 * swell * rng.standard_normal(len(time_axis)) + 0.2 * tone).astype(np.float32)


if __name__ == "__main__":
    main()
