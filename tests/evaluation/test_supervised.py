import numpy as np
import pytest
import torch

from mvssl.data import open_corpus
from mvssl.evaluation import average_precision, extract_embeddings, macro
from mvssl.evaluation.supervised import CHECKS, HeldOut, SupervisedRecipe, train_supervised
from mvssl.views import chain


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music, min_seconds=1.0)


def _train(encoder, corpus, rows, crops=400):
    views = chain("crops", encoder.seconds).bind(encoder.frontend)
    valid = HeldOut(encoder, corpus, corpus.indices("valid"))
    # Judged on the tracks it was trained on: a run that learns anything fits them.
    same = HeldOut(encoder, corpus, rows)
    recipe = SupervisedRecipe(crops=crops, batch_size=32, precision="fp32")
    return train_supervised(encoder, corpus, rows, views, valid, same, share=1.0, recipe=recipe, seed=0)


def test_it_learns_its_training_tracks(encoder, corpus):
    rows = corpus.indices("train")
    targets = corpus.targets[rows]
    untrained = float(macro(average_precision(np.random.default_rng(0).random(targets.shape), targets)))
    scores = _train(encoder, corpus, rows, crops=3000)
    assert float(macro(average_precision(scores, targets))) > untrained + 0.15


def test_few_tracks_still_fill_a_batch(encoder, corpus):
    rows = corpus.indices("train")[:3]
    assert _train(encoder, corpus, rows).shape == (3, len(corpus.vocabulary))


def test_it_is_reproducible(corpus, encoder):
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    rows = corpus.indices("train")[:8]
    results = []
    for _ in range(2):
        encoder.load_state_dict(state)
        torch.manual_seed(0)
        results.append(_train(encoder, corpus, rows))
    np.testing.assert_array_equal(*results)


def test_held_out_scores_are_the_mean_over_crops(encoder, corpus):
    rows = corpus.indices("test")
    held_out = HeldOut(encoder, corpus, rows)
    expected = extract_embeddings(
        encoder, corpus.take(rows), seconds=1.0, sample_rate=16_000, progress=False
    ).pooled()
    np.testing.assert_allclose(held_out.scores(encoder), expected, atol=2e-3)
    assert encoder.training


def test_steps_grow_with_the_root_of_the_share():
    recipe = SupervisedRecipe(crops=19_200, batch_size=192)
    assert recipe.steps(1.0) == 100
    assert recipe.steps(1 / 4) == 50
    assert recipe.steps(1e-12) == CHECKS
