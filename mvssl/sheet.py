"""Views of one file to listen to and to look at: what a chain really does to music."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mvssl.data import Corpus, loader, probe
from mvssl.encoders import create_encoder
from mvssl.frontends import Frontend, LogMel
from mvssl.views import OneOf, Transform, ViewChain
from mvssl.views import chain as create_chain
from mvssl.views.transforms import Params

_PAPER: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
_CAPTION = 62  # characters a line
_TICKS = (250, 500, 1000, 2000, 4000)  # Hz


def write_views(
    file: str,
    chain: str = "light",
    out: str = "views",
    n_views: int = 4,
    encoder: str = "tiny",
    seconds: float | None = None,
    sampler: str | None = None,
    seed: int = 0,
) -> Path:
    """Writes views of a file: each as WAV, and one sheet of spectrograms with what was drawn.

    Beside each view stands the crop that it was made of. A chain that works on log-mels makes no audio; its
    views are rendered by filtering the crop, in time and frequency, so that its log-mel becomes that of the
    view. Levels are as in the file; what exceeds full scale is clipped in the WAV.

    Args:
        file: Audio file.
        chain: View chain.
        out: Folder for ``view1.wav``, ``view1-crop.wav`` and so on, and ``views.png``.
        n_views: Number of views.
        encoder: Encoder preset, which says the sample rate and what a log-mel is.
        seconds: Length of a view; by default the encoder's.
        sampler: Where crops come from (``mvssl list samplers``); by default the chain's own.
        seed: Of crops and transforms.

    Returns:
        Path of the sheet.

    Raises:
        AudioFileError: If the file cannot be read.
        CorpusError: If it is too short for the views.
    """
    views, frontend, length = _views(chain, n_views, encoder, seconds, sampler)
    path = Path(file)
    track = Corpus(
        name=path.name, root=path.parent, paths=np.array([path.name]),
        seconds=np.array([probe(path).seconds]), splits=np.array(["train"]), vocabulary=(),
        targets=np.zeros((1, 0), bool),
    )  # fmt: skip
    (batch,) = loader(track, views, 1, steps=1, seed=seed, sample_rate=frontend.sample_rate, workers=0)
    made, drawn = views(batch, return_params=True)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    panels = []
    for view, crop in enumerate(batch.crops):
        crop = crop[:, : round(length * frontend.sample_rate)]
        audio = made[view] if made[view].ndim == 2 else impose(made[view], crop, frontend)
        for name, sound in ((f"view{view + 1}", audio), (f"view{view + 1}-crop", crop)):
            soundfile.write(folder / f"{name}.wav", sound[0].numpy(), frontend.sample_rate, subtype="PCM_16")
        mel = made[view] if made[view].ndim == 3 else frontend(made[view])
        told = [
            caption(member, params[view])
            for member, params in zip((*views.waveform, *views.spectrogram), drawn, strict=True)
        ]
        panels.append((frontend(crop)[0], mel[0], list(filter(None, told)) or ["as it is"]))
    return _draw(panels, frontend, f"{path.name} through {chain!r}, seed {seed}", folder / "views.png")


def _views(
    name: str, n_views: int, encoder: str, seconds: float | None, sampler: str | None
) -> tuple[ViewChain, Frontend, float]:
    model = create_encoder(encoder)
    # Views of raw audio are drawn as the default log-mel shows them.
    frontend = model.frontend if isinstance(model.frontend, Frontend) else LogMel(model.sample_rate)
    length = model.seconds if seconds is None else seconds
    return create_chain(name, length, n_views, sampler).bind(model.frontend), frontend, length


def caption(member: torch.nn.Module, params: Params) -> str:
    """What a transform drew for the first example, in words; nothing where it was not applied."""
    if not params or not params["applied"][0]:
        return ""
    assert isinstance(member, Transform)
    if isinstance(member, OneOf):
        name, chosen = list(member.members.items())[int(params["choice"][0])]
        own = {key.removeprefix(f"{name}."): params[key] for key in params if key.startswith(f"{name}.")}
        return caption(chosen, {"applied": params["applied"], **own})
    values = [f"{name} {_short(value[0].item())}" for name, value in params.items() if name != "applied"]
    return " ".join([type(member).__name__, *values])


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(told: list[str]) -> str:
    """Captions side by side as long as they fit into a line; one is not torn apart unless it must be."""
    tied = " · ".join(each.replace(" ", "\u00a0") for each in told)
    return textwrap.fill(tied, _CAPTION).replace("\u00a0", " ")


def impose(mel: Tensor, audio: Tensor, frontend: Frontend) -> Tensor:
    """Filters audio, in time and frequency, so that its log-mel becomes another one.

    Each cell of its spectrogram is multiplied by the ratio of the two log-mels there, interpolated between
    the centres of mel bins. Phases stay those of the audio.

    Args:
        mel: The log-mel wanted, (batch, bins, frames).
        audio: (batch, samples), whose log-mel has as many frames.
        frontend: Of both.

    Returns:
        (batch, samples).
    """
    hop = frontend.hop_length
    n_fft = frontend.n_fft if isinstance(frontend, LogMel) else 4 * hop
    window = torch.hann_window(n_fft, device=audio.device)
    spectrum = torch.stft(audio, n_fft, hop, window=window, return_complex=True, pad_mode="reflect")
    power = [frontend.power(each).clamp_min(1e-12) for each in (mel, frontend(audio))]
    decibels = 10 * (power[0] / power[1]).log10()
    centres = frontend.centre_frequencies
    alive = centres > 0
    frequencies = torch.linspace(0, frontend.sample_rate / 2, n_fft // 2 + 1, device=audio.device)
    right = torch.searchsorted(centres[alive], frequencies).clamp(1, int(alive.sum()) - 1)
    low, high = centres[alive][right - 1], centres[alive][right]
    share = ((frequencies - low) / (high - low)).clamp(0, 1)[:, None]
    gains = decibels[:, alive]
    gains = gains[:, right - 1] * (1 - share) + gains[:, right] * share
    return torch.istft(spectrum * 10 ** (gains / 20), n_fft, hop, window=window, length=audio.shape[1])


def _draw(panels: list[tuple[Tensor, Tensor, list[str]]], frontend: Frontend, title: str, path: Path) -> Path:
    with rc_context(_PAPER):
        figure = Figure((8.6, 0.5 + 1.75 * len(panels)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        rows = figure.subplots(len(panels), 2, squeeze=False, sharey=True)
        for number, (row, (crop, view, told)) in enumerate(zip(rows, panels, strict=True), 1):
            low, high = frontend.silence, max(float(crop.max()), float(view.max()))
            for axes, mel in zip(row, (crop, view), strict=True):
                _spectrogram(axes, mel, frontend, low, high)
            row[0].set_title(f"crop of view {number}", loc="left", fontsize=8)
            row[1].set_title(_lines(told), loc="left", fontsize=7)
            row[0].set_ylabel("Hz")
        for axes in rows[-1]:
            axes.set_xlabel("seconds")
        figure.savefig(path, dpi=160)
    return path


def _spectrogram(axes: Axes, mel: Tensor, frontend: Frontend, low: float, high: float) -> None:
    seconds = mel.shape[1] * frontend.hop_length / frontend.sample_rate
    bins = mel.shape[0]
    axes.imshow(
        mel.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, bins), vmin=low, vmax=high,
        cmap="magma", interpolation="nearest",
    )  # fmt: skip
    centres = frontend.centre_frequencies.numpy()
    ticks = [hertz for hertz in _TICKS if hertz < centres.max()]
    alive = np.flatnonzero(centres)
    places = np.interp(ticks, centres[alive], alive + 0.5)
    axes.set_yticks(places, [f"{hertz:,}" for hertz in ticks])
