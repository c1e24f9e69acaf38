import copy
import io

import pytest
import torch

from mvssl.pretext import BYOL, DINO, Hybrid, Pretext, PretextOutput, SimCLR, SupCon, SwAV, VICReg


def trained(pretext, views, steps=3):
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = pretext(views).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pretext.after_step()
        losses.append(loss.item())
    return losses


class Counted(torch.nn.Module):
    """An encoder that counts its passes."""

    embed_dim = 6

    def __init__(self):
        super().__init__()
        self.linear, self.passes = torch.nn.Linear(32 * 24, 6), 0

    def forward(self, view):
        self.passes += 1
        return self.linear(view.flatten(1))


class Alone(Pretext):
    """Makes a pass of its own, as masked pretexts do, and is content with one view."""

    min_views, learning_rate = 1, 1e-4

    def forward(self, views):
        embeddings = [self.encoder(view.flip(2)) for view in views]
        return PretextOutput(embeddings[0].square().mean(), {"half": torch.tensor(0.5)}, embeddings)


def test_the_loss_is_the_weighted_sum(encoder, views):
    encoder.eval()
    members = (SimCLR(encoder), VICReg(encoder, 20, 10))
    output = Hybrid(encoder, members, weights=(2.0, 0.3))(views)
    losses = [member(views).loss for member in members]
    torch.testing.assert_close(output.loss, 2 * losses[0] + 0.3 * losses[1])
    terms = {"simclr/loss", "vicreg/loss", "vicreg/invariance", "vicreg/variance", "vicreg/covariance"}
    assert output.terms.keys() == terms
    torch.testing.assert_close(output.terms["vicreg/loss"], losses[1].detach())
    assert output.projections[0].shape == (12, 128)
    torch.testing.assert_close(Hybrid(encoder, members)(views).loss, losses[0] + losses[1])


def test_members_share_one_pass(views):
    encoder = Counted()
    Hybrid(encoder, ("simclr", "vicreg", "barlow_twins", "cola"))(views)
    assert encoder.passes == 1
    Hybrid(encoder, (SimCLR(encoder), Alone(encoder)))(views)
    assert encoder.passes == 1 + 3


def test_a_member_with_a_pass_of_its_own(views):
    encoder = Counted()
    alone = Alone(encoder)
    hybrid = Hybrid(encoder, ("simclr", alone), weights=(0.0, 3.0))
    output = hybrid(views)
    torch.testing.assert_close(output.loss, 3 * alone(views).loss)
    assert output.terms["Alone/half"] == 0.5
    assert (hybrid.min_views, hybrid.learning_rate) == (2, 1e-4)
    assert Hybrid(encoder).shares_pass
    assert not hybrid.shares_pass
    assert not Hybrid(encoder, ("vicreg", hybrid)).shares_pass


def test_what_members_need_it_needs(encoder):
    hybrid = Hybrid(encoder, (SimCLR(encoder, negatives="both", positions=2), "byol"))
    assert (hybrid.min_views, hybrid.learning_rate, hybrid.needs_groups) == (4, BYOL.learning_rate, False)


def test_groups_reach_the_members_that_need_them(encoder, views):
    encoder.eval()
    supcon, vicreg, groups = SupCon(encoder), VICReg(encoder, 20, 10), torch.arange(12) % 3
    hybrid = Hybrid(encoder, (supcon, vicreg))
    assert hybrid.needs_groups
    torch.testing.assert_close(hybrid(views, groups).loss, supcon(views, groups).loss + vicreg(views).loss)
    assert not torch.isclose(hybrid(views).loss, hybrid(views, groups=groups).loss)


def test_the_step_reaches_the_members(encoder, views):
    swav, byol = SwAV(encoder), BYOL(encoder, momentum=0.5)
    hybrid = Hybrid(encoder, (swav, byol))
    target = copy.deepcopy(byol.target.state_dict())
    with torch.no_grad():
        swav.prototypes.weight.mul_(3)
        next(encoder.parameters()).add_(1)
    hybrid.after_step(3, 10)
    torch.testing.assert_close(swav.prototypes.weight.norm(dim=1), torch.ones(len(swav.prototypes.weight)))
    assert any(not torch.equal(value, target[key]) for key, value in byol.target.state_dict().items())


def test_the_encoder_is_saved_once_and_stays_one_after_loading(encoder, views):
    hybrid = Hybrid(encoder, ("simclr", "byol"))
    trained(hybrid, views)
    state = hybrid.state_dict()
    weights = {f"encoder.{key}" for key in encoder.state_dict()}
    assert weights < state.keys()
    assert not [key for key in state if ".encoder." in key]
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    fresh = Hybrid(copy.deepcopy(encoder), ("simclr", "byol"))
    with torch.no_grad():
        for value in fresh.parameters():
            value.add_(1)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert all(member.encoder is fresh.encoder for member in fresh.members.values())
    assert trained(fresh, views) == trained(hybrid, views)
    assert all(torch.equal(value, hybrid.state_dict()[key]) for key, value in fresh.state_dict().items())


def test_a_state_that_lacks_something_is_refused(encoder):
    hybrid = Hybrid(encoder, ("simclr", "vicreg"))
    state = hybrid.state_dict()
    lost = next(key for key in state if key.startswith("members.vicreg."))
    del state[lost]
    with pytest.raises(RuntimeError, match=lost):
        hybrid.load_state_dict(state)


def test_its_state_is_found_inside_another_module(encoder, views):
    hybrid = Hybrid(encoder, ("simclr", "vicreg"))
    outer = torch.nn.ModuleDict({"pretext": hybrid})
    state = copy.deepcopy(outer.state_dict())
    assert not [key for key in state if key.startswith("pretext.members") and ".encoder." in key]
    expected = copy.deepcopy(hybrid)(views).loss
    trained(hybrid, views)
    outer.load_state_dict(state)
    assert torch.equal(hybrid(views).loss, expected)


def test_a_hybrid_may_be_a_member(encoder, views):
    inner = Hybrid(encoder, ("vicreg", "cola"))
    outer = Hybrid(encoder, ("simclr", inner), weights=(1.0, 0.5))
    assert {"simclr/loss", "hybrid/loss", "hybrid/vicreg/variance"} < outer(views).terms.keys()
    state = outer.state_dict()
    assert not [key for key in state if ".encoder." in key]
    outer.load_state_dict(state)


def test_a_copy_has_one_encoder_of_its_own(encoder, views):
    hybrid = Hybrid(encoder)
    other = copy.deepcopy(hybrid)
    assert other.encoder is not encoder
    assert all(member.encoder is other.encoder for member in other.members.values())
    trained(hybrid, views)
    other.load_state_dict(hybrid.state_dict())
    assert torch.equal(other(views).loss, hybrid(views).loss)


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ((), None, r"pretexts=\[\]: give at least one"),
        (("simclr", "simclr"), None, r"pretexts=\['simclr', 'simclr'\]: .* each kind once"),
        (("simclr",), (1.0, 2.0), r"weights=\(1.0, 2.0\): give one for each of \['simclr'\]"),
        (("simclr", "cola"), (1.0, -2.0), r"weights=\(1.0, -2.0\): .* not negative"),
        (("simcrl",), None, "no pretext named 'simcrl'"),
    ],
)
def test_impossible_members_are_refused(encoder, members, weights, message):
    with pytest.raises(ValueError, match=message):
        Hybrid(encoder, members, weights)


def test_a_member_around_another_encoder_is_refused(encoder):
    with pytest.raises(ValueError, match="dino has another encoder"):
        Hybrid(encoder, ("simclr", DINO(copy.deepcopy(encoder))))
