"""Encoders that others have published, from the files that they released."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchaudio.functional as AF
from torch import Tensor

from mvssl.encoders import Encoder, create_encoder
from mvssl.frontends import create_frontend
from mvssl.loading import read_tensors
from mvssl.registry import Registry

Weights = dict[str, Tensor]

published: Registry[Callable[[Any, Path], Encoder]] = Registry("published encoder")
"""By name, functions from the content of a released file, and its path, to an encoder."""


def load_published(name: str, path: str | os.PathLike[str]) -> Encoder:
    """Loads a published encoder from a file in the layout in which it was released.

    What else is in the file, such as heads, is left there. Nothing in it is executed, as unpickling could.
    :func:`mvssl.save_encoder` makes an encoder of mvssl of it, for good.

    Args:
        name: ``"deezer2024"`` or ``"clmr"``.
        path: The file.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name is unknown, the file holds more than tensors and plain values, or its weights
            are not, one by one, those of the encoder.
    """
    convert = published.entry(name).target
    path = Path(path)
    return convert(read_tensors(path), path).eval()


@published.register("deezer2024", paper="arXiv:2404.09177")
def _deezer2024(content: Any, path: Path) -> Encoder:
    """The ResNets of the 2024 comparison: contrastive, byol, clustering, barlow_twins and feature_stats."""
    model = _dictionary(_dictionary(content, path).get("model"), path)
    weights = _below(model, ("student.module.backbone.", "module.backbone."), path)
    encoder = create_encoder("deezer2024")
    names = {_deezer_name(name): name for name in encoder.state_dict()}
    front_end = _deezer_front_end()
    _require_names(weights, {*names, *front_end}, path)
    for name, expected in front_end.items():
        found = weights.pop(name)
        if found.shape != expected.shape or not torch.allclose(found.float(), expected, atol=1e-4):
            raise ValueError(f"{path}: {name} is that of another front end than the published one")
    return _loaded(encoder, {names[name]: tensor for name, tensor in weights.items()}, path)


def _deezer_name(name: str) -> str:
    """A name of our ResNet's weights → the published one."""
    name = re.sub(r"^pool\.", "attnpool.", name)
    name = re.sub(r"^stages\.(\d+)\.", lambda found: f"layer{int(found[1]) + 1}.", name)
    name = re.sub(r"^stem\.(\d+)\.", lambda found: f"{_STEM[int(found[1])]}.", name)
    return f"embedding.{name}"


_STEM = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3"}  # between them, ReLU


def _deezer_front_end() -> Weights:
    """Window and mel filters, under the names that torchaudio's modules gave them."""
    made_of = create_frontend("deezer2024").config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the dead bins
        filters = AF.melscale_fbanks(
            made_of["n_fft"] // 2 + 1, made_of["f_min"], made_of["f_max"], made_of["n_mels"],
            made_of["sample_rate"], mel_scale="slaney",
        )  # fmt: skip
    window = torch.hann_window(made_of["n_fft"])
    return {"spec.spec.spectrogram.window": window, "spec.spec.mel_scale.fb": filters}


@published.register("clmr", paper="arXiv:2103.09410")
def _clmr(content: Any, path: Path) -> Encoder:
    """The SampleCNNs of CLMR."""
    whole = _dictionary(content, path)
    weights = _below(_dictionary(whole.get("state_dict", whole), path), ("model.encoder.", "encoder."), path)
    encoder = create_encoder("samplecnn")
    _require_names(weights, set(encoder.state_dict()), path)
    return _loaded(encoder, weights, path)


def _dictionary(content: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} is not of the released layout: it holds no state dict where one is expected"
        )
    return content


def _below(weights: Mapping[str, Any], prefixes: tuple[str, ...], path: Path) -> Weights:
    """What stands under the first of some prefixes that there is, without it."""
    for prefix in prefixes:
        below = {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        if below:
            return below
    raise ValueError(f"{path} holds no weights under {' or '.join(prefixes)}")


def _require_names(weights: Weights, expected: set[str], path: Path) -> None:
    missing, unknown = sorted(expected - weights.keys()), sorted(weights.keys() - expected)
    if missing or unknown:
        raise ValueError(
            f"{path} is not of the released layout; missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}"
        )


def _loaded(encoder: Encoder, weights: Weights, path: Path) -> Encoder:
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:  # of other sizes
        raise ValueError(f"{path}: {error}") from error
    return encoder
