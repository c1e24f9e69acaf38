"""Views per second of several processes with one thread each, against one such process.

Each count is a run of its own under ``torchrun`` (gloo, or NCCL with GPUs), over the same batches: what is
compared is whole runs of ``mvssl.fit`` with reading, views, exchange and optimiser. The counts take turns,
and the median is kept. Processes can only be as fast as cores are free: run it alone on the machine.

    python benchmarks/ddp_scaling.py --out benchmarks/results/ddp_scaling_cpu2_torch2.11.json
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mvssl.atomic import write_json
from mvssl.training.run import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--pretext", default="simclr")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--batch_size", type=int, default=96, help="Tracks, over all processes.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {size: [] for size in options.processes}
    for turn in range(options.rounds):
        for size, found in rates.items():
            found.append(measured(size, options))
            print(f"round {turn}: {size} processes, {found[-1]:.1f} views/s", flush=True)
    medians = {size: statistics.median(found) for size, found in rates.items()}
    first = medians[options.processes[0]]
    for size, rate in medians.items():
        print(f"{size} processes: {rate:.1f} views/s, {rate / first:.2f} of {options.processes[0]}")
    if options.out is not None:
        asked = {name: value for name, value in vars(options).items() if name != "out"}
        rows = [{"processes": n, "views_per_second": r, "ratio": r / first} for n, r in medians.items()]
        write_json(options.out, {"options": asked, "rows": rows, "environment": environment()})


def measured(size: int, options: argparse.Namespace) -> float:
    """Views per second of a run, without its first steps."""
    from mvssl.training import read_metrics

    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(size),
            "-m", "mvssl.cli", "pretrain", "--data", options.data, "--pretext", options.pretext,
            "--encoder", options.encoder, "--batch_size", str(options.batch_size),
            "--steps", str(options.steps), "--precision", "fp32", "--workers", "0", "--out", folder,
        ]  # fmt: skip
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env={**os.environ, **threads}, stderr=subprocess.DEVNULL)
        rows = read_metrics(folder)
    return statistics.median(row["views_per_second"] for row in rows[1:])


if __name__ == "__main__":
    main()
