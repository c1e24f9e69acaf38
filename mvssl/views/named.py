"""View chains by name: ours, and those of papers with their own crops, ranges and probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mvssl.registry import Registry
from mvssl.views.chain import ViewChain
from mvssl.views.samplers import Crops, create_sampler
from mvssl.views.transforms import (
    Delay,
    Gain,
    HighPass,
    LinearFader,
    LowPass,
    Mixup,
    Noise,
    OneOf,
    PatchMask,
    PitchShift,
    Polarity,
    RandomResizeCrop,
    Range,
    Reverb,
    Speed,
    Tilt,
    Transform,
)

Maker = Callable[[Crops], ViewChain]


@dataclass(frozen=True)
class ChainRecipe:
    """How a named chain is made.

    Attributes:
        make: From a sampler to a chain.
        sampler: Where crops come from unless users say otherwise, one of ``samplers.names()``.
        options: Of that sampler.
    """

    make: Maker
    sampler: str
    options: dict[str, Any]


chains: Registry[ChainRecipe] = Registry("view chain", group="mvssl.chains")
"""View chains by name; installed packages add theirs through the entry-point group ``mvssl.chains``."""


def register_chain(
    name: str, *, paper: str = "", sampler: str = "random", **options: Any
) -> Callable[[Maker], Maker]:
    """Decorator that registers a view chain: a function from a sampler to a :class:`ViewChain`.

    Args:
        name: What users type.
        paper: arXiv number, DOI or URL.
        sampler: Where crops come from unless users say otherwise, one of ``samplers.names()``.
        **options: Of the sampler.

    Raises:
        ValueError: If the name is taken.
    """

    def add(make: Maker) -> Maker:
        summary = (make.__doc__ or "").strip().partition("\n")[0]
        chains.register(name, paper=paper, summary=summary)(ChainRecipe(make, sampler, options))
        return make

    return add


def chain(
    name: str, length: float = 3.0, n_views: int = 2, sampler: str | None = None, **options: Any
) -> ViewChain:
    """Creates a registered chain.

    Args:
        name: One of ``chains.names()``.
        length: Length of a crop in seconds.
        n_views: Number of views per track.
        sampler: Where crops come from, one of ``samplers.names()``; by default the chain's own.
        **options: Of the sampler; None leaves its own default.

    Raises:
        ValueError: If a name is unknown, or the sampler takes no such option.
    """
    recipe = chains.entry(name).target
    if sampler in (None, recipe.sampler):
        options = {**recipe.options, **{key: value for key, value in options.items() if value is not None}}
    return recipe.make(create_sampler(sampler or recipe.sampler, length, n_views, **options))


@register_chain("crops")
def _crops(sampler: Crops) -> ViewChain:
    """Crops of a track as they are."""
    return ViewChain(sampler)


def _light_members() -> list[Transform]:
    # Applied to every view they teach more about the embedded corpus and less about real music than crops do.
    return [Tilt(p=0.5), LowPass(p=0.2), HighPass(p=0.2), Noise(p=0.5), Gain()]


@register_chain("light")
def _light(sampler: Crops) -> ViewChain:
    """Tilt, low- and high-pass, noise and gain, applied to the log-mel, where they are nearly free."""
    return ViewChain(sampler, spectrogram=_light_members())


@register_chain("light_waveform")
def _light_waveform(sampler: Crops) -> ViewChain:
    """The members of ``light`` and polarity, applied to the waveform, for encoders of raw audio."""
    return ViewChain(sampler, waveform=[Polarity(), *_light_members()])


def _clmr_members(gain: Range, noise: float) -> list[Transform]:
    return [
        Polarity(p=0.8),
        Noise((40.0, 80.0), (0.0, 0.0), p=noise),
        Gain(gain, p=0.3),
        OneOf([LowPass((2200.0, 4000.0)), HighPass((200.0, 1200.0))], p=0.8),
        Delay((200.0, 450.0), step_ms=50.0, mix=(0.5, 0.5), p=0.3),
        PitchShift((-7.0, 7.0), p=0.6),
        Reverb(p=0.6),
    ]


@register_chain("clmr", paper="arXiv:2103.09410")
def _clmr(sampler: Crops) -> ViewChain:
    """CLMR's, with the ranges of its code: polarity, noise, gain, filter, delay, pitch shift, reverb."""
    return ViewChain(sampler, waveform=_clmr_members((-20.0, -1.0), noise=0.01))


@register_chain("clmr_text", paper="arXiv:2103.09410")
def _clmr_text(sampler: Crops) -> ViewChain:
    """CLMR's, with the ranges of its text: gain of -6 to 0 dB, and noise as common as polarity."""
    return ViewChain(sampler, waveform=_clmr_members((-6.0, 0.0), noise=0.8))


@register_chain("byola", paper="arXiv:2103.06695", sampler="same")
def _byola(sampler: Crops) -> ViewChain:
    """BYOL-A's, on log-mels of one crop: mixup with earlier inputs, random resize crop."""
    return ViewChain(sampler, spectrogram=[Mixup((0.0, 0.4)), RandomResizeCrop()])


@register_chain("byola_v2", paper="arXiv:2204.07402", sampler="same")
def _byola_v2(sampler: Crops) -> ViewChain:
    """The second version of BYOL-A's: less mixup, random resize crop, linear fader."""
    return ViewChain(sampler, spectrogram=[Mixup((0.0, 0.2)), RandomResizeCrop(), LinearFader()])


def _choi_members() -> list[Transform]:
    return [PitchShift((-2.0, 2.0), p=1.0), Speed((0.8, 1.2), p=1.0)]


@register_chain("choi2022", paper="arXiv:2207.04471", sampler="adjacent")
def _choi2022(sampler: Crops) -> ViewChain:
    """Pitch by up to 200 cents and speed by up to a fifth, on all views; neighbouring crops."""
    return ViewChain(sampler, waveform=_choi_members())


@register_chain("choi2022_anchor", paper="arXiv:2207.04471", sampler="adjacent")
def _choi2022_anchor(sampler: Crops) -> ViewChain:
    """``choi2022`` with the first view transformed and the others as they are."""
    return ViewChain(sampler, waveform=_choi_members(), augmented=[0])


@register_chain("choi2022_positive", paper="arXiv:2207.04471", sampler="adjacent")
def _choi2022_positive(sampler: Crops) -> ViewChain:
    """``choi2022`` with the first view as it is and the others transformed."""
    return ViewChain(sampler, waveform=_choi_members(), augmented=range(1, sampler.n_views))


@register_chain("deezer2024", paper="arXiv:2404.09177", sampler="gap", min_gap=4.0)
def _deezer2024(sampler: Crops) -> ViewChain:
    """Crops of a track as they are, at least 4 s apart."""
    return ViewChain(sampler)


@register_chain("myna", paper="arXiv:2502.12511", sampler="same")
def _myna(sampler: Crops) -> ViewChain:
    """Myna's, on log-mels of one crop: nine of ten patches masked."""
    return ViewChain(sampler, spectrogram=[PatchMask((16, 16), 0.9)])
