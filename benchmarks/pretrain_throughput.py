"""Views per second of the whole pipeline, as a ratio to the bare encoder step, in one run.

The pipeline reads files, crops, augments, makes log-mels, and trains (encoder, head, loss, optimiser). The
bare step trains the same encoder on one ready-made batch of log-mels with a trivial loss: it is what would
be left if everything else were free. Blocks of both alternate, so that a busy machine slows both.

    python benchmarks/pretrain_throughput.py --rounds 6
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from timing import wait

from mvssl.data import Batch, loader, open_corpus
from mvssl.device import default_device, default_workers, keep_freed_memory, uses_bf16
from mvssl.encoders import create_encoder
from mvssl.optim import adamw
from mvssl.pretext import create_pretext
from mvssl.views import chain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--pretext", default="simclr")
    parser.add_argument("--views", default="light")
    parser.add_argument("--batch_size", type=int, default=96)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20, help="steps per block")
    parser.add_argument("--plain_malloc", action="store_true", help="let glibc return freed memory")
    options = parser.parse_args()
    if not options.plain_malloc:
        keep_freed_memory()
    print(json.dumps(measure(options), indent=2))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    device = default_device()
    bf16 = uses_bf16(options.precision, device)
    pretext = create_pretext(options.pretext, create_encoder(options.encoder)).to(device)
    pretext.to(memory_format=torch.channels_last)
    encoder = pretext.encoder
    optimiser = adamw([pretext], 1e-3, 1e-2)
    views = chain(options.views, encoder.seconds).bind(encoder.frontend)
    corpus = open_corpus(options.data, min_seconds=views.sampler.min_seconds, progress=True)
    workers = default_workers(device) if options.workers is None else options.workers
    steps = (options.rounds + 1) * options.steps
    batches: Iterator[Batch] = iter(loader(corpus, views, options.batch_size, steps=steps, workers=workers))
    seconds = dict.fromkeys(("read", "views", "train"), 0.0)

    def bare() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            embeddings = encoder(mels)
        embeddings.float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    def pipeline() -> None:
        start = time.perf_counter()
        batch = next(batches).to(device)
        read = time.perf_counter()
        made = views(batch)
        wait()
        ready = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = pretext(made)
        output.loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        wait()
        for name, spent in zip(
            seconds, (read - start, ready - read, time.perf_counter() - ready), strict=True
        ):
            seconds[name] += spent

    made = views(next(batches).to(device))
    mels = torch.cat([view if view.ndim == 3 else encoder.frontend(view) for view in made])
    per_step = options.batch_size * len(made)
    _rate(bare, options.steps // 2, per_step, device), _rate(pipeline, options.steps // 2, per_step, device)
    seconds = dict.fromkeys(seconds, 0.0)
    rates, memory = [], []
    for _ in range(options.rounds):
        alone = _rate(bare, options.steps, per_step, device)
        rates.append((alone, _rate(pipeline, options.steps, per_step, device)))
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    total = sum(seconds.values())
    return {
        "ratio": round(statistics.median(whole / alone for alone, whole in rates), 3),
        "pipeline views/s": round(statistics.median(whole for _, whole in rates)),
        "bare encoder views/s": round(statistics.median(alone for alone, _ in rates)),
        "share of pipeline time": {name: round(spent / total, 3) for name, spent in seconds.items()},
        "peak memory in MiB after each round": memory,
        "settings": {**vars(options), "workers": workers, "bf16": bf16, "device": str(device)},
        "machine": {
            "torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
            "machine": platform.machine(), "load": os.getloadavg()[0],
        },
    }  # fmt: skip


def _rate(step: Callable[[], None], steps: int, per_step: int, device: torch.device) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return steps * per_step / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
