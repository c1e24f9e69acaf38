"""The checkpoints of a run: the last one, and the one before it in case the last is damaged."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvssl.atomic import settle_folder
from mvssl.loading import UnsafeFileError, read_tensors, write_tensors

CHECKPOINT, PREVIOUS = "last.ckpt", "previous.ckpt"
_DRAFT = "next.ckpt"
_NEEDED = {"state_dict", "global_step", "callbacks", "optimizer_states", "loops"}


class CheckpointError(ValueError):
    """None of a run's checkpoints can be used."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, or could not be written."""


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in a folder has got as far as a checkpoint."""
    return any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS))


def save_checkpoint(content: Mapping[str, Any], folder: Path, *, keep: bool = True) -> None:
    """Writes ``last.ckpt``; the one that was there becomes ``previous.ckpt``.

    Whenever the process is killed, one of the two is whole.

    Args:
        content: Tensors and plain values.
        folder: Of the run.
        keep: Whether the one that is there is good. A damaged one is overwritten, and
            ``previous.ckpt`` stays.

    Raises:
        OSError: If there is no room, say; both are then as they were.
    """
    write_tensors(content, folder / _DRAFT)
    last = folder / CHECKPOINT
    if keep and last.exists():
        os.replace(last, folder / PREVIOUS)
    os.replace(folder / _DRAFT, last)
    settle_folder(folder)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last checkpoint of a run that is whole, or None if it has not got as far as one.

    A damaged ``last.ckpt`` is said aloud, and ``previous.ckpt`` taken.

    Raises:
        CheckpointError: If there are checkpoints and all of them are damaged.
    """
    found = [folder / name for name in (CHECKPOINT, PREVIOUS) if (folder / name).exists()]
    damages: list[str] = []
    for path in found:
        try:
            content = read_checkpoint(path)
        except UnsafeFileError as error:
            damages.append(str(error))
            continue
        if damages:
            warnings.warn(
                f"{damages[0]}. The run goes on from {path}, step {content['global_step']}, instead",
                CheckpointWarning,
                stacklevel=2,
            )
        return path, content
    if damages:
        raise CheckpointError(
            f"{'; '.join(damages)}. Without a checkpoint the run cannot go on: put a copy in its place, or "
            f"choose another --out to begin anew"
        )
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of a run.

    Raises:
        UnsafeFileError: If it is damaged, would run code, or is not of a run.
    """
    content = read_tensors(path, digest=True)
    if not isinstance(content, dict) or not content.keys() >= _NEEDED:
        raise UnsafeFileError(f"{path} is no checkpoint of a pre-training run")
    return content
