"""Named front ends."""

from collections.abc import Callable, Mapping
from typing import Any

from mvssl.frontends.base import Frontend
from mvssl.frontends.cqt import CQT
from mvssl.frontends.logmel import LogMel
from mvssl.registry import Registry

frontends: Registry[Callable[..., Frontend]] = Registry("front end")
"""Front ends by name: functions ``(**overrides) -> front end``."""

CLASSES: dict[str, type[Frontend]] = {"LogMel": LogMel, "CQT": CQT}


def create_frontend(frontend: str | Mapping[str, Any] | None = None, **overrides: Any) -> Frontend:
    """Creates a front end.

    Args:
        frontend: A name of ``frontends.names()``, or arguments of :class:`~mvssl.frontends.LogMel`, or of
            another class that stands under ``"class"``: ``{"class": "CQT", "n_bins": 72}``.
        **overrides: Arguments that replace those.

    Raises:
        ValueError: If there is no such name or class.
    """
    if isinstance(frontend, str):
        created: Frontend = frontends.create(frontend, **overrides)
        return created
    arguments = {"class": "LogMel", **(frontend or {}), **overrides}
    kind = arguments.pop("class")
    if kind not in CLASSES:
        raise ValueError(f"no front end of class {kind!r}: known are {', '.join(CLASSES)}")
    return CLASSES[kind](**arguments)


def describe_frontend(frontend: Frontend) -> dict[str, Any]:
    """What :func:`create_frontend` takes to make it again, but for the sample rate; in full."""
    kind = {} if isinstance(frontend, LogMel) else {"class": type(frontend).__name__}
    return {**kind, **{name: value for name, value in frontend.config.items() if name != "sample_rate"}}


@frontends.register("logmel")
def _logmel(**overrides: Any) -> LogMel:
    """64 mel bins in decibels, the default."""
    return LogMel(**overrides)


@frontends.register("cqt", paper="arXiv:1912.12055")
def _cqt(**overrides: Any) -> CQT:
    """Seven octaves of semitones from C1 on, in decibels."""
    return CQT(**overrides)


@frontends.register("deezer2024", paper="arXiv:2404.09177")
def _deezer2024(**overrides: Any) -> LogMel:
    """128 mel bins in decibels, neither shifted nor scaled; eleven of them lie above 8 kHz and are dead."""
    published: dict[str, Any] = {
        "n_fft": 1024, "hop_length": 512, "n_mels": 128, "f_max": 11_025.0, "allow_dead_bins": True,
        "window_normalised": True, "area_normalised": False, "top_db": 100.0, "floor_db": -100.0,
        "mean": 0.0, "std": 1.0,
    }  # fmt: skip
    return LogMel(**{**published, **overrides})


@frontends.register("byola", paper="arXiv:2103.06695")
def _byola(**overrides: Any) -> LogMel:
    """64 mel bins from 60 to 7800 Hz, every 10 ms."""
    published = {"n_fft": 1024, "hop_length": 160, "n_mels": 64, "f_min": 60.0, "f_max": 7_800.0}
    return LogMel(**{**published, **overrides})


@frontends.register("musicnn", paper="arXiv:1909.06654")
def _musicnn(**overrides: Any) -> LogMel:
    """96 mel bins every 16 ms, compressed to log10(1 + 10,000 · power)."""
    published = {
        "n_fft": 512, "hop_length": 256, "n_mels": 96, "compression": "log1p", "mean": 0.0, "std": 1.0
    }  # fmt: skip
    return LogMel(**{**published, **overrides})


@frontends.register("choi2022", paper="arXiv:2207.04471")
def _choi2022(**overrides: Any) -> LogMel:
    """96 mel bins every 16 ms in decibels, on windows of 32 ms."""
    return LogMel(**{"n_fft": 512, "hop_length": 256, "n_mels": 96, **overrides})
