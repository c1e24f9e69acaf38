import numpy as np
import pytest
import torch

from mvssl.data import CorpusError, open_corpus
from mvssl.evaluation import Embeddings, geometry
from mvssl.pretext.health import alignment, signs_of_collapse


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music)


def test_first_and_last_crops_of_the_split_are_compared(corpus):
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(len(corpus)), 1 + np.arange(len(corpus)) % 3)
    crops = rng.normal(size=(len(tracks), 6)).astype(np.float16)
    found = geometry(Embeddings(crops, tracks), corpus)
    own = [torch.from_numpy(crops[tracks == row]).float() for row in corpus.indices("test")]
    many = [track for track in own if len(track) > 1]
    ends = [torch.stack([track[0] for track in many]), torch.stack([track[-1] for track in many])]
    expected = {"alignment": alignment(ends), **signs_of_collapse([torch.stack([track[0] for track in own])])}
    assert found.values.keys() == expected.keys()
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value.item(), abs=1e-6)
    assert (found.tracks, found.dim) == (len(own), 6)
    assert [row["value"] for row in found.rows()] == list(found.values.values())
    assert f"{found.values['rankme']:.3f}" in str(found)


def test_the_limits(corpus):
    tracks = np.repeat(np.arange(len(corpus)), 2)
    same = geometry(Embeddings(np.ones((len(tracks), 8), np.float16), tracks), corpus).values
    assert same["alignment"] == same["uniformity"] == pytest.approx(0, abs=1e-6)
    assert same["rankme"] == pytest.approx(1, abs=0.01)
    corners = np.tile(np.eye(8), (len(corpus), 1))[: len(corpus)]
    apart = geometry(Embeddings(corners.repeat(2, 0).astype(np.float16), tracks), corpus).values
    assert apart["alignment"] == pytest.approx(0, abs=1e-6)
    assert 6 < apart["rankme"] <= 8.001
    single = geometry(Embeddings(corners.astype(np.float16), np.arange(len(corpus))), corpus).values
    assert "alignment" not in single
    rows = np.concatenate([corpus.indices("train"), corpus.indices("test")[:1]])
    with pytest.raises(CorpusError, match="1 test tracks have no geometry"):
        geometry(Embeddings(corners.astype(np.float16), np.arange(len(corpus))), corpus.take(rows))
