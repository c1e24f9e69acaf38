import pytest
import torch

from mvssl.functional import vicreg, vicreg_terms
from mvssl.pretext import VICReg

WEIGHTS = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}


def test_the_loss_is_the_weighted_sum_of_the_logged_terms(encoder, views):
    output = VICReg(encoder, **WEIGHTS)(views)
    torch.testing.assert_close(output.loss, vicreg(output.projections, **WEIGHTS))
    names = ("invariance", "variance", "covariance")
    terms = dict(zip(names, vicreg_terms(output.projections), strict=True))
    assert output.terms.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(output.terms[name], term.detach())


def test_default_weights_are_the_papers(encoder, views):
    output = VICReg(encoder)(views)
    torch.testing.assert_close(output.loss, vicreg(output.projections))


def test_the_expander_has_two_hidden_layers_and_no_last_bias(encoder, views):
    pretext = VICReg(encoder, hidden_dim=10, projection_dim=20)
    sizes = [tuple(p.shape) for p in pretext.projector.parameters() if p.ndim == 2]
    assert sizes == [(10, 16), (10, 10), (20, 10)]
    assert pretext.projector[-1].bias is None
    assert pretext(views).projections[0].shape == (12, 20)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_can_be_zero_but_not_negative(encoder, views, name):
    assert VICReg(encoder, **{name: 0.0})(views).loss.isfinite()
    with pytest.raises(ValueError, match=rf"weights must not be negative.*{name}': -1"):
        VICReg(encoder, **{name: -1.0})
