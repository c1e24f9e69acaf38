"""What views cost, as ratios within one run.

"clmr": views per second of the chain ``clmr`` on a batch of clips, against the same chain through
audiomentations, clip by clip in one process on the same cores. audiomentations has no delay (ours in numpy
stands in) and no parametric reverberation (its ``ApplyImpulseResponse`` convolves with rooms that our
``Reverb`` has made); it draws from the same ranges with the same probabilities. Aim: at least 10 times.

"light": time of the chain ``light`` and the front end on a batch, as a share of a step of the encoder
(forward and backward) on the log-mels. Aim: at most 25 % for ``tiny`` on two cores.

The two of each pair alternate, so that a busy machine slows both, and medians are kept.

    python benchmarks/views.py --out benchmarks/results/views_cpu2_torch2.11.json
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import audiomentations
import numpy as np
import soundfile
import torch
from audiomentations.core.transforms_interface import BaseWaveformTransform
from numpy.typing import NDArray
from timing import alternate

from mvssl.atomic import write_json
from mvssl.data import read_audio, synthetic
from mvssl.device import default_device, keep_freed_memory
from mvssl.encoders import create_encoder
from mvssl.seeding import hash_keys
from mvssl.training.run import environment
from mvssl.views import Reverb, chain

RATE = 16_000
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """What a chain needs of a batch."""

    crops: tuple[torch.Tensor, ...]
    keys: NDArray[np.uint64]


class Echo(BaseWaveformTransform):
    """CLMR's delay as a transform of audiomentations."""

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def randomize_parameters(self, samples: Samples, sample_rate: int) -> None:
        super().randomize_parameters(samples, sample_rate)
        if self.parameters["should_apply"]:
            self.parameters["delay"] = int(np.random.choice(range(200, 451, 50)) * sample_rate / 1000)  # noqa: NPY002

    def apply(self, samples: Samples, sample_rate: int) -> Samples:
        delay = self.parameters["delay"]
        echo = np.concatenate([np.zeros(delay, np.float32), samples[:-delay]])
        return (samples + 0.5 * echo) / 1.5


@contextmanager
def audiomentations_clmr() -> Iterator[Callable[[Samples], Samples]]:
    """The chain ``clmr``, one clip at a time."""
    with tempfile.TemporaryDirectory() as folder:
        click = torch.zeros(32, 2 * RATE)
        click[:, 0] = 1
        rooms = Reverb(wet=(1.0, 1.0), p=1.0)(click, hash_keys(0, np.arange(32)))
        for number, room in enumerate(rooms):
            soundfile.write(Path(folder) / f"{number}.wav", room.numpy(), RATE, subtype="FLOAT")
        filters = [
            audiomentations.LowPassFilter(2200, 4000, min_rolloff=12, max_rolloff=12, p=1.0),
            audiomentations.HighPassFilter(200, 1200, min_rolloff=12, max_rolloff=12, p=1.0),
        ]
        compose = audiomentations.Compose(
            [
                audiomentations.PolarityInversion(p=0.8),
                audiomentations.AddGaussianSNR(40.0, 80.0, p=0.01),
                audiomentations.Gain(-20.0, -1.0, p=0.3),
                audiomentations.OneOf(filters, p=0.8),
                Echo(p=0.3),
                audiomentations.PitchShift(-7.0, 7.0, p=0.6),
                audiomentations.ApplyImpulseResponse(folder, p=0.6),
            ]
        )
        yield lambda clip: compose(clip, sample_rate=RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip of the chain clmr")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("views.json"))
    options = parser.parse_args()
    keep_freed_memory()
    found = {
        "environment": environment(), "batch_size": options.batch_size, "encoder": options.encoder,
        "clmr": clmr(options), "members of clmr, ms per clip": members(options), "light": light(options),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    print({name: found[name] for name in ("clmr", "members of clmr, ms per clip", "light")})


def clmr(options: argparse.Namespace) -> dict[str, Any]:
    clips = music(options.batch_size, options.seconds)
    views = chain("clmr", options.seconds)
    numbers = iter(range(1000))

    def ours() -> None:
        views(Batch((clips.to(default_device()),), hash_keys(next(numbers), np.arange(len(clips)))))

    with audiomentations_clmr() as compose:

        def theirs() -> None:
            for clip in clips.numpy():
                compose(clip)

        ours_s, theirs_s = alternate([ours, theirs], options.rounds)
    return {
        "ratio": round(statistics.median(b / a for a, b in zip(ours_s, theirs_s, strict=True)), 2),
        "mvssl views/s": round(len(clips) / statistics.median(ours_s)),
        "audiomentations views/s": round(len(clips) / statistics.median(theirs_s)),
    }


def members(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds per clip of each member, where it is applied."""
    clips = music(options.batch_size, options.seconds).to(default_device())
    found = {}
    for member in chain("clmr", options.seconds).waveform:
        member.p = 1.0
        (seconds,) = alternate([lambda member=member: member(clips)], options.rounds)
        found[type(member).__name__] = round(1000 * statistics.median(seconds) / len(clips), 3)
    return found


def light(options: argparse.Namespace) -> dict[str, Any]:
    encoder = create_encoder(options.encoder).to(default_device(), memory_format=torch.channels_last)
    crops = music(options.batch_size, encoder.seconds).to(default_device())
    views = chain("light", encoder.seconds).bind(encoder.frontend)
    batch = Batch((crops, crops), hash_keys(0, np.arange(len(crops))))
    mels = torch.cat(views(batch))

    def made() -> None:
        views(batch)

    def step() -> None:
        encoder(mels).square().mean().backward()

    chain_s, step_s = alternate([made, step], 2 * options.rounds)
    return {
        "share of the step": round(statistics.median(a / b for a, b in zip(chain_s, step_s, strict=True)), 3),
        "chain and front end, ms per view": round(1000 * statistics.median(chain_s) / len(mels), 3),
        "encoder step, ms per view": round(1000 * statistics.median(step_s) / len(mels), 3),
    }


def music(count: int, seconds: float) -> torch.Tensor:
    """Beginnings of pieces of the embedded corpus, (count, samples)."""
    corpus = synthetic(progress=True)
    clips = [read_audio(corpus.path(item), 0.0, seconds, RATE) for item in range(count)]
    return torch.from_numpy(np.stack(clips))


if __name__ == "__main__":
    main()
