import os
import pickle
import random

import pytest
import torch

from mvssl.encoders import load_encoder
from mvssl.loading import UnsafeFileError, read_tensors, write_tensors

CONTENT = {"weights": torch.arange(300.0), "words": "text", "more": (1, None, [2.5])}


@pytest.fixture
def path(tmp_path):
    write_tensors(CONTENT, tmp_path / "file.ckpt")
    return tmp_path / "file.ckpt"


def _same(content):
    return torch.equal(content["weights"], CONTENT["weights"]) and content["more"] == CONTENT["more"]


def test_what_was_written_is_read_by_us_and_by_torch(path):
    assert _same(read_tensors(path, digest=True))
    assert _same(torch.load(path, weights_only=True))
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_no_flipped_bit_gives_other_content(path):
    whole = path.read_bytes()
    accepted = 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UnsafeFileError, match=r"file\.ckpt"):
            read_tensors(path, digest=True)
        try:
            assert _same(read_tensors(path))
            accepted += 1
        except UnsafeFileError:
            pass
    assert accepted <= 4  # only where the mark of the digest itself is hit


@pytest.mark.parametrize("length", [0, 1, 100, -40, -1])
def test_a_file_that_is_cut_short_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UnsafeFileError, match="cut short"):
        read_tensors(path, digest=True)


class _Trap:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "sprung"),)


def _new(path):
    torch.save({"a": _Trap(path.parent)}, path)


def _old(path):
    torch.save({"a": _Trap(path.parent)}, path, _use_new_zipfile_serialization=False)


def _signed(path):
    write_tensors({"a": _Trap(path.parent)}, path)


def _bare(path):
    path.write_bytes(pickle.dumps(_Trap(path.parent), protocol=2))


@pytest.mark.parametrize("write", [_new, _old, _signed, _bare])
def test_nothing_is_executed_and_the_error_says_what_would_have_been(path, write):
    write(path)
    with pytest.raises(UnsafeFileError, match=r"read safely from .*could run code \(\S*mkdir\)"):
        read_tensors(path)
    assert not (path.parent / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [b"RIFF", random.Random(0).randbytes(3000), b"PK\x03\x04" + bytes(50)],
    ids=["audio", "noise", "archive"],
)
def test_other_files_are_refused_without_advice_to_read_them_unsafely(path, content):
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"no tensors can be read safely from .*file\.ckpt") as error:
        read_tensors(path)
    assert "weights_only" not in str(error.value)


def test_a_full_disk_leaves_the_file_and_no_draft(path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full, the device that is always full")
    draft = path.with_name("file.ckpt.part")
    draft.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_tensors({"weights": torch.zeros(10)}, path)
    assert not draft.is_symlink()
    assert _same(read_tensors(path))


def test_arguments_that_make_no_encoder_are_damage(encoder, tmp_path):
    from mvssl.encoders import save_encoder

    save_encoder(encoder, tmp_path)
    said = tmp_path / "encoder.json"
    said.write_text(said.read_text().replace('"embed_dim"', '"embed_dimension"'))
    with pytest.raises(ValueError, match=r"encoder\.json is damaged, or of another version"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(random.Random(0).randbytes(400))
    said.write_text(said.read_text().replace('"embed_dimension"', '"embed_dim"'))
    with pytest.raises(ValueError, match=r"encoder\.safetensors is damaged"):
        load_encoder(tmp_path)
