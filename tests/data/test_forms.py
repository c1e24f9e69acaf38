"""One corpus in all its forms: files, prepared samples, prepared FLAC, webdataset shards."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch

import mvssl
from mvssl.data import CorpusError, loader, open_corpus, prepare
from mvssl.pretext import SimCLR
from mvssl.views import Adjacent, Crops, ViewChain

RATE = 16_000


@pytest.fixture(scope="module")
def forms(music, tmp_path_factory):
    """The same corpus as files, as samples, as FLAC with an index, and as bare archives."""
    folder = tmp_path_factory.mktemp("forms")
    files = open_corpus(music)
    samples = prepare(files, folder / "int16", RATE)
    prepare(files, folder / "flac", RATE, packing="flac", shard_megabytes=1)
    (count := len(list((folder / "flac").glob("*.tar"))))
    assert count > 1
    bare = open_corpus(f"{folder}/flac/audio-{{000000..{count - 1:06d}}}.tar")
    return {"files": files, "int16": samples, "flac": open_corpus(folder / "flac"), "tar": bare}


def test_all_forms_say_the_same(forms):
    for form, corpus in forms.items():
        assert corpus.fingerprint() == forms["files"].fingerprint(), form
        assert len(corpus) == 60


@pytest.mark.parametrize("sampler", [Crops(1.0), Adjacent(0.5)])
@pytest.mark.parametrize("workers", [0, 2])
def test_all_forms_give_the_same_crops(forms, sampler, workers):
    def batches(corpus):
        return list(loader(corpus, ViewChain(sampler), 8, steps=8, seed=5, workers=workers))

    expected = batches(forms["files"])
    for form in ("int16", "flac", "tar"):
        for batch, other in zip(expected, batches(forms[form]), strict=True):
            assert torch.equal(batch.items, other.items)
            assert all(torch.equal(a, b) for a, b in zip(batch.crops, other.crops, strict=True)), form
            assert not other.problems


@pytest.mark.slow
def test_all_forms_give_the_same_losses(forms, encoder, tmp_path):
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    curves = {}
    for form, corpus in forms.items():
        encoder.load_state_dict(state)
        torch.manual_seed(0)
        pretext = SimCLR(encoder)
        mvssl.fit(
            pretext, corpus, "light", steps=4, batch_size=8, out=tmp_path / form,
            log_every=1, precision="fp32", progress=False,
        )  # fmt: skip
        curves[form] = [row["loss"] for row in mvssl.training.read_metrics(tmp_path / form)]
    assert len(set(curves["files"])) == 4
    assert curves["int16"] == curves["flac"] == curves["tar"] == curves["files"]


# Archives that somebody else wrote


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def sound(value, kind="WAV", rate=8_000):
    file = io.BytesIO()
    soundfile.write(file, np.full(rate, value), rate, format=kind)
    return file.getvalue()


def test_archives_of_others(tmp_path):
    write_tar(tmp_path / "a-0.tar", {
        "x/1.wav": sound(0.25), "x/1.json": json.dumps({"tags": ["a"], "split": "train"}).encode(),
        "x/1.pickle": b"cos\nsystem\n(S'false'\ntR.", "README": b"", "x/cover.jpg": b"",
        "x/2.mp3": sound(0.25, "MP3", 44_100), "x/2.txt": b"", "x/2.json": b'{"tags": [], "split": "test"}',
    })  # fmt: skip
    write_tar(tmp_path / "a-1.tar", {
        "3.OGG": sound(0.25, "OGG"), "3.json": b'{"tags": ["a"], "split": "test", "audio_path": "c.ogg"}',
        "../4.stem0.wav": sound(0.5), "../4.flac": sound(0.25, "FLAC"), "../4.stem1.wav": sound(-0.5),
        "../4.json": b'{"tags": [], "split": "train", "duration": 1.0}',
    })  # fmt: skip
    corpus = open_corpus(f"{tmp_path}/a-{{0..1}}.tar")
    assert corpus.paths.tolist() == ["../4.flac", "c.ogg", "x/1.wav", "x/2.mp3"]
    assert corpus.vocabulary == ("a",)
    assert corpus.targets[:, 0].tolist() == [False, True, True, False]
    assert len(corpus.stems_of(0)) == 2
    for row in range(4):
        np.testing.assert_allclose(corpus.read(row)[1_000:-1_000], 0.25, atol=0.02)
    with corpus.open_stem(0, 1) as stem:
        np.testing.assert_allclose(stem.read(0.25, 0.5), -0.5, atol=1e-4)


def test_archives_that_cannot_be_used(tmp_path):
    write_tar(tmp_path / "none.tar", {"a.txt": b"x"})
    write_tar(tmp_path / "wrong.tar", {"a.wav": sound(0.1), "a.json": b'{"tags": "rock"}'})
    write_tar(tmp_path / "sub" / "b.tar", {"b.wav": sound(0.1)})
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(tmp_path / "none.tar", "a.wav")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "wrong.tar").read_bytes()[:9_000])
    for name, message in [
        ("missing.tar", "missing.tar: cannot be read"),
        ("none.tar", "no audio in these shards"),
        ("wrong.tar", r"a\.json: tags must be a list"),
        ("packed.tar", "is damaged, or compressed"),
        ("cut.tar", "is damaged, or compressed|cannot be used"),
        ("{none,none}.tar", "the same shard twice"),
        ("{none,sub/b}.tar", "must be in one folder"),
    ]:
        with pytest.raises(CorpusError, match=message):
            open_corpus(f"{tmp_path}/{name}")
    with pytest.raises(CorpusError, match="copy the shards to a disk"):
        open_corpus("https://example.org/a-{0..9}.tar")


def test_a_damaged_member_is_left_out(tmp_path):
    members = {f"{number}.wav": sound(0.1) for number in range(3)} | {"1.wav": b"no sound"}
    write_tar(tmp_path / "a.tar", members)
    corpus = open_corpus(f"{tmp_path}/a.tar")
    assert corpus.paths.tolist() == ["0.wav", "2.wav"]
    assert [problem.path for problem in corpus.problems] == ["1.wav"]
    np.testing.assert_allclose(corpus.read(1), 0.1, atol=1e-4)
