import numpy as np

from mvssl.data import open_corpus
from mvssl.evaluation import extract_embeddings
from mvssl.evaluation.held_out import HeldOut


def test_scores_are_the_mean_over_crops(encoder, music):
    corpus = open_corpus(music, min_seconds=1.0)
    rows = corpus.indices("test")
    held_out = HeldOut(encoder, corpus, rows)
    expected = extract_embeddings(
        encoder, corpus.take(rows), seconds=1.0, sample_rate=16_000, progress=False
    ).pooled()
    np.testing.assert_allclose(held_out.scores(encoder), expected, atol=2e-3)
    np.testing.assert_array_equal(held_out.targets, corpus.targets[rows])
    assert encoder.training
