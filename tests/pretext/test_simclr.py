import copy

import pytest
import torch

from mvssl.functional import nt_xent
from mvssl.pretext import SimCLR


@pytest.mark.parametrize("reduction", ["pairwise", "multi_positive"])
def test_the_loss_is_nt_xent_of_the_projections(encoder, views, reduction):
    pretext = SimCLR(encoder, temperature=0.3, reduction=reduction)
    output = pretext([*views, views[0].flip(2)])
    torch.testing.assert_close(output.loss, nt_xent(output.projections, 0.3, reduction))
    assert not torch.isclose(output.loss, nt_xent(output.projections, 0.1, reduction))


def test_projections_are_the_head_of_the_embeddings(encoder, views):
    pretext = SimCLR(encoder, projection_dim=9).eval()
    output = pretext(views)
    for view, embedding, projection in zip(views, output.embeddings, output.projections, strict=True):
        torch.testing.assert_close(embedding, encoder(view))
        torch.testing.assert_close(projection, pretext.projector(embedding))
        assert projection.shape == (12, 9)


def test_the_hidden_layer_is_as_wide_as_the_embedding_unless_told(encoder):
    assert SimCLR(encoder).projector[0].out_features == 16
    assert SimCLR(encoder, hidden_dim=5).projector[0].out_features == 5


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_the_temperature_must_be_positive(encoder, temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} must be positive"):
        SimCLR(encoder, temperature=temperature)


def test_an_unknown_reduction_is_refused(encoder, views):
    with pytest.raises(ValueError, match="reduction='sum'"):
        SimCLR(encoder, reduction="sum")(views)


def test_the_loss_may_be_decoupled(encoder, views):
    output = SimCLR(encoder, decoupled=True)(views)
    torch.testing.assert_close(output.loss, nt_xent(output.projections, decoupled=True))


@pytest.mark.parametrize("negatives", ["track", "both"])
def test_places_of_a_track_may_be_negatives(encoder, views, negatives):
    pretext = SimCLR(encoder, negatives=negatives, positions=2)
    assert pretext.min_views == 4
    output = pretext([*views, views[0].flip(2), views[1].flip(2)])
    torch.testing.assert_close(output.loss, nt_xent(output.projections, negatives=negatives, positions=2))
    with pytest.raises(ValueError, match="at least 4 views"):
        pretext(views)
    with pytest.raises(ValueError, match="5 views are not positions=2"):
        pretext([*views, *views, views[0]])


def test_earlier_projections_become_negatives_once_the_queue_is_full(encoder, views):
    pretext = SimCLR(encoder, projection_dim=8, queue_size=30)
    outputs = [pretext(views) for _ in range(2)]
    for output in outputs:  # at 24 of 30 places
        torch.testing.assert_close(output.loss, nt_xent(output.projections))
    newest = torch.cat([*outputs[1].projections, *outputs[0].projections])[:30]
    torch.testing.assert_close(pretext.queue.full()[0], newest.detach())
    output = pretext(views)
    torch.testing.assert_close(output.loss, nt_xent(output.projections, queue=newest))
    assert not torch.isclose(output.loss, nt_xent(output.projections))
    output.loss.backward()


def test_a_queue_goes_on_from_its_state(encoder, views):
    pretext = SimCLR(encoder, queue_size=24)
    pretext(views)
    other = SimCLR(copy.deepcopy(encoder), queue_size=24)
    other.load_state_dict(pretext.state_dict())
    assert torch.equal(other(views).loss, pretext(views).loss)
    pretext.eval()(views)
    assert torch.equal(pretext.queue.rows, other.queue.rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"negatives": "all"}, "negatives='all': use 'batch', 'track' or 'both'"),
        ({"positions": 2}, "positions=2 needs negatives='track' or 'both'"),
        ({"negatives": "track"}, "positions=1: negatives='track' needs at least two places"),
        ({"negatives": "track", "positions": 2, "queue_size": 8}, "negatives='track' has no use for a queue"),
        ({"queue_size": -1}, "queue_size=-1 must not be negative"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_at_once(encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        SimCLR(encoder, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"queue_size": 48}, {"decoupled": True}], ids=str)
def test_tracks_are_told_apart_after_some_steps(encoder, arguments):
    """Also with a queue, which moves here: its projections are those of an older encoder."""
    rng = torch.Generator().manual_seed(0)
    tracks = torch.randn(48, 32, 1, generator=rng)
    torch.manual_seed(0)
    pretext = SimCLR(encoder, **arguments)
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=3e-3)

    def views(rows):
        return [tracks[rows] + torch.randn(len(rows), 32, 24, generator=rng) for _ in range(2)]

    def found():
        a, b = (torch.nn.functional.normalize(z, dim=1) for z in pretext.eval()(views(range(48))).projections)
        return ((a @ b.T).argmax(1) == torch.arange(48)).float().mean()

    before = found()
    for _ in range(60):
        pretext.train()(views(torch.randperm(48, generator=rng)[:12])).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert found() > before + 0.3
