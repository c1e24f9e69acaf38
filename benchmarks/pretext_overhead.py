"""What each pretext costs beside its encoder: time and peak memory of forward and backward, at default sizes.

Level "encoder": the pretext around ``--encoder``, as a ratio to the encoder alone on the same views (one pass
per view, with a trivial loss). The two alternate, so that a busy machine slows both, and the median is kept.
Level "projection": the pretext around one linear layer, in milliseconds and MiB: what heads and loss cost at
batch sizes that the encoder would not allow here.

Peak memory is the most that tensors held at once during a step, above what they held before it: on a CPU from
the allocator's records in torch's profiler, in a step that is not timed, on a GPU from the allocator itself.
It is exact and repeatable; work space inside of MKL and oneDNN is not in it. (The process' peak in
``getrusage`` would hold that too, but also code, libraries and what glibc keeps, and each row would cost a
process of its own.)

Aim: at batch 256 heads and loss add 10 % to the encoder at most. Pretexts that send more than the views
through the encoder and its copies, such as to a teacher, cannot reach it; how much more is counted and shown.
Pretexts that need more of an encoder than embeddings have no projection level.

With ``--compile`` a level "compile" is added: graph breaks of the forward pass on features, and its time;
torch is told that it may trace recurrent layers.

Rows that the file already holds are not measured again. Run it alone on the machine.

    python benchmarks/pretext_overhead.py --out benchmarks/results/pretext_overhead_cpu2_torch2.11_fp32.json
"""

import argparse
import copy
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import alternate
from torch import Tensor, nn
from tqdm import tqdm

from mvssl.atomic import write_json
from mvssl.device import default_device, keep_freed_memory
from mvssl.encoders import create_encoder
from mvssl.pretext import Pretext, create_pretext, forward_views, list_pretexts, pretexts
from mvssl.training.run import environment

AIM = 1.10
Case = tuple[int, int]  # views, tracks
Steps = Sequence[Callable[[], None]]


class Features(nn.Module):
    """One linear layer on 256 features, in place of an encoder; they come as log-mels of any few frames.

    Args:
        embed_dim: Size of its output.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.linear = nn.Linear(256, embed_dim)

    def forward(self, mel: Tensor) -> Tensor:
        output: Tensor = self.linear(mel.mean(2))
        return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pretexts", nargs="+", help="by default all that suit the encoder")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument(
        "--cases", type=_case, nargs="*", default=[(2, 64), (2, 256), (4, 64)], help="views×tracks"
    )
    parser.add_argument("--projection", type=_case, nargs="*", default=[(2, 256), (4, 256), (2, 4096)])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", nargs="?", const="inductor", help="measure compiled forward passes, too")
    parser.add_argument("--out", type=Path, default=Path("pretext_overhead.json"))
    options = parser.parse_args()
    keep_freed_memory()
    nominal = create_encoder(options.encoder)
    suited = [name for name in list_pretexts() if not pretexts.entry(name).target.lacking(nominal)]
    names = options.pretexts or suited
    found = _opened(options.out, {"encoder": options.encoder, "rounds": options.rounds, "precision": "fp32"})
    levels = {
        "encoder": (_beside_the_encoder, options.cases),
        "projection": (_heads_and_loss, options.projection),
        "compile": (_compiled, [(2, 256)] if options.compile else []),
    }
    encoder_only = {name for name in names if _needs_more(name)}
    jobs = [
        (level, case, name)
        for level, (_, cases) in levels.items()
        for case in cases
        for name in names
        if level == "encoder" or name not in encoder_only
    ]
    for level, case, name in tqdm(jobs, unit="row", dynamic_ncols=True):
        key = {"pretext": name, "level": level, "views": case[0], "batch": case[1]}
        if any(key.items() <= row.items() for row in found["rows"]):
            continue
        torch.manual_seed(0)
        row = {**key, **levels[level][0](name, case, options)}
        found["rows"].append(row)
        write_json(options.out, found)
        tqdm.write("  ".join(f"{column} {value}" for column, value in row.items()))
    print(_verdict(found["rows"]))


def _case(text: str) -> Case:
    views, tracks = text.split("x")
    return int(views), int(tracks)


def _opened(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What the file holds, or a new one: rows of different machines or settings are not mixed."""
    new = {"environment": environment(), "settings": settings, "rows": []}
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        return new
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if any(found[part] != new[part] for part in ("environment", "settings")):
        raise SystemExit(
            f"{path} was measured on another machine or with other settings: choose another --out"
        )
    return found


