"""Downloading published corpora: resumable, checked, and unpacked into their folder and nowhere else."""

import hashlib
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from itertools import groupby
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from mvssl.atomic import replacing
from mvssl.data.listing import CorpusError
from mvssl.data.named import Remote, named
from mvssl.data.opening import parted

_BLOCK = 2**20  # bytes read at a time
_TIMEOUT = 60  # seconds without a byte
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL = 206
_UNPACKED = ".mvssl-unpacked.json"
_ARCHIVE_GROWTH = 2  # an archive and what is in it, which is audio and compressed already


def download(source: str, keep_archives: bool = False, progress: bool = False) -> str:
    """Downloads what of a published corpus can be downloaded, and unpacks it.

    Stopped and started again, it goes on where it was.

    Args:
        source: Name of the corpus, and behind an ``@`` the folder, if it is not the one of that name in
            ``$MVSSL_DATA``, or in ``~/mvssl-data``: ``"fma_small@/music/fma"``.
        keep_archives: Whether archives stay after they were unpacked.
        progress: Whether to print the licence and show progress bars.

    Returns:
        Where the files are, and what is still to be fetched by hand.

    Raises:
        CorpusError: If there is nothing to download (with instructions how to get the corpus), a file does
            not arrive whole, or it is not the published one.
        OSError: If there is no room on the disk.
    """
    name, root, _ = parted(source)
    corpus = named(name)
    if not corpus.remotes:
        raise CorpusError(f"{name} cannot be downloaded\n{corpus.how_to_get()}")
    folder = corpus.root(root)
    folder.mkdir(parents=True, exist_ok=True)
    if progress:
        print(f"{corpus.title}; licence: {corpus.licence}\nPlease cite: {corpus.citation}\nInto {folder}")
    fetch_all(corpus.remotes, folder, keep_archives, progress)
    return f"{name} is in {folder}; its instructions say what else belongs there:\n{corpus.instructions}"


def fetch_all(
    remotes: Sequence[Remote], folder: Path, keep_archives: bool = False, progress: bool = False
) -> None:
    """Fetches files, joins the parts of archives, and unpacks archives; what was done before is left out."""
    for archive, parts in groupby(remotes, lambda remote: remote.part_of or remote.file):
        group = list(parts)
        if archive in _unpacked(folder):
            continue
        for remote in group:
            fetch(remote, folder, progress)
        if group[0].part_of:
            _join([folder / remote.file for remote in group], folder / archive)
        if group[0].unpack is not None:
            unpack(folder / archive, folder / group[0].unpack)
            _note_unpacked(folder, archive)
            for path in [folder / archive, *(folder / remote.file for remote in group)]:
                if not keep_archives:
                    path.unlink(missing_ok=True)


def fetch(remote: Remote, folder: Path, progress: bool = False) -> Path:
    """Fetches one file, or the rest of it; nothing is fetched when it is there.

    Raises:
        CorpusError: If it does not arrive whole (the next call goes on from there), or if its checksum is
            another one than published (the next call begins anew).
        OSError: If there is no room on the disk.
    """
    target = folder / remote.file
    part = target.with_name(target.name + ".part")
    if target.is_file():
        wrong = _wrong_checksum(remote, target)
        if wrong:
            raise CorpusError(f"{target} is not the published file ({wrong}); remove it to have it fetched")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _transfer(remote, part, progress)
    wrong = _wrong_checksum(remote, part)
    if wrong:
        part.unlink()
        raise CorpusError(
            f"{remote.url} is not the published file, or was damaged on its way ({wrong}); it was removed, "
            "so that the same command fetches it anew"
        )
    os.replace(part, target)
    return target


def _wrong_checksum(remote: Remote, path: Path) -> str:
    """What is wrong with the checksum of a file; empty if nothing is, or if none was published."""
    found = checksum(path, remote.checksum) if remote.checksum else ""
    return "" if found == remote.checksum else f"its checksum is {found} instead of {remote.checksum}"


def checksum(path: Path, like: str) -> str:
    """The checksum of a file with the algorithm of another: ``"md5:…"`` gives ``"md5:…"``."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _transfer(remote: Remote, part: Path, progress: bool) -> None:
    """Appends to a file what it lacks."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        with urlopen(Request(remote.url, headers=_headers(have)), timeout=_TIMEOUT) as answer:
            if answer.status != _PARTIAL:
                have = 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            _require_room(part.parent, (total or 0) - have, remote)
            bar = tqdm(
                desc=remote.file, initial=have, total=total, unit="B", unit_scale=True, disable=not progress
            )
            with part.open("ab" if have else "wb") as file, bar:
                for block in _blocks(answer):
                    file.write(block)
                    bar.update(len(block))
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and have:
            return  # all of it is there; the checksum tells
        raise CorpusError(f"{remote.url}: the server answers {error.code} {error.reason}") from None
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise CorpusError(f"{remote.url}: {error}; the same command goes on from here") from None
    if total is not None and part.stat().st_size < total:
        raise CorpusError(
            f"{remote.url}: the connection ended after {part.stat().st_size} of {total} bytes; the same "
            "command goes on from here"
        )


def _headers(have: int) -> dict[str, str]:
    return {"User-Agent": "mvssl"} | ({"Range": f"bytes={have}-"} if have else {})


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block


def _require_room(folder: Path, needed: int, remote: Remote) -> None:
    growth = 1 if remote.unpack is None else _ARCHIVE_GROWTH
    free = shutil.disk_usage(folder).free
    if needed * growth > free:
        raise OSError(
            f"{folder}: {needed * growth / 1e9:.1f} GB are needed for {remote.file}"
            f"{' and what is in it' if growth > 1 else ''}, and {free / 1e9:.1f} GB are free"
        )


def _join(parts: Sequence[Path], archive: Path) -> None:
    with replacing(archive) as draft, draft.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, _BLOCK)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a ZIP or TAR archive.

    Raises:
        CorpusError: If it is damaged or neither of both, or if something in it would lie outside of the
            folder; nothing is unpacked in that case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _require_inside(archive, folder, packed.namelist())
                packed.extractall(folder)
            return
        with tarfile.open(archive) as packed_tar:
            _require_inside(archive, folder, packed_tar.getnames())
            packed_tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        # The last is what zipfile raises for a compression that it does not know.
        raise CorpusError(
            f"{archive}: cannot be unpacked ({error}); remove it and download it again"
        ) from None


def _require_inside(archive: Path, folder: Path, names: Sequence[str]) -> None:
    root = folder.resolve()
    for name in names:
        if not Path(os.path.normpath(root / name)).is_relative_to(root):
            raise CorpusError(
                f"{archive}: {name!r} in it would lie outside of {folder}; nothing was unpacked"
            )


def _unpacked(folder: Path) -> list[str]:
    """Archives that were unpacked before."""
    with suppress(OSError, ValueError):
        return list(map(str, json.loads((folder / _UNPACKED).read_text())))
    return []


def _note_unpacked(folder: Path, archive: str) -> None:
    (folder / _UNPACKED).write_text(json.dumps([*_unpacked(folder), archive]))
