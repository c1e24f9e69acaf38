"""Options of a run besides those of every run, and the view of learning while it goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightly.utils.lars import LARS

import mvssl
from mvssl.data import CorpusError, open_corpus
from mvssl.pretext import SimCLR, VICReg
from mvssl.training import Recipe, read_metrics
from mvssl.training.log import _rows


def _fit(pretext, music, out, steps=4, **kwargs):
    settings = {"batch_size": 8, "progress": False, "log_every": 1, "precision": "fp32", "show_every": 0}
    return mvssl.fit(pretext, music, "light", steps=steps, out=out, **settings | kwargs)


def _weights(pretext):
    return {name: value.clone() for name, value in pretext.state_dict().items()}


def _same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class _Mean(VICReg):
    """A mean over tracks, so that halves of a batch have the gradient of the whole."""

    def from_embeddings(self, embeddings, views, *args, **kwargs):
        output = super().from_embeddings(embeddings, views, *args, **kwargs)
        loss = (embeddings[0] - embeddings[1]).square().mean()
        return type(output)(loss, {}, output.embeddings, output.projections)


def test_accumulated_gradients_are_those_of_the_batches_together(encoder, music, tmp_path):
    start, losses, weights = _weights(encoder), [], []
    for accumulate in (1, 2):
        encoder.load_state_dict(start)
        pretext = _Mean(encoder)
        encoder.eval()  # batch norms would see halves
        _fit(
            pretext, music, tmp_path / str(accumulate), steps=2, accumulate=accumulate,
            batch_size=16 // accumulate, optimiser="sgd", learning_rate=0.1,
        )  # fmt: skip
        rows = read_metrics(tmp_path / str(accumulate))
        assert [(row["step"], row["views"]) for row in rows] == [(n, 32 * n) for n in (1, 2)]
        weights.append(_weights(encoder))
        losses.append(rows[-1]["gradient_norm"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_an_accumulating_run_resumes_exactly(encoder, music, tmp_path):
    class Stops(SimCLR):
        calls = 0

        def from_embeddings(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 6:  # in the middle of the third step
                raise KeyboardInterrupt
            return super().from_embeddings(*args, **kwargs)

    start = _weights(encoder)
    results = []
    for kind, out in ((SimCLR, "whole"), (Stops, "parts"), (SimCLR, "parts")):
        encoder.load_state_dict(start)
        torch.manual_seed(0)
        pretext = kind(encoder)
        arguments = {"accumulate": 2, "checkpoint_every": 1, "resume": True}
        if kind is Stops:
            with pytest.raises(KeyboardInterrupt):
                _fit(pretext, music, tmp_path / out, **arguments)
        else:
            _fit(pretext, music, tmp_path / out, **arguments)
            results.append(_weights(pretext))
    assert _same(*results)


@pytest.mark.parametrize("options", [{"optimiser": "lars", "learning_rate": 0.2}, {"layer_decay": 0.5}])
def test_other_ways_to_optimise_are_resumed_too(options, encoder, music, tmp_path):
    start = _weights(encoder)
    torch.manual_seed(0)
    pretext = SimCLR(encoder)
    _fit(pretext, music, tmp_path / "whole", **options)
    whole = _weights(pretext)
    content = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    rates = [group["lr"] / content["optimizer_states"][0]["param_groups"][-1]["lr"]
             for group in content["optimizer_states"][0]["param_groups"]]  # fmt: skip
    assert max(rates) == 1
    assert min(rates) == (pytest.approx(0.125) if "layer_decay" in options else 1)
    encoder.load_state_dict(start)
    torch.manual_seed(0)
    pretext = SimCLR(encoder)
    calls = iter(range(9))
    hook = pretext.register_forward_pre_hook(lambda *_: _interrupt() if next(calls) == 2 else None)
    with pytest.raises(KeyboardInterrupt):
        _fit(pretext, music, tmp_path / "parts", checkpoint_every=1, **options)
    hook.remove()
    _fit(pretext, music, tmp_path / "parts", resume=True, **options)
    assert _same(whole, _weights(pretext))


def _interrupt():
    raise KeyboardInterrupt


def test_the_learning_rate_is_scaled_only_when_asked_and_then_said(encoder, music, tmp_path, caplog):
    plain = _fit(SimCLR(encoder), music, tmp_path / "plain", learning_rate=0.1)
    assert plain.remarks == ()
    scaled = _fit(SimCLR(encoder), music, tmp_path / "scaled", learning_rate=0.1, scale_lr=True, accumulate=2)
    said = "the learning rate was scaled by 16 tracks per step / 256, to 0.00625"
    assert scaled.remarks == (said,)
    assert said in caplog.text
    rates = [[row["learning_rate"] for row in read_metrics(tmp_path / run)] for run in ("plain", "scaled")]
    np.testing.assert_allclose(rates[1], np.array(rates[0]) / 16)


def test_fp16_is_refused_on_a_cpu(encoder, music, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="precision='fp16' needs a GPU"):
        _fit(SimCLR(encoder), music, tmp_path, precision="fp16")


def test_the_encoder_is_compiled_for_as_long_as_it_is_trained(encoder, music, tmp_path, monkeypatch):
    compiled = []

    def compile(module, **_):
        compiled.append(module)
        module._compiled_call_impl = module._call_impl

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    pretext = SimCLR(encoder)
    _fit(pretext, music, tmp_path, steps=1, compile=True)
    assert compiled == [pretext.encoder]
    assert pretext.encoder._compiled_call_impl is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimiser": "adam"}, "optimiser='adam': use adamw, lars, sgd"),
        ({"optimiser": "lars"}, "needs a learning_rate"),
        ({"optimiser": "lars", "learning_rate": 1.0, "weight_decay": 0.0}, "plain SGD without weight_decay"),
        ({"layer_decay": 1.5}, "layer_decay=1.5"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"explosion": 0.5}, "explosion=0.5"),
        ({"on_divergence": "pray"}, "on_divergence='pray'"),
    ],
)
def test_wrong_options_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recipe(steps=1, **wrong)


def test_lars_is_the_published_one(encoder):
    from mvssl.optim import make_optimiser

    optimiser = make_optimiser("lars", encoder, 0.3, 1e-4)
    assert isinstance(optimiser, LARS)
    decayed, free = optimiser.param_groups
    assert (decayed["weight_decay"], free["weight_decay"], decayed["momentum"]) == (1e-4, 0.0, 0.9)


def test_watching_changes_nothing_and_leaves_what_it_saw(encoder, music, tmp_path):
    start, weights = _weights(encoder), []
    labelled = open_corpus(music)
    for run, more in (("plain", {}), ("watched", {"watch": labelled, "watch_every": 2, "show_every": 1})):
        encoder.load_state_dict(start)
        torch.manual_seed(0)
        pretext = SimCLR(encoder)
        _fit(pretext, music, tmp_path / run, **more)
        weights.append((_weights(pretext), torch.get_rng_state()))
        assert pretext.encoder.training
    assert _same(weights[0][0], weights[1][0])
    assert torch.equal(weights[0][1], weights[1][1])
    rows = _rows(tmp_path / "watched" / "watch.csv")
    assert [row["step"] for row in rows] == [2, 4]
    (name,) = rows[0].keys() - {"step"}
    assert name.startswith("knn_")
    assert all(0 <= row[name] <= 1 for row in rows)
    assert list((tmp_path / "watched").glob("**/metadata.tsv"))  # of the projector
    assert _tags(tmp_path / "watched") >= {"track 0/view 1/crop", "track 1/view 0/mel", name, "data_share"}
    assert 0 <= read_metrics(tmp_path / "plain")[0]["data_share"] <= 1


def _tags(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag for tags in events.Tags().values() if isinstance(tags, list) for tag in tags}


def test_what_has_no_labels_cannot_be_watched(encoder, music, tmp_path):
    corpus = open_corpus(music)
    bare = replace(corpus, vocabulary=(), targets=np.zeros((len(corpus), 0), bool), excluded_tags={})
    with pytest.raises(CorpusError, match="no labels"):
        _fit(SimCLR(encoder), music, tmp_path, watch=bare)
    assert not list(tmp_path.iterdir())
