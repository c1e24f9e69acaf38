"""Encoders on disk: those that were saved, and those in the checkpoints of runs."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mvssl.atomic import replacing, write_text
from mvssl.encoders.base import Encoder
from mvssl.encoders.convnet5 import ConvNet5
from mvssl.encoders.resnet import ResNet
from mvssl.encoders.samplecnn import SampleCNN
from mvssl.encoders.vit import ViT
from mvssl.encoders.wave_transformer import WaveTransformer
from mvssl.loading import UnsafeFileError, read_tensors

CLASSES: dict[str, Callable[..., Encoder]] = {
    kind.__name__: kind for kind in (ResNet, SampleCNN, ConvNet5, ViT, WaveTransformer)
}
WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
IN_CHECKPOINT = "encoder"  # where a checkpoint has the text of encoder.json
_PREFIX = "pretext.encoder."  # of the encoder's weights there


def describe_encoder(encoder: nn.Module, **facts: Any) -> str:
    """What makes the encoder again, its weights apart, as JSON: class, arguments, and facts as given.

    Raises:
        ValueError: If the encoder is not of a class that :func:`load_encoder` knows.
    """
    kind = type(encoder).__name__
    if CLASSES.get(kind) is not type(encoder):
        raise ValueError(f"cannot save a {kind}: known are {', '.join(CLASSES)}")
    return json.dumps({"class": kind, "arguments": encoder.config, **facts}, indent=2) + "\n"


def save_encoder(encoder: nn.Module, folder: str | os.PathLike[str], **facts: Any) -> None:
    """Writes ``encoder.safetensors`` and ``encoder.json``, see :func:`describe_encoder`.

    Raises:
        ValueError: If the encoder is not of a class that :func:`load_encoder` knows.
    """
    description = describe_encoder(encoder, **facts)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    with replacing(folder / WEIGHTS) as draft:
        save_file(weights, draft)
    write_text(folder / DESCRIPTION, description)


def load_encoder(source: str | os.PathLike[str]) -> Encoder:
    """Reads the encoder of a pre-training run; it is in eval mode.

    Args:
        source: The folder of a run that has ended, or any that :func:`save_encoder` wrote to; or the
            ``last.ckpt`` of a run that has not. Nothing in it is executed, as unpickling could.

    Raises:
        FileNotFoundError: If the folder holds no encoder.
        ValueError: If its class is unknown, a file is damaged or does not fit the other, or a checkpoint is
            not of a pre-training run.
    """
    source = Path(source)
    if source.is_file():
        description, weights = _read_checkpoint(source)
        return _make(description, source, lambda: weights, source)
    for name in (WEIGHTS, DESCRIPTION):
        if not (source / name).is_file():
            raise FileNotFoundError(
                f"{source} has no {name}: give the folder of a finished pre-training run, or the last.ckpt "
                "of another"
            )
    text = (source / DESCRIPTION).read_text(encoding="utf-8", errors="replace")
    return _make(text, source / DESCRIPTION, lambda: load_file(source / WEIGHTS), source / WEIGHTS)


def _make(text: str, said_in: Path, read: Callable[[], Mapping[str, Tensor]], weights_in: Path) -> Encoder:
    try:
        description = json.loads(text)
        kind, arguments = description["class"], description["arguments"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{said_in} is damaged: {error!r}") from error
    if kind not in CLASSES:
        raise ValueError(f"{said_in}: unknown encoder class {kind!r}, known are {', '.join(CLASSES)}")
    try:
        encoder = CLASSES[kind](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{said_in} is damaged, or of another version of mvssl: {error}") from error
    try:
        encoder.load_state_dict(read())
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights_in} is damaged, or not of {DESCRIPTION}: {error}") from error
    return encoder.eval()


def _read_checkpoint(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The description and the weights of the encoder."""
    try:
        content = read_tensors(path)
    except UnsafeFileError as error:
        raise ValueError(
            f"no checkpoint of a pre-training run (last.ckpt) that can be read safely: {error}"
        ) from error
    if not isinstance(content, Mapping) or not {"state_dict", IN_CHECKPOINT} <= content.keys():
        raise ValueError(
            f"{path} is no checkpoint of a pre-training run (last.ckpt), or of one with an encoder that "
            "mvssl cannot make again"
        )
    state = content["state_dict"].items()
    return content[IN_CHECKPOINT], {
        name[len(_PREFIX) :]: tensor for name, tensor in state if name.startswith(_PREFIX)
    }
