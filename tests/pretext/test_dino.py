import copy

import pytest
import torch
from torch import nn

from mvssl.functional import dino
from mvssl.pretext import DINO


@pytest.fixture
def pretext(encoder):
    return DINO(encoder, hidden_dim=24, projection_dim=8, prototypes=10)


def teachers_of(pretext, views):
    return list(copy.deepcopy(pretext.teacher)(torch.cat(views)).chunk(len(views)))


def test_the_loss_compares_students_with_teachers_of_other_views(pretext, views):
    pretext.center.normal_()
    center, teachers = pretext.center.clone(), teachers_of(pretext, views)
    output = pretext(views)
    students = [pretext.prototypes(z) for z in output.projections]
    torch.testing.assert_close(output.loss, dino(students, teachers, center, 0.1, 0.04))


def test_the_teacher_sees_the_first_views_only(pretext, views):
    views = [*views, views[0].flip(2)]
    teachers = teachers_of(pretext, views[:2])
    output = pretext(views)
    students = [pretext.prototypes(z) for z in output.projections]
    torch.testing.assert_close(output.loss, dino(students, teachers, torch.zeros(10)))


def test_scores_are_cosines(pretext, views):
    torch.testing.assert_close(pretext(views).projections[0].norm(dim=1), torch.ones(12))
    with torch.no_grad():
        pretext.prototypes.weight.mul_(7)
    scores = pretext.prototypes(pretext(views).projections[0])
    assert scores.abs().max() <= 1 + 1e-6


def test_the_head_is_the_published_one(encoder):
    projector = DINO(encoder, hidden_dim=512, projection_norm=False).projector
    kinds = [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert [type(layer) for layer in projector][:-1] == kinds
    assert projector[2].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not projector[2].bias.any()


def test_projections_are_standardised_before_they_have_unit_length(encoder, views):
    projector = DINO(encoder, hidden_dim=64, projection_dim=8).projector
    *layers, unit_length = projector
    standardised = nn.Sequential(*layers)(torch.randn(200, encoder.embed_dim) + 5)
    torch.testing.assert_close(standardised.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(unit_length(standardised).norm(dim=1), torch.ones(200))


def test_the_centre_follows_the_teacher_in_training_only(pretext, views):
    mean = torch.cat(teachers_of(pretext, views)).mean(0)
    pretext(views)
    torch.testing.assert_close(pretext.center, 0.1 * mean)
    mean = torch.cat(teachers_of(pretext, views)).mean(0)
    before = pretext.center.clone()
    pretext(views)
    torch.testing.assert_close(pretext.center, 0.9 * before + 0.1 * mean)
    before = pretext.center.clone()
    pretext.eval()(views)
    assert torch.equal(pretext.center, before)


def test_the_teacher_follows_all_of_the_student(pretext):
    old = copy.deepcopy(list(pretext.teacher.parameters()))
    with torch.no_grad():
        for parameter in pretext.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    pretext.after_step()
    assert len(old) == sum(p.requires_grad for p in pretext.parameters())
    for now, before in zip(pretext.teacher.parameters(), old, strict=True):
        torch.testing.assert_close(now, before + 0.01)


@pytest.mark.parametrize(
    ("arguments", "temperature"),
    [
        ((), 0.04),
        ((5, None), 0.04),
        ((0, 100), 0.041),
        ((14, 100), 0.055),
        ((29, 100), 0.07),
        ((99, 100), 0.07),
    ],
)
def test_the_temperature_warms_up_with_the_steps(pretext, arguments, temperature):
    pretext.after_step(*arguments)
    assert pretext.temperature.item() == pytest.approx(temperature)


def test_centre_and_temperature_stand_in_the_state(encoder, pretext, views):
    pretext(views)
    pretext.after_step(10, 100)
    fresh = DINO(copy.deepcopy(encoder), hidden_dim=24, projection_dim=8, prototypes=10)
    fresh.load_state_dict(pretext.state_dict())
    assert torch.equal(fresh.center, pretext.center)
    assert torch.equal(fresh.temperature, pretext.temperature)
    assert torch.equal(fresh(views).loss, pretext(views).loss)


def test_the_use_of_prototypes_is_logged(pretext, views):
    assert pretext(views).terms.keys() == {"prototype_entropy", "assignment_entropy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student_temperature": 0.0}, "student_temperature=0.0.* must be positive"),
        ({"teacher_temperature": -1.0}, "teacher_temperature=-1.0.* must be positive"),
        ({"first_teacher_temperature": 0.0}, "first_teacher_temperature=0.0 must be positive"),
        ({"warmup": 1.5}, r"warmup=1.5 .*must lie in \[0, 1\]"),
        ({"center_momentum": -0.5}, r"center_momentum=-0.5 must lie in \[0, 1\]"),
        ({"momentum": 2.0}, r"momentum=2.0 must lie in \[0, 1\]"),
        ({"global_views": 1}, "global_views=1: the teacher must see at least two"),
        ({"head": "round"}, "head='round': use 'unit' or 'plain'"),
    ],
)
def test_impossible_arguments_are_refused(encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        DINO(encoder, **arguments)
