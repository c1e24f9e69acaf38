"""Files of tensors: written in one piece with a digest, read without running anything that is in them."""

import hashlib
import io
import os
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mvssl.atomic import replacing

# The digest stands where a zip archive has its comment, so that any reader of torch's format takes the file.
_MARK = b"mvssl blake2b "
_DIGEST_BYTES = 32
_COMMENT_BYTES = len(_MARK) + _DIGEST_BYTES


class UnsafeFileError(ValueError):
    """A file that cannot be read, or not without running what is in it."""


def write_tensors(content: Any, path: Path) -> None:
    """Writes tensors and plain values, with a digest, so that a kill leaves the old file or the new one.

    Raises:
        OSError: If there is no room, say; the old file is then as it was.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)  # straight to a full disk, it would hide the reason
    with replacing(path) as draft, draft.open("wb") as file, buffer.getbuffer() as view:
        view[-2:] = _COMMENT_BYTES.to_bytes(2, "little")
        file.write(view)
        file.write(_MARK + _digest(view))


def read_tensors(path: Path, *, digest: bool = False) -> Any:
    """Reads what :func:`write_tensors`, or ``torch.save``, wrote: tensors and plain values, nothing else.

    Args:
        path: The file.
        digest: Whether it must have a digest; one that it has is checked in any case.

    Raises:
        UnsafeFileError: If it is damaged or cut short, of another kind, or would run code.
        OSError: If it cannot be opened.
    """
    with path.open("rb") as file:
        found = _check(file, path)
        if digest and not found:
            raise UnsafeFileError(f"{path} is damaged: it is cut short, or was never one of mvssl's")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of foreign pickles, about to be refused
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever the bytes of another file make of it
            raise UnsafeFileError(_explained(path, error)) from error


def _digest(view: Any) -> bytes:
    return hashlib.blake2b(view, digest_size=_DIGEST_BYTES).digest()


def _check(file: BinaryIO, path: Path) -> bool:
    """Whether there is a digest; the file is then at its beginning again.

    Raises:
        UnsafeFileError: If it is another one.
    """
    length = file.seek(0, os.SEEK_END) - _COMMENT_BYTES
    if length < 0:
        return False
    file.seek(length)
    comment = file.read()
    file.seek(0)
    if not comment.startswith(_MARK):
        return False
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    left = length
    while left and (part := file.read(min(left, 2**20))):
        hasher.update(part)
        left -= len(part)
    file.seek(0)
    if hasher.digest() != comment[len(_MARK) :]:
        raise UnsafeFileError(f"{path} is damaged: its content is not what was written (blake2b differs)")
    return True


def _explained(path: Path, error: Exception) -> str:
    """In words of its own: torch's advice to read the file unsafely."""
    text = str(error)
    if named := re.search(r"unsupported global:? (?:global )?(\S+)", text, re.IGNORECASE):
        why = f"it holds more than tensors and plain values, and could run code ({named[1]}): do not load it"
    else:
        reason = re.search(r"Unsupported operand \d+", text)
        short = reason[0] if reason else text.split(". ")[0] or type(error).__name__
        why = f"it is damaged, cut short or of another kind ({short})"
    return f"no tensors can be read safely from {path}: {why}"
