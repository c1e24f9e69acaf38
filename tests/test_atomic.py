import os

import pytest

from mvssl.atomic import replacing, write_json, write_text


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with replacing(path) as draft:
        draft.write_text("ne")
        assert path.read_text() == "old"
        draft.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("shared", [False, True])
def test_after_an_error_there_is_the_old_file_and_no_draft(tmp_path, error, shared):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail():
        with replacing(path, shared=shared) as draft:
            draft.write_text("half of i")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_processes_that_share_a_file_have_drafts_of_their_own(tmp_path):
    with replacing(tmp_path / "file", shared=True) as mine, replacing(tmp_path / "file") as other:
        assert str(os.getpid()) in mine.name
        assert mine != other
        mine.write_bytes(b"mine")
        other.write_bytes(b"other")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_json_keeps_letters_as_they_are(tmp_path):
    write_json(tmp_path / "file.json", {"title": "Fantaisie für Flöte"})
    assert "Flöte" in (tmp_path / "file.json").read_text(encoding="utf-8")
