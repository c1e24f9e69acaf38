"""Downloads from a server on this machine."""

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mvssl.data import CorpusError, corpora
from mvssl.data.fetching import download, fetch, fetch_all, unpack
from mvssl.data.named import Remote, named

CONTENT = bytes(range(256)) * 400


class Server(ThreadingHTTPServer):
    """Serves files from memory; may end a connection early, and may not know of ranges."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut_after, self.ranges, self.asked = {}, None, True, []

    def remote(self, file, content, **options):
        self.files[f"/{file}"] = content
        options.setdefault("checksum", f"sha256:{hashlib.sha256(content).hexdigest()}")
        return Remote(f"http://127.0.0.1:{self.server_port}/{file}", file, **options)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        asked = self.headers.get("Range", "")
        self.server.asked.append((self.path, asked))
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut_after])

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on(ranges, server, tmp_path):
    remote = server.remote("audio.bin", CONTENT)
    server.cut_after, server.ranges = 1_000, ranges
    with pytest.raises(CorpusError, match="ended after 1000 of 102400 bytes; the same command goes on"):
        fetch(remote, tmp_path)
    assert not (tmp_path / "audio.bin").exists()
    server.cut_after = None
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=1000-"]
    fetch(remote, tmp_path)
    assert len(server.asked) == 2  # what is there is not fetched again
    assert [path.name for path in tmp_path.iterdir()] == ["audio.bin"]


def test_a_download_that_was_complete_but_not_named_yet(server, tmp_path):
    remote = server.remote("audio.bin", CONTENT)
    (tmp_path / "audio.bin.part").write_bytes(CONTENT)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_another_file_than_published_is_removed(server, tmp_path):
    remote = replace(server.remote("audio.bin", CONTENT), checksum="md5:" + "0" * 32)
    with pytest.raises(CorpusError, match=r"its checksum is md5:[0-9a-f]{32} instead of md5:0{32}"):
        fetch(remote, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_file_that_is_there_already_is_not_taken_for_it(server, tmp_path):
    (tmp_path / "audio.bin").write_bytes(b"of somebody else")
    with pytest.raises(CorpusError, match=r"audio\.bin is not the published file .* remove it"):
        fetch(server.remote("audio.bin", CONTENT), tmp_path)
    assert (tmp_path / "audio.bin").read_bytes() == b"of somebody else"
    assert not server.asked


def test_what_the_server_answers_is_told(server, tmp_path):
    gone = replace(server.remote("audio.bin", CONTENT), url=f"http://127.0.0.1:{server.server_port}/gone")
    with pytest.raises(CorpusError, match="/gone: the server answers 404"):
        fetch(gone, tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(CorpusError, match="goes on from here"):
        fetch(replace(gone, file="other.bin"), tmp_path)


def test_a_full_disk_is_noticed_first(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 1000))
    with pytest.raises(OSError, match=r"GB are needed for audio\.zip and what is in it"):
        fetch(server.remote("audio.zip", CONTENT, unpack="."), tmp_path)
    assert not list(tmp_path.iterdir())


def zipped(names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file.getvalue()


def tarred(names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return file.getvalue()


def test_parts_are_joined_and_unpacked_once(server, tmp_path):
    whole = zipped(["0/one.mp3", "f/two.mp3"])
    pieces = (whole[:60], whole[60:120], whole[120:])
    parts = [
        server.remote(f"mp3.zip.{n}", piece, unpack="mp3", part_of="mp3.zip")
        for n, piece in enumerate(pieces)
    ]
    remotes = [*parts, server.remote("table.csv", b"a,b")]
    fetch_all(remotes, tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"mp3/0/one.mp3", "mp3/f/two.mp3", "table.csv", ".mvssl-unpacked.json"}
    fetch_all(remotes, tmp_path)
    assert len(server.asked) == 4


def test_archives_may_stay(server, tmp_path):
    remote = server.remote("audio.tar.gz", tarred(["a/one.mp3"]), unpack=".")
    fetch_all([remote], tmp_path, keep_archives=True)
    assert (tmp_path / "audio.tar.gz").is_file()
    assert (tmp_path / "a/one.mp3").read_text() == "a/one.mp3"


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../escape.mp3", "/tmp/escape.mp3", "a/../../escape.mp3"])
def test_nothing_is_unpacked_outside_of_the_folder(pack, name, tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(pack(["good.mp3", name]))
    with pytest.raises(CorpusError, match="would lie outside"):
        unpack(archive, tmp_path / "inside")
    assert [path.name for path in tmp_path.rglob("*.mp3")] == []


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w") as packed:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "../../etc"
        packed.addfile(member)
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "inside")


def test_a_damaged_archive(tmp_path):
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(tarred(["a.mp3"])[:40])
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        unpack(archive, tmp_path)


def test_a_corpus_is_downloaded_with_its_licence_shown(server, tmp_path, monkeypatch, capsys):
    remote = server.remote("fma_small.zip", zipped(["fma_small/000/000002.mp3"]), unpack=".")
    entry = corpora.entry("fma_small")
    monkeypatch.setitem(
        corpora._entries, "fma_small", replace(entry, target=replace(named("fma_small"), remotes=(remote,)))
    )
    report = download(f"fma_small@{tmp_path}/fma", progress=True)
    assert (tmp_path / "fma/fma_small/000/000002.mp3").is_file()
    assert "under the licence that its artist chose" in capsys.readouterr().out
    assert str(tmp_path / "fma") in report


def test_what_cannot_be_downloaded_comes_with_instructions():
    with pytest.raises(CorpusError, match="gtzan cannot be downloaded\nTo get GTZAN"):
        download("gtzan")
