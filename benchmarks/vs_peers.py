"""Views per second of SimCLR pre-training, against scripts that do the same with other libraries, in one run.

All train the same encoder on the same corpus, with batches of the same size, and views from the same ranges
with the same probabilities:

"lightly": what one writes without mvssl. A data set that reads crops with soundfile and transforms each with
audiomentations, in ``--workers`` processes; torchaudio's log-mel, lightly's head and NT-Xent.

"clmr": in the manner of CLMR's code (arXiv:2103.09410), whose own libraries no longer install. Every item
reads its whole file, and each of its views passes torchaudio's filters and a few lines of torch, one clip at
a time in ``--workers`` processes; the pitch is shifted by audiomentations. The rest is as above.

"stable-pretraining", if it is installed: its SimCLR, which knows nothing of audio, behind the data set of the
first.

What mvssl does to the process and the encoder (freed memory is kept, channels come last) helps them as well.

Aims with the chain clmr on two cores: 2 times lightly, 5 times clmr. The chain ``crops`` transforms nothing
and shows what is left then. Competitors take turns, so that a busy machine slows all; ratios are medians over
rounds.

    python benchmarks/vs_peers.py --out benchmarks/results/vs_peers_cpu2_torch2.11.json
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import audiomentations
import numpy as np
import soundfile
import soxr
import torch
import torchaudio
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from numpy.typing import NDArray
from timing import wait
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchaudio import functional
from views import audiomentations_clmr

from mvssl.atomic import write_json
from mvssl.data import Corpus, loader, open_corpus
from mvssl.device import default_device, default_workers, keep_freed_memory
from mvssl.encoders import Encoder, create_encoder
from mvssl.optim import adamw
from mvssl.pretext import SimCLR
from mvssl.training.run import environment
from mvssl.views import chain

Samples = NDArray[np.float32]
Steps = Generator[None, None, None]
"""Makes a step whenever it is asked for the next item."""

TEMPERATURE, RATE, DECAY = 0.1, 1e-3, 1e-2
PEERS = ("lightly", "torchaudio", "audiomentations", "stable-pretraining")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--chains", nargs="+", default=["clmr", "crops"], choices=["clmr", "crops"])
    parser.add_argument("--batch_size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2, help="processes that read for the others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="timed steps per round")
    parser.add_argument("--out", type=Path, default=Path("vs_peers.json"))
    options = parser.parse_args()
    keep_freed_memory()
    found = {
        "environment": environment() | {"load": os.getloadavg()[0]},
        "peers": {name: version(name) for name in PEERS if find_spec(name.replace("-", "_"))},
        "settings": {name: str(value) for name, value in vars(options).items()},
        **{name: compared(name, options) for name in options.chains},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    print({name: found[name] for name in options.chains})


def compared(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Rates of all with one chain, and how often each fits into ours."""
    encoder = create_encoder(options.encoder)
    corpus = open_corpus(options.data, min_seconds=2 * encoder.seconds, progress=True)
    with ExitStack() as stack:
        compose = stack.enter_context(audiomentations_clmr()) if name == "clmr" else _as_it_is
        crops = Clips(corpus, encoder, compose)
        whole = Clips(corpus, encoder, ClmrChain(encoder) if name == "clmr" else _as_it_is, whole=True)
        ways: dict[str, Callable[[], Steps]] = {
            "mvssl": partial(ours, corpus, name, options),
            "lightly": partial(plain, crops, options),
            "clmr": partial(plain, whole, options),
        }
        if find_spec("stable_pretraining"):
            ways["stable-pretraining"] = partial(plain, crops, options, _stable_pretraining)
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, start in ways.items():
                rates[way].append(_rate(start(), options.steps, 2 * options.batch_size))
    return {
        "views/s": {way: round(statistics.median(found)) for way, found in rates.items()},
        "mvssl is faster than": {
            way: round(statistics.median(a / b for a, b in zip(rates["mvssl"], found, strict=True)), 2)
            for way, found in rates.items()
            if way != "mvssl"
        },
        "views/s of each round": {way: [round(rate, 1) for rate in found] for way, found in rates.items()},
    }


def _rate(steps: Steps, count: int, views: int) -> float:
    """Views per second of some steps after the first, which warms up and fills queues."""
    next(steps)
    wait()
    start = time.perf_counter()
    for _ in range(count):
        next(steps)
    wait()
    spent = time.perf_counter() - start
    steps.close()
    return count * views / spent


def ours(corpus: Corpus, name: str, options: argparse.Namespace) -> Steps:
    device = default_device()
    pretext = SimCLR(create_encoder(options.encoder), temperature=TEMPERATURE)
    pretext.to(device, memory_format=torch.channels_last)
    optimiser = adamw([pretext], RATE, DECAY)
    views = chain(name, pretext.encoder.seconds).bind(pretext.encoder.frontend)
    workers = default_workers(device)
    for batch in loader(corpus, views, options.batch_size, steps=10**6, workers=workers):
        pretext(views(batch.to(device))).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        pretext.after_step()
        yield


