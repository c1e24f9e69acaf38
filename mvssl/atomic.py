"""Files written in one piece: a kill leaves the old one or the new one, and never half of it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Gives a draft to write to, which takes the place of a file once the block has gone well.

    If it has not, the old file is as it was, and what little there is of the draft takes no room.

    Args:
        path: The file; its folder is made if need be.
        shared: Whether other processes may write the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part" if shared else f"{path.name}.part")
    try:
        yield draft
        with draft.open("r+b") as file:
            settle(file)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    settle_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a file in one piece."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in one piece."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def settle(file: IO[Any]) -> None:
    """Waits until what was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, on systems that have this."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
