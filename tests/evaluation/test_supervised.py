import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mvssl.evaluation.supervised as supervised
from mvssl.data import loader, open_corpus
from mvssl.evaluation import average_precision, draw_subsets, macro
from mvssl.evaluation.held_out import HeldOut
from mvssl.evaluation.metrics import accuracy, r2
from mvssl.evaluation.supervised import CHECKS, SupervisedRecipe, train_on_subsets, train_supervised
from mvssl.optim import adamw, warmup_cosine
from mvssl.views import Crops, chain

RECIPE = SupervisedRecipe(crops=96, batch_size=16, precision="fp32")


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music, min_seconds=1.0)


def _train(encoder, corpus, rows, crops=400, **recipe):
    views = chain("crops", encoder.seconds).bind(encoder.frontend)
    valid = HeldOut(encoder, corpus, corpus.indices("valid"))
    # Judged on the tracks it was trained on: a run that learns anything fits them.
    same = HeldOut(encoder, corpus, rows)
    recipe = SupervisedRecipe(crops=crops, batch_size=32, precision="fp32", **recipe)
    return train_supervised(encoder, corpus, rows, views, valid, same, share=1.0, recipe=recipe, seed=0).test


def test_it_learns_its_training_tracks(encoder, corpus):
    rows = corpus.indices("train")
    targets = corpus.targets[rows]
    untrained = float(macro(average_precision(np.random.default_rng(0).random(targets.shape), targets)))
    scores = _train(encoder, corpus, rows, crops=3000)
    assert float(macro(average_precision(scores, targets))) > untrained + 0.15


def test_it_learns_classes(encoder, corpus):
    vocabulary = ("quiet", "loud")
    loud = corpus.targets[:, 0]
    classes = replace(
        corpus,
        vocabulary=vocabulary,
        targets=np.stack([~loud, loud], 1),
        task="classification",
        tag_groups={},
    )
    rows = corpus.indices("train")
    scores = _train(encoder, classes, rows, crops=3000)
    assert accuracy(scores, loud[rows].astype(int)) > max(loud[rows].mean(), 1 - loud[rows].mean()) + 0.05


def test_it_learns_numbers_of_any_unit(encoder, corpus):
    number = 5000.0 + 40 * corpus.targets.sum(axis=1, keepdims=True)
    columns = {"vocabulary": ("number",), "targets": number.astype(float), "tag_groups": {}}
    numbers = replace(corpus, task="regression", **columns)
    rows = corpus.indices("train")
    scores = _train(encoder, numbers, rows, crops=3000)
    assert abs(scores.mean() - number[rows].mean()) < 40
    assert float(r2(scores, number[rows])[0]) > 0.2


def test_from_scratch_it_is_the_plain_loop(encoder, corpus):
    """What the baseline of earlier versions did, written down once more."""
    rows = corpus.indices("train")[:8]
    views = chain("light", encoder.seconds).bind(encoder.frontend)
    valid, test = (HeldOut(encoder, corpus, corpus.indices(split)) for split in ("valid", "test"))
    same = copy.deepcopy(encoder)
    torch.manual_seed(1)
    found = train_supervised(encoder, corpus, rows, views, valid, test, share=1.0, recipe=RECIPE, seed=5)

    labelled, steps = corpus.take(rows), 6
    torch.manual_seed(1)
    model = nn.Sequential(same, nn.Linear(16, len(corpus.vocabulary))).train()
    optimiser = adamw([model], 3e-3, 1e-2)
    targets = torch.from_numpy(labelled.targets).float()
    views = views.with_sampler(Crops(1.0, n_views=2))
    best, kept = -1.0, {}
    for step, batch in enumerate(loader(labelled, views, 8, split=None, steps=steps, seed=5, workers=0)):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * warmup_cosine(step / steps)
        truth = targets[batch.items].repeat(2, 1)
        F.binary_cross_entropy_with_logits(model(torch.cat(views(batch))), truth).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        optimiser.zero_grad()
        if step in (1, 3, 5):
            score = float(macro(average_precision(valid.scores(model), valid.targets)))
            if score > best:
                best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    np.testing.assert_allclose(found.test, test.scores(model), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.valid, valid.scores(model), rtol=1e-4, atol=1e-6)


def test_rates_of_encoder_and_head():
    same = SupervisedRecipe(crops=96)
    assert same.rates(0.3) == (3e-3 * warmup_cosine(0.3),) * 2
    recipe = SupervisedRecipe(crops=96, learning_rate=1.0, encoder_rate=0.1, head_first=0.5)
    assert recipe.rates(0.4) == (0.0, warmup_cosine(0.4))
    assert recipe.rates(0.75)[0] == pytest.approx(0.1 * warmup_cosine(0.5))


def test_a_rate_of_zero_leaves_the_weights_of_the_encoder(encoder, corpus):
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    _train(encoder, corpus, corpus.indices("train"), encoder_rate=0.0)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_parameters())
    _train(encoder, corpus, corpus.indices("train"), encoder_rate=1e-5)
    moved = [(value - before[name]).abs().max() for name, value in encoder.named_parameters()]
    assert 0 < max(moved) < 1e-3  # about the rate times the number of steps


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


def test_steps_grow_with_the_root_of_the_share():
    recipe = SupervisedRecipe(crops=19_200, batch_size=192)
    assert recipe.steps(1.0) == 100
    assert recipe.steps(1 / 4) == 50
    assert recipe.steps(1e-12) == CHECKS


@pytest.mark.parametrize("change", [{"crops": 0}, {"batch_size": 1}, {"head_first": 1.0}])
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}="):
        replace(RECIPE, **change)


def test_subsets_go_on_where_they_stopped(encoder, corpus, tmp_path, monkeypatch):
    subsets = draw_subsets(corpus.targets[corpus.indices("train")], (0.3, 1.0), 2, 0)
    views = chain("crops", encoder.seconds).bind(encoder.frontend)

    def run(folder=None):
        start = lambda: copy.deepcopy(encoder)  # noqa: E731
        return train_on_subsets(start, corpus, subsets, views, recipe=RECIPE, seed=3, folder=folder)

    torch.manual_seed(9)
    expected = run()
    drawn = torch.rand(1)
    torch.manual_seed(9)
    assert torch.equal(torch.rand(1), drawn), "the caller's generator has moved"
    assert expected.test.shape == (3, len(corpus.indices("test")), len(corpus.vocabulary))
    assert expected.crops == sum(16 * RECIPE.steps(len(subset.indices) / 42) for subset in subsets)

    trained, original = [], train_supervised

    def interrupted(*args, **kwargs):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(supervised, "train_supervised", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    (tmp_path / "subset0.npz").write_bytes(b"PK?")
    trained.clear()
    resumed = run(tmp_path)
    assert len(trained) == 2
    np.testing.assert_array_equal(resumed.test, expected.test)
    np.testing.assert_array_equal(resumed.valid, expected.valid)
    kept = run(tmp_path)
    assert len(trained) == 2
    assert kept.seconds == resumed.seconds > 0
