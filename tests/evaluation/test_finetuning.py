from dataclasses import replace

import numpy as np
import pytest
import torch

import mvssl
import mvssl.evaluation.supervised as supervised
from mvssl.cli import main
from mvssl.data import open_corpus
from mvssl.encoders import SampleCNN, save_encoder
from mvssl.evaluation import SupervisedRecipe, load_subsets

FRACTIONS = {"fractions": (0.3, 1.0), "repeats": 2}
TINY = SupervisedRecipe(crops=96, batch_size=16, precision="fp32")
OPTIONS = {"recipe": TINY, **FRACTIONS}


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music, min_seconds=1.0)


def test_it_is_an_evaluation_like_any_other(encoder, corpus, tmp_path):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    tuned = mvssl.finetune(encoder, corpus, **OPTIONS)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    frozen = mvssl.evaluate(encoder, corpus, **FRACTIONS)
    both = replace(frozen, results={**frozen.results, **tuned.results})
    assert list(both.mean("ap", "finetuned")) == [0.3, 1.0]
    assert both.mean("ap", "finetuned") == tuned.mean("ap", "finetuned")
    ends = tuned.interval("roc_auc", "finetuned")[1.0]
    assert ends.low < tuned.mean("roc_auc", "finetuned")[1.0] < ends.high
    assert "finetuned" in str(both)
    folder = both.save(tmp_path)
    train = corpus.paths[corpus.indices("train")].tolist()
    again = mvssl.finetune(encoder, corpus, subsets=load_subsets(folder / "subsets.json", train), recipe=TINY)
    np.testing.assert_array_equal(again.results["finetuned"].scores, tuned.results["finetuned"].scores)


def test_scratch_forgets_the_weights_and_fine_tuning_does_not(encoder, corpus):
    def scores(from_scratch):
        name = "scratch" if from_scratch else "finetuned"
        found = mvssl.finetune(encoder, corpus, from_scratch=from_scratch, **OPTIONS)
        return found.results[name].scores

    before = scores(True), scores(False)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.5)
    np.testing.assert_array_equal(scores(True), before[0])
    assert np.abs(scores(False) - before[1]).max() > 1e-3


def test_it_goes_on_where_it_stopped_and_never_mixes_settings(encoder, corpus, tmp_path, monkeypatch):
    first = mvssl.finetune(encoder, corpus, **OPTIONS, out=tmp_path)
    trained, original = [], supervised.train_supervised
    monkeypatch.setattr(
        supervised, "train_supervised", lambda *a, **k: trained.append(1) or original(*a, **k)
    )
    next(tmp_path.glob("finetuned-*/subset1.npz")).unlink()
    again = mvssl.finetune(encoder, corpus, **OPTIONS, out=tmp_path)
    assert len(trained) == 1
    np.testing.assert_array_equal(again.results["finetuned"].scores, first.results["finetuned"].scores)
    changes = {"seed": 1}, {"recipe": replace(TINY, encoder_rate=1e-5)}, {"from_scratch": True}
    for number, change in enumerate(changes, 1):
        mvssl.finetune(encoder, corpus, **{**OPTIONS, **change}, out=tmp_path)
        assert len(trained) == 1 + 3 * number
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    mvssl.finetune(encoder, corpus, **OPTIONS, out=tmp_path)
    assert len(trained) == 13


def test_other_labels_of_the_same_tracks_are_another_run(encoder, corpus, tmp_path):
    options = {"fractions": (1.0,), "recipe": TINY, "views": "crops", "out": tmp_path}
    first = mvssl.finetune(encoder, corpus, **options)
    second = mvssl.finetune(encoder, replace(corpus, targets=corpus.targets[:, ::-1]), **options)
    assert not np.array_equal(first.results["finetuned"].scores, second.results["finetuned"].scores)
    assert len(list(tmp_path.glob("finetuned-*"))) == 2


def test_encoders_of_raw_audio_get_waveform_views(corpus):
    encoder = SampleCNN((8,) * 7, embed_dim=16, sample_rate=8_000)
    found = mvssl.finetune(encoder, corpus, **{**OPTIONS, "fractions": (1.0,)})
    assert found.results["finetuned"].scores.shape[0] == 1


def test_what_cannot_be_trained_is_said(corpus):
    with pytest.raises(TypeError, match="lacks embed_dim, frontend, seconds, sample_rate"):
        mvssl.finetune(torch.nn.Identity(), corpus)
    stranger = torch.nn.Linear(2, 2)
    stranger.embed_dim, stranger.frontend, stranger.seconds, stranger.sample_rate = 2, None, 1.0, 8000
    with pytest.raises(ValueError, match="fresh weights"):
        mvssl.finetune(stranger, corpus, from_scratch=True)


def test_the_command_puts_all_modes_into_one_table(encoder, music, tmp_path, capsys):
    save_encoder(encoder, tmp_path / "run")
    asked = ["--fractions", "1.0", "--task", str(music), "--out", str(tmp_path / "out"), "--crops", "96"]
    main(
        [
            "evaluate",
            str(tmp_path / "run"),
            *asked,
            "--modes",
            "frozen,finetuned,scratch",
            "--probes",
            "knn",
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["knn", "finetuned", "scratch"]
    kept = sorted(path.parent.name.split("-")[0] for path in (tmp_path / "out").glob("trained/*/*.npz"))
    assert kept == ["finetuned", "scratch"]
    for modes, message in (("tuned", "give one or more of frozen, finetuned, scratch"), ("[]", "modes=")):
        with pytest.raises(SystemExit):
            main(["evaluate", str(tmp_path / "run"), *asked, "--modes", modes])
        assert message in capsys.readouterr().err
    np.savez(tmp_path / "mine.npz", embeddings=np.zeros((60, 2)), paths=open_corpus(music).paths)
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "mine.npz"), *asked, "--modes", "finetuned"])
    assert "only an encoder can be trained" in capsys.readouterr().err
