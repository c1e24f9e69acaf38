import pytest
import torch
from torch import nn

import mvssl
from mvssl.pretext import (
    Pretext,
    PretextOutput,
    create_pretext,
    forward_views,
    list_pretexts,
    register_pretext,
)
from mvssl.pretext.base import pretexts


class Mine(Pretext):
    """Likes small embeddings.

    Nothing else.
    """

    def forward(self, views):
        embeddings = forward_views(self.encoder, views)
        return PretextOutput(torch.stack(embeddings).square().mean(), embeddings=embeddings)


@pytest.mark.usefixtures("registered")
def test_a_third_party_registers_by_decoration(encoder, views):
    assert mvssl.register_pretext("mine", paper="arXiv:0000.00000")(Mine) is Mine
    assert "mine" in mvssl.list_pretexts()
    assert list_pretexts("mi*") == ["mine"]
    entry = pretexts.entry("mine")
    assert (entry.target, entry.paper, entry.summary) == (Mine, "arXiv:0000.00000", "Likes small embeddings.")
    pretext = create_pretext("mine", encoder)
    assert isinstance(pretext, Mine)
    pretext(views).loss.backward()
    pretext.after_step(3, 10)


@pytest.mark.usefixtures("registered")
def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="pretext 'simclr' is already registered"):
        register_pretext("simclr")(Mine)
    assert pretexts.entry("simclr").target is mvssl.pretext.SimCLR


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("target", [nn.Linear, lambda encoder: None, 3])
def test_only_pretexts_are_registered(target):
    with pytest.raises(TypeError, match=r"not a subclass of mvssl.Pretext"):
        register_pretext("mine")(target)
    assert "mine" not in list_pretexts()


def test_a_wrong_name_suggests_close_ones(encoder):
    with pytest.raises(ValueError, match=r"no pretext named 'simcrl'; did you mean 'simclr'\?"):
        create_pretext("simcrl", encoder)


@pytest.mark.usefixtures("registered")
def test_an_installed_package_announces_its_pretexts(monkeypatch):
    class Announcement:
        name, value = "theirs", "theirs.pretexts"

        @staticmethod
        def load():
            register_pretext("theirs")(Mine)

    groups = []

    def entry_points(*, group):
        groups.append(group)
        return [Announcement]

    monkeypatch.setattr("mvssl.registry.entry_points", entry_points)
    monkeypatch.setattr(pretexts, "_loaded", False)
    assert "theirs" in list_pretexts()
    assert create_pretext("theirs", Encoder()).embed_dim == 4
    assert groups == ["mvssl.pretexts"]


class Encoder(nn.Module):
    embed_dim = 4


def test_a_pretext_must_have_a_loss(encoder):
    class Nothing(Pretext): ...

    with pytest.raises(TypeError, match=r"Nothing needs a method from_embeddings\(embeddings, views\)"):
        Nothing(encoder)


class Simple(Pretext):
    """Only the loss of embeddings."""

    def from_embeddings(self, embeddings, views, factor=1.0):
        loss = factor * torch.stack(list(embeddings)).square().mean()
        return PretextOutput(loss, {"views": torch.tensor(len(views))}, embeddings)


def test_views_are_encoded_for_a_loss_of_embeddings(encoder, views):
    pretext = Simple(encoder).eval()
    assert pretext.shares_pass
    output = pretext(views)
    for view, embedding in zip(views, output.embeddings, strict=True):
        torch.testing.assert_close(embedding, encoder(view))
    assert output.terms["views"] == 2
    torch.testing.assert_close(pretext(views, 3.0).loss, 3 * output.loss)
    torch.testing.assert_close(pretext(views, factor=3.0).loss, 3 * output.loss)
    assert torch.equal(pretext.from_embeddings(output.embeddings, views).loss, output.loss)


def test_as_few_views_are_encoded_as_a_pretext_can_learn_from(encoder, views):
    pretext = Simple(encoder)
    pretext.min_views = 1
    assert len(pretext(views[:1]).embeddings) == 1
    pretext.min_views = 3
    with pytest.raises(ValueError, match="at least 3 views"):
        pretext(views)


def test_a_pretext_with_passes_of_its_own_has_no_loss_of_embeddings(encoder, views):
    pretext = Mine(encoder)
    assert not pretext.shares_pass
    with pytest.raises(TypeError, match="Mine makes passes of its own"):
        pretext.from_embeddings([], views)


class Counter(nn.Module):
    """Remembers the shapes that pass."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return 2 * x


def test_views_of_one_shape_share_one_pass():
    module, views = Counter(), [torch.full((3, 5), float(i)) for i in range(3)]
    outputs = forward_views(module, views)
    assert module.shapes == [(9, 5)]
    assert len(outputs) == 3
    for output, view in zip(outputs, views, strict=True):
        assert torch.equal(output, 2 * view)


def test_views_of_different_shapes_pass_one_by_one():
    module, views = Counter(), [torch.ones(3, 5), torch.ones(3, 4), torch.ones(3, 5)]
    outputs = forward_views(module, views)
    assert module.shapes == [(3, 5), (3, 4), (3, 5)]
    assert all(map(torch.equal, outputs, [2 * view for view in views]))


def test_tuples_of_views_are_taken_too():
    assert len(forward_views(Counter(), (torch.ones(2, 3), torch.ones(2, 3)))) == 2


def test_too_few_or_unequal_views_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 views .* got shapes \[\(3, 5\)\]"):
        forward_views(Counter(), [torch.ones(3, 5)])
    with pytest.raises(ValueError, match=r"same batch size .*\(3, 5\), \(2, 5\)"):
        forward_views(Counter(), [torch.ones(3, 5), torch.ones(2, 5)])
