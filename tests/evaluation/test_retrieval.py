from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mvssl.data import CorpusError, open_corpus
from mvssl.evaluation import Embeddings, retrieval
from mvssl.evaluation.retrieval import hit_rates

CROPS = 3


@pytest.fixture(scope="module")
def corpus(music):
    """Two artists in each split with a few tracks each, and tracks without any."""
    corpus = open_corpus(music)
    place = np.arange(len(corpus)) % 5
    groups = np.where(place < 4, np.char.add(corpus.splits, (place % 2).astype(str)), "")
    return replace(corpus, groups=groups)


def embedded(tracks):
    """Crops (tracks, crops, dim) as embeddings."""
    count, crops, dim = tracks.shape
    return Embeddings(tracks.reshape(-1, dim).astype(np.float16), np.repeat(np.arange(count), crops))


def random(corpus, seed=0, dim=16, crops=CROPS):
    return embedded(np.random.default_rng(seed).normal(size=(len(corpus), crops, dim)))


def naive(vectors, labels, k):
    hits, chance = [], []
    for query, vector in enumerate(vectors):
        others = [place for place in range(len(vectors)) if place != query]
        right = [labels[place] == labels[query] >= 0 for place in others]
        if not any(right):
            continue
        cosines = [vectors[p] @ vector / np.linalg.norm(vectors[p]) / np.linalg.norm(vector) for p in others]
        hits.append(any(right[place] for place in np.argsort(cosines)[::-1][:k]))
        drawn = list(combinations(right, k))
        chance.append(sum(map(any, drawn)) / len(drawn))
    return np.mean(hits), np.mean(chance), len(hits)


@pytest.mark.parametrize("at_once", [1, 50, 2**24])
def test_equals_the_definition(at_once):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 6, 15)
    vectors = rng.normal(size=(15, 4)) + np.eye(7, 4)[labels]
    hits, chance = hit_rates(vectors, labels, (1, 2, 4), at_once)
    for column, k in enumerate((1, 2, 4)):
        share, by_chance, queries = naive(vectors, labels, k)
        assert np.nanmean(hits[:, column]) == pytest.approx(share)
        assert np.nanmean(chance[:, column]) == pytest.approx(by_chance)
        assert (~np.isnan(hits[:, column])).sum() == queries


def test_clusters_are_found_again(corpus):
    rng = np.random.default_rng(0)
    artists = rng.normal(size=(100, 16))[np.unique(corpus.groups, return_inverse=True)[1]]
    own = rng.normal(size=(len(corpus), 16))
    crops = artists[:, None] + 0.3 * own[:, None] + 0.01 * rng.normal(size=(len(corpus), CROPS, 16))
    tracks, groups = retrieval(embedded(crops), corpus).found
    assert tracks.values[1].value == tracks.values[1].low == 1
    assert groups.values[1].value == 1
    assert groups.chance[1] < 0.6


def test_a_track_that_knows_itself_alone_knows_no_artist(corpus):
    rng = np.random.default_rng(1)
    crops = rng.normal(size=(len(corpus), 1, 400)) + 0.01 * rng.normal(size=(len(corpus), CROPS, 400))
    tracks, groups = retrieval(embedded(crops), corpus, ks=(1,)).found
    assert tracks.values[1].value == 1
    assert groups.values[1].low <= groups.chance[1] <= groups.values[1].high


def test_random_embeddings_get_what_chance_gets(corpus):
    crops, seeds = np.repeat(np.arange(40), CROPS), range(30)
    drawn = [
        hit_rates(np.random.default_rng(seed).normal(size=(len(crops), 8)), crops, (1, 10)) for seed in seeds
    ]
    hits, chance = (np.stack(each).mean((0, 1)) for each in zip(*drawn, strict=True))
    error = np.sqrt(chance * (1 - chance) / (len(crops) * len(seeds)))
    assert (np.abs(hits - chance) < 4 * error).all()


@pytest.mark.parametrize("point", [0.0, 1.0])
def test_a_collapsed_encoder_gets_exactly_chance(corpus, point):
    for recall in retrieval(embedded(np.full((len(corpus), CROPS, 8), point)), corpus).found:
        for k, value in recall.values.items():
            assert value.value == pytest.approx(recall.chance[k])


def test_queries_without_an_answer_are_counted(corpus):
    test = corpus.indices("test")
    groups = corpus.groups.copy()
    groups[test[0]] = "nobody else"
    alone = 1 + int((groups[test] == "").sum())
    found = retrieval(random(corpus), replace(corpus, groups=groups)).found[1]
    assert (found.queries, found.left_out) == (len(test) - alone, alone)
    one = retrieval(random(corpus), replace(corpus, groups=None)).found
    assert [each.kind for each in one] == ["track"]
    assert one[0].queries == CROPS * len(test)


def test_rows_and_table_agree(corpus):
    found = retrieval(random(corpus), corpus, ks=(1, 3))
    rows = {(row["name"], row["metric"], row["level"]): row for row in found.rows()}
    for recall in found.found:
        assert rows[f"same_{recall.kind}", "queries", ""]["value"] == recall.queries
        for k, value in recall.values.items():
            row = rows[f"same_{recall.kind}", "recall", k]
            assert (row["value"], row["low"], row["high"]) == (value.value, value.low, value.high)
            assert row["chance"] == recall.chance[k]
            assert f"{value}   {recall.chance[k]:.3f}" in str(found)


def test_what_makes_no_sense_is_refused(corpus):
    with pytest.raises(ValueError, match="from 1 on"):
        retrieval(random(corpus), corpus, ks=(0, 1))
    with pytest.raises(ValueError, match="not those of the corpus's 60"):
        retrieval(random(corpus.indices("test")), corpus)
    with pytest.raises(CorpusError, match="no test track has two crops"):
        retrieval(random(corpus, crops=1), replace(corpus, groups=None))
