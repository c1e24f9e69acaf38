"""Time per clip of front ends, as ratios to the default one within one run.

"ours" is :class:`mvssl.frontends.LogMel` with its two backends; beside it the usual way with torchaudio
(``MelSpectrogram`` and ``AmplitudeToDB``), librosa clip by clip, and a CQT. All alternate, so that a busy
machine slows all of them, and medians are kept.

    python benchmarks/frontend.py --out benchmarks/results/frontend_cpu2_torch2.11.json
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio
from timing import alternate

from mvssl.atomic import write_json
from mvssl.device import default_device, keep_freed_memory
from mvssl.frontends import CQT, LogMel
from mvssl.training.run import environment

RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("frontend.json"))
    options = parser.parse_args()
    keep_freed_memory()
    audio = 0.1 * torch.randn(options.batch_size, round(options.seconds * RATE), device=default_device())
    ways = candidates(audio)
    with torch.no_grad():
        seconds = dict(zip(ways, alternate(list(ways.values()), options.rounds), strict=True))
    base = seconds["ours, torchaudio"]
    rows = {
        name: {
            "ms per clip": round(1000 * statistics.median(spent) / len(audio), 3),
            "times ours": round(statistics.median(a / b for a, b in zip(spent, base, strict=True)), 2),
        }
        for name, spent in seconds.items()
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"batch_size": options.batch_size, "seconds": options.seconds, "rounds": options.rounds}
    write_json(options.out, {"environment": environment(), "settings": settings, "front ends": rows})
    for name, row in rows.items():
        print(name, row)


def candidates(audio: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What to measure, by name, all with the parameters of our default."""
    device = audio.device
    mel = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=1024, hop_length=512, n_mels=64, norm="slaney", mel_scale="slaney"
    ).to(device)
    decibels = torchaudio.transforms.AmplitudeToDB(top_db=None)
    ours, nnaudio, cqt = (each.to(device) for each in (LogMel(), LogMel(backend="nnaudio"), CQT()))
    ways: dict[str, Callable[[], object]] = {
        "ours, torchaudio": lambda: ours(audio),
        "ours, nnaudio": lambda: nnaudio(audio),
        "torchaudio's own": lambda: decibels(mel(audio)),
        "ours, CQT": lambda: cqt(audio),
    }
    if device.type == "cpu":
        import librosa

        clips = audio.numpy()
        ways["librosa"] = lambda: [
            librosa.power_to_db(
                librosa.feature.melspectrogram(y=clip, sr=RATE, n_fft=1024, hop_length=512, n_mels=64)
            )
            for clip in clips
        ]
    return ways


if __name__ == "__main__":
    main()