def _beside_the_encoder(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    pretext = create_pretext(name, create_encoder(options.encoder)).to(default_device())
    pretext.to(memory_format=torch.channels_last)
    nominal = torch.zeros(1, round(pretext.encoder.seconds * pretext.encoder.sample_rate))
    views = _views(case, pretext.encoder.frontend(nominal.to(default_device())).shape[1:])

    def bare() -> None:
        torch.cat(forward_views(pretext.encoder, views)).square().mean().backward()

    steps = (bare, lambda: pretext(views).loss.backward())
    alone_mib, whole_mib = _peaks(pretext, steps)  # first: the kernels are warm afterwards
    alone, whole = alternate(steps, options.rounds, pretext.zero_grad)
    return {
        "time_ratio": round(statistics.median(b / a for a, b in zip(alone, whole, strict=True)), 3),
        "memory_ratio": round(whole_mib / alone_mib, 3),
        "encoder_ms": _median_ms(alone), "pretext_ms": _median_ms(whole),
        "encoder_mib": round(alone_mib, 1), "pretext_mib": round(whole_mib, 1),
        "passes": _passes(pretext, views),
    }  # fmt: skip


def _heads_and_loss(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    pretext, views = _on_features(name, case, options)
    steps = [lambda: pretext(views).loss.backward()]
    (mib,) = _peaks(pretext, steps)
    (seconds,) = alternate(steps, options.rounds, pretext.zero_grad)
    return {"pretext_ms": _median_ms(seconds), "pretext_mib": round(mib, 1)}


def _compiled(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Graph breaks of the forward pass, and what compiling does to heads and loss."""
    torch._dynamo.config.allow_rnn = True  # of CPC
    pretext, views = _on_features(name, case, options)
    breaks = torch._dynamo.explain(copy.deepcopy(pretext))(views)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(pretext), backend=options.compile)
    expected, loss = pretext(views).loss.item(), compiled(views).loss.item()
    steps = [lambda: pretext(views).loss.backward(), lambda: compiled(views).loss.backward()]
    eager, fast = alternate(steps, options.rounds, pretext.zero_grad)
    return {
        "backend": options.compile, "graph_breaks": breaks.graph_break_count,
        "reasons": [str(reason.reason).splitlines()[0] for reason in breaks.break_reasons],
        "pretext_ms": _median_ms(eager), "compiled_ms": _median_ms(fast),
        "relative_error": abs(loss - expected) / abs(expected),
    }  # fmt: skip


def _on_features(name: str, case: Case, options: argparse.Namespace) -> tuple[Pretext, list[Tensor]]:
    features = Features(create_encoder(options.encoder).embed_dim)
    return create_pretext(name, features).to(default_device()), _views(case, (256, 8))


def _needs_more(name: str) -> bool:
    """Whether a pretext refuses an encoder that gives nothing but embeddings."""
    try:
        create_pretext(name, Features(8))
    except TypeError:
        return True
    return False


def _views(case: Case, shape: Sequence[int]) -> list[Tensor]:
    views, tracks = case
    return [torch.randn(tracks, *shape, device=default_device()) for _ in range(views)]


def _peaks(pretext: Pretext, steps: Steps) -> list[float]:
    """Peak of each step in MiB, gradients included."""
    peaks = []
    for step in steps:
        pretext.zero_grad()
        peaks.append(_peak(step) / 2**20)
    return peaks


def _peak(step: Callable[[], None]) -> int:
    """Bytes that tensors held at most during a step, above those before it."""
    if default_device().type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True, acc_events=True) as profile:
        step()
    records = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for record in sorted(records, key=lambda record: record.start_ns()):
        held += record.nbytes()
        peak = max(peak, held)
    return peak


def _passes(pretext: Pretext, views: list[Tensor]) -> float:
    """How much goes through the encoder's first layer and through its copies, as a multiple of the views."""
    first = next(name for name, _ in pretext.encoder.named_parameters()).rpartition(".")[0]
    seen = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal seen
        seen += inputs[0].numel()

    layers = [module for name, module in pretext.named_modules() if f".{name}".endswith(f".{first}")]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        pretext(views)
    for handle in handles:
        handle.remove()
    return round(seen / sum(view.numel() for view in views), 2)


def _median_ms(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 1)


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Which pretexts miss the aim, and which cannot reach it."""
    judged = [row for row in rows if row["level"] == "encoder" and row["batch"] == 256]
    over = [row for row in judged if row["time_ratio"] > AIM]
    words = {True: "takes more passes than views", False: f"misses the aim of {AIM:g}"}
    lines = [
        f"{row['pretext']}, {row['views']} views: {row['time_ratio']} × the encoder's time in "
        f"{row['passes']:g} passes: {words[row['passes'] > 1]}"
        for row in over
    ]
    kept = (
        [f"{len(judged) - len(over)} of {len(judged)} cases at batch 256 keep to {AIM:g}"] if judged else []
    )
    breaking = [
        f"{row['pretext']}: {row['graph_breaks']} graph breaks" for row in rows if row.get("graph_breaks")
    ]
    return "\n".join([*kept, *lines, *breaking])


if __name__ == "__main__":
    main()
