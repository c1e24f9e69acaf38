"""A small encoder of raw audio, and audio for it, that several test files share."""

from collections.abc import Callable

import torch

from mvssl.encoders import WaveTransformer
from mvssl.pretext import Pretext


def wave_encoder(seconds: float = 0.5) -> WaveTransformer:
    """Two layers on frames of 20 ms."""
    return WaveTransformer(16, 2, 8, ((8, 20, 10), (8, 8, 8), (8, 4, 4)), seconds=seconds)


def waves(tracks: int) -> list[torch.Tensor]:
    """Two views of some tracks: half a second of audio each, in which the pitch belongs to the track."""
    rng = torch.Generator().manual_seed(0)
    turns = torch.linspace(0, 3_000, 8_000).outer(torch.linspace(0.5, 2, tracks)).T
    return [0.2 * turns.sin() + 0.05 * torch.randn(tracks, 8_000, generator=rng) for _ in range(2)]


def learned(make: Callable[[WaveTransformer], Pretext], steps: int) -> dict[str, float]:
    """Terms and loss of a pretext on tones that it has not heard, after some steps on others.

    Each clip is one of six tones, so that what is masked can be told from what is not.
    """
    torch.manual_seed(0)
    sizes = ((16, 20, 10), (16, 8, 8), (16, 4, 4))
    pretext = make(WaveTransformer(32, 2, 16, sizes, norm_first=True, position_frames=8, seconds=0.5))
    pretext.prepare([_tones(1000 + number) for number in range(15)])
    optimiser = torch.optim.AdamW(pretext.parameters(), 3e-3)
    for step in range(steps):
        pretext(_tones(step)).loss.backward()
        torch.nn.utils.clip_grad_norm_(pretext.parameters(), 3.0)
        optimiser.step()
        optimiser.zero_grad()
        pretext.after_step(step, steps)
    outputs = [pretext.eval()(_tones(2000 + number)) for number in range(5)]
    found = [{"loss": output.loss, **output.terms} for output in outputs]
    return {name: sum(float(terms[name].detach()) for terms in found) / len(found) for name in found[0]}


def _tones(seed: int, clips: int = 16) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    pitches = torch.tensor([200.0, 330.0, 550.0, 900.0, 1500.0, 2500.0])
    chosen = pitches[torch.randint(len(pitches), (clips, 1), generator=rng)]
    turns = chosen * torch.arange(8_000) / 16_000 + torch.rand(clips, 1, generator=rng)
    return [0.3 * (2 * torch.pi * turns).sin() + 0.02 * torch.randn(clips, 8_000, generator=rng)]
