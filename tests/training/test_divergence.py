import json
import math

import pytest
import torch

import mvssl
from mvssl.pretext import BYOL, SimCLR
from mvssl.training import read_metrics
from mvssl.training.divergence import Divergence


def _fit(pretext, music, out, steps=5, **kwargs):
    settings = {"batch_size": 8, "progress": False, "log_every": 1, "precision": "fp32", "show_every": 0}
    return mvssl.fit(pretext, music, "light", steps=steps, out=out, **settings | kwargs)


class _Breaks(SimCLR):
    """Goes wrong at a step, in a way of choice; its queue sees all that it sees."""

    def __init__(self, encoder, step, how):
        super().__init__(encoder, queue_size=16)
        self.left, self.how = step, how

    def from_embeddings(self, embeddings, views, *args, **kwargs):
        now, self.left = self.left == 0, self.left - 1
        if now and self.how == "views":
            embeddings = [view * float("nan") for view in embeddings]
        output = super().from_embeddings(embeddings, views, *args, **kwargs)
        if now and self.how == "gradient":
            # The square root of zero: a finite loss, whose gradient is not.
            hole = (0 * embeddings[0].sum()).sqrt()
            output = type(output)(output.loss + hole, output.terms, output.embeddings, output.projections)
        return output


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "views",
            r"the loss is nan at step 2 of _Breaks, on \S+\.wav, .*view 0: -\S+ to \S+, rms \S+, 0 silent",
        ),
        ("gradient", r"the norm of the gradient is nan at step 2 of _Breaks, on \S+\.wav"),
    ],
)
def test_a_run_that_diverges_stops_with_a_diagnosis(how, message, encoder, music, tmp_path):
    with pytest.raises(FloatingPointError, match=message):
        _fit(_Breaks(encoder, 2, how), music, tmp_path, checkpoint_every=1)
    found = json.loads((tmp_path / "divergence.json").read_text())
    assert found["step"] == 2
    assert len(found["files"]) == 8
    assert all((music / name).is_file() for name in found["files"])
    assert [view["silent"] for view in found["views"]] == [0, 0]
    assert math.isfinite(found["loss"]) == (how == "gradient")
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize("how", ["views", "gradient"])
def test_a_step_that_is_skipped_leaves_no_trace(how, encoder, music, tmp_path):
    pretext = _Breaks(encoder, 0, how)
    before = {name: value.clone() for name, value in pretext.state_dict().items()}
    result = _fit(pretext, music, tmp_path / "one", steps=1, on_divergence="skip")
    assert result.skipped == 1
    after = pretext.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    result = _fit(_Breaks(encoder, 2, how), music, tmp_path / "more", on_divergence="skip")
    assert result.skipped == 1
    losses = [row["loss"] for row in read_metrics(tmp_path / "more")]
    assert [math.isfinite(loss) for loss in losses] == [True, True, how == "gradient", True, True]


class _Never(BYOL):
    def from_embeddings(self, embeddings, views, *args, **kwargs):
        output = super().from_embeddings(embeddings, views, *args, **kwargs)
        return type(output)(output.loss * float("inf"), output.terms, output.embeddings, output.projections)


def test_a_run_that_only_skips_stops(encoder, music, tmp_path):
    with pytest.raises(FloatingPointError, match=r"at step 10 .*11 steps were skipped before"):
        _fit(_Never(encoder), music, tmp_path, steps=30, on_divergence="skip")


def test_an_exploding_gradient_is_told_from_a_large_one():
    watch = Divergence(explosion=100.0, clip_norm=3.0)
    for _ in range(19):
        assert watch.found(10.0) is None
    assert watch.found(5000.0) is None  # too early to know what is usual
    assert watch.found(999.0) is None
    assert "its norm is 1.5e+03, after a median of 10" in watch.found(1500.0)
    assert watch.found(20.0) is None  # what exploded is not remembered
    again = Divergence(explosion=100.0, clip_norm=3.0)
    again.load_state_dict(watch.state_dict())
    assert "exploded" in again.found(1500.0)
    assert Divergence(None, 3.0).found(1e30) is None


def test_norms_below_the_clipping_are_no_measure():
    watch = Divergence(explosion=100.0, clip_norm=3.0)
    for _ in range(30):
        watch.found(1e-6)
    assert watch.found(200.0) is None
    assert watch.found(400.0) is not None
