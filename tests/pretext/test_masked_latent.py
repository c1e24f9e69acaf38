import copy

import pytest
import torch

from mvssl.encoders import create_encoder
from mvssl.functional import masked_latent
from mvssl.pretext import MaskedLatent


@pytest.fixture
def pretext(encoder):
    return MaskedLatent(encoder, hidden_dim=24, momentum=0.9)


def test_the_loss_compares_predictions_with_what_the_teacher_makes_of_whole_views(pretext, views):
    other = copy.deepcopy(pretext)
    masks = [view.mask for view in other.masking(other.encoder, views)]
    features = other.teacher.network[0].encoder.feature_map(torch.cat(views)).chunk(2)
    # 4 × 3 cells of 8 × 8 → 2 × 3 patches of 16 × 8.
    targets = [feature.unflatten(2, (2, 2)).mean(3).flatten(2).transpose(1, 2) for feature in features]
    output = pretext(views)
    predictions = [projection.unflatten(1, (6, 64)) for projection in output.projections]
    torch.testing.assert_close(output.loss, masked_latent(predictions, targets, masks))


@pytest.mark.parametrize(
    ("patch", "stage", "channels"), [((16, 8), 1, 128), ((16, 16), 2, 256), ((4, 8), 0, 64)]
)
def test_the_target_is_the_deepest_stage_with_a_cell_for_every_patch(patch, stage, channels):
    pretext = MaskedLatent(create_encoder("tiny"), patch)
    assert pretext.stage == stage
    places = (64 // patch[0]) * (94 // patch[1])
    assert pretext([torch.randn(2, 64, 94)]).projections[0].shape == (2, places * channels)


def test_the_teacher_follows_and_has_no_gradient(pretext, views):
    pretext(views).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in pretext.teacher.parameters())
    assert all(p.grad is not None for p in pretext.encoder.parameters())
    with torch.no_grad():
        for parameter in pretext.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    old = copy.deepcopy(list(pretext.teacher.parameters()))
    pretext.after_step()
    moved = zip(pretext.teacher.parameters(), pretext.encoder.parameters(), old, strict=True)
    for now, online, before in moved:
        torch.testing.assert_close(now, 0.9 * before + 0.1 * online)


def test_weights_of_the_encoder_stand_once_in_the_state_beside_the_teacher(pretext):
    heads = {name.split(".")[0] for name in pretext.state_dict()}
    assert heads == {"encoder", "masking", "decoder", "teacher"}


def test_one_view_is_enough(pretext, views):
    pretext(views[:1]).loss.backward()
    assert pretext.encoder.pool.proj.weight.grad.abs().sum() > 0


def test_a_constant_prediction_costs_about_one(pretext, views):
    torch.nn.init.zeros_(pretext.decoder.mix[-1].weight)
    torch.nn.init.zeros_(pretext.decoder.mix[-1].bias)
    assert pretext(views).loss.item() == pytest.approx(1, abs=0.1)  # the masked are not quite all places


def test_arguments_are_checked(encoder):
    with pytest.raises(ValueError, match=r"patch=\(2, 8\): the finest feature map has cells of 4 × 4"):
        MaskedLatent(encoder, (2, 8))
    with pytest.raises(ValueError, match=r"momentum=2 must lie in \[0, 1\]"):
        MaskedLatent(encoder, momentum=2)