class Clips(Dataset[tuple[Tensor, Tensor]]):
    """Two transformed crops of each training track."""

    def __init__(
        self, corpus: Corpus, encoder: Encoder, transform: Callable[[Samples], Samples], whole: bool = False
    ) -> None:
        self.paths = [corpus.path(item) for item in corpus.indices("train")]
        self.rate, self.length = encoder.sample_rate, round(encoder.seconds * encoder.sample_rate)
        self.transform, self.whole = transform, whole

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        path = self.paths[item]
        if self.whole:
            track = self._mono(*soundfile.read(path, dtype="float32", always_2d=True))
            return self._view(self._cut(track)), self._view(self._cut(track))
        return self._view(self._crop(path)), self._view(self._crop(path))

    def _crop(self, path: Path) -> Samples:
        with soundfile.SoundFile(path) as file:
            frames = -(-self.length * file.samplerate // self.rate)
            file.seek(np.random.randint(file.frames - frames + 1))  # noqa: NPY002
            audio = file.read(frames, dtype="float32", always_2d=True)
            return self._mono(audio, file.samplerate)[: self.length]

    def _cut(self, track: Samples) -> Samples:
        start = np.random.randint(len(track) - self.length + 1)  # noqa: NPY002
        return track[start : start + self.length].copy()

    def _mono(self, audio: Samples, rate: int) -> Samples:
        mixed: Samples = audio.mean(axis=1)
        return mixed if rate == self.rate else soxr.resample(mixed, rate, self.rate)

    def _view(self, crop: Samples) -> Tensor:
        return torch.from_numpy(np.asarray(self.transform(crop), np.float32))


class ClmrChain:
    """CLMR's chain with the ranges of its code, on one clip."""

    def __init__(self, encoder: Encoder) -> None:
        self.rate = encoder.sample_rate
        self.pitch = audiomentations.PitchShift(-7.0, 7.0, p=0.6)

    def __call__(self, crop: Samples) -> Samples:
        clip, rate = torch.from_numpy(crop), self.rate
        if _chance(0.8):
            clip = -clip
        if _chance(0.01):
            clip = functional.add_noise(clip, torch.randn_like(clip), _between(40, 80))
        if _chance(0.3):
            clip = functional.gain(clip, _between(-20, -1).item())
        if _chance(0.8):
            low = _chance(0.5)
            filtered = functional.lowpass_biquad if low else functional.highpass_biquad
            clip = filtered(clip, rate, _between(*((2200, 4000) if low else (200, 1200))).item())
        if _chance(0.3):
            delay = int(torch.randint(4, 10, ()).item() * 0.05 * rate)
            clip = (clip + 0.5 * nn.functional.pad(clip, (delay, 0))[: len(clip)]) / 1.5
        clip = torch.from_numpy(self.pitch(clip.numpy(), sample_rate=rate))
        if _chance(0.6):
            decay = torch.exp(-torch.arange(rate) / (rate * _between(0.02, 0.3)))
            room = torch.randn(rate) * decay
            wet = functional.fftconvolve(clip, room / room.norm())[: len(clip)]
            mix = _between(0, 1)
            clip = (1 - mix) * clip + mix * wet
        found: Samples = clip.numpy()
        return found


def _chance(p: float) -> bool:
    return bool(torch.rand(()) < p)


def _between(low: float, high: float) -> Tensor:
    return torch.empty(()).uniform_(low, high)


def _as_it_is(crop: Samples) -> Samples:
    return crop


class LogMel(nn.Module):
    """torchaudio's log-mel with the settings of an encoder's own front end."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        own: Any = encoder.frontend
        self.mel = torchaudio.transforms.MelSpectrogram(
            encoder.sample_rate, n_fft=own.n_fft, hop_length=own.hop_length, n_mels=own.n_mels
        )

    def forward(self, audio: Tensor) -> Tensor:
        return torch.log(self.mel(audio) + 1e-5)


def _network(options: argparse.Namespace) -> nn.Sequential:
    encoder = create_encoder(options.encoder)
    body = nn.Sequential(LogMel(encoder), encoder).to(default_device())
    return body.to(memory_format=torch.channels_last)


def _batches(data: Clips, options: argparse.Namespace) -> "DataLoader[tuple[Tensor, Tensor]]":
    return DataLoader(
        data, options.batch_size, shuffle=True, num_workers=options.workers, drop_last=True,
        persistent_workers=options.workers > 0,
    )  # fmt: skip


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches


class Lightly(nn.Module):
    """lightly's head and loss on a network."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body, self.loss = body, NTXentLoss(temperature=TEMPERATURE)
        self.head = SimCLRProjectionHead(body[1].embed_dim, 256, 128)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        loss: Tensor = self.loss(*self.head(self.body(torch.cat([first, second]))).chunk(2))
        return loss


class _Sized(nn.Module):
    """A network of audio that says its size to who asks with a picture."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Any:
        return self.body(x) if x.ndim == 2 else x.new_zeros(1, self.body[1].embed_dim)


def _stable_pretraining(body: nn.Sequential) -> nn.Module:
    from stable_pretraining.methods import SimCLR as Theirs

    return Theirs(_Sized(body), projector_dims=(256, 128), temperature=TEMPERATURE)


def plain(
    data: Clips, options: argparse.Namespace, method: Callable[[nn.Sequential], nn.Module] = Lightly
) -> Steps:
    device = default_device()
    model = method(_network(options)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    for first, second in _endless(_batches(data, options)):
        found = model(first.to(device), second.to(device))
        (found if isinstance(found, Tensor) else found.loss).backward()
        optimiser.step()
        optimiser.zero_grad()
        yield


if __name__ == "__main__":
    main()
