"""Keeps libmpg123's complaints away from the user.

The MP3 decoder inside libsndfile writes to file descriptor 2 itself, whatever Python does with
``sys.stderr``: it grumbles about every seek, because the first frames after one lack data. Nothing in
libsndfile turns that off, so the descriptor points at a scratch file while an MP3 is opened or read.
What anybody else wrote there meanwhile (a progress bar, a log line of another thread) is passed on.
"""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

_STDERR = 2
_COMPLAINT = re.compile(rb"\[src/libmpg123[^\n]*\n?|^(?:Note|Warning): [^\n]*\n?", re.MULTILINE)


class Mpg123Filter:
    """Redirects file descriptor 2 while at least one thread is inside :meth:`active`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._real: int | None = None
        self._scratch: IO[bytes] | None = None
        self._passed = 0  # bytes of the scratch file that have been dealt with

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Swallows libmpg123's lines for as long as the block lasts; may be entered by many threads."""
        with self._lock:
            if self._depth == 0:
                self._redirect()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._restore()
                else:
                    self._pass_on(whole_lines=True)

    def _redirect(self) -> None:
        try:
            self._real = os.dup(_STDERR)
        except OSError:  # a daemon without standard error has nobody to protect
            return
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (kept for the next read)
        os.dup2(self._scratch.fileno(), _STDERR)

    def _restore(self) -> None:
        if self._real is None or self._scratch is None:
            return
        os.dup2(self._real, _STDERR)  # from here on nobody writes to the scratch file
        self._pass_on(whole_lines=False)
        os.ftruncate(self._scratch.fileno(), 0)
        os.lseek(self._scratch.fileno(), 0, os.SEEK_SET)
        self._passed = 0
        os.close(self._real)
        self._real = None

    def _pass_on(self, whole_lines: bool) -> None:
        """Passes on what is new. Other threads may be writing: their place in the file must not move."""
        if self._real is None or self._scratch is None:
            return
        size = os.fstat(self._scratch.fileno()).st_size - self._passed
        new = os.pread(self._scratch.fileno(), size, self._passed)
        if whole_lines:
            new = new[: new.rfind(b"\n") + 1]
        self._passed += len(new)
        others = _COMPLAINT.sub(b"", new)
        if others.strip(b"\n"):
            os.write(self._real, others)

    def _reset_in_child(self) -> None:
        # The threads that were inside did not survive the fork, and a scratch file shared with the
        # parent would mix up the two processes' lines.
        if self._real is not None:
            os.dup2(self._real, _STDERR)
            os.close(self._real)
        self._real = self._scratch = None
        self._depth = self._passed = 0
        self._lock.release()

    def survive_forks(self) -> None:
        """Makes a fork in the middle of a read harmless: no locked lock, no redirected descriptor."""
        if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._reset_in_child,
            )


mpg123_filter = Mpg123Filter()
mpg123_filter.survive_forks()
