import itertools
import math
import warnings

import pytest
import torch

from mvssl.pretext import PretextOutput
from mvssl.pretext.health import (
    CollapseMonitor,
    CollapseWarning,
    alignment,
    prototype_usage,
    signs_of_collapse,
    spread,
    uniformity,
)


def embeddings(views=2, batch=6, dim=5):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, dim, generator=generator) for _ in range(views)]


def unit(row):
    return row / row.norm()


def test_alignment_equals_loops():
    views = embeddings(3)
    pairs = [
        float((unit(x) - unit(y)).square().sum())
        for a, b in itertools.combinations(views, 2)
        for x, y in zip(a, b, strict=True)
    ]
    assert alignment(views).item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)


def test_uniformity_equals_loops():
    (view,) = embeddings(1)
    potentials = [
        math.exp(-2 * float((unit(x) - unit(y)).square().sum())) for x, y in itertools.combinations(view, 2)
    ]
    assert uniformity(view).item() == pytest.approx(math.log(sum(potentials) / len(potentials)), rel=1e-5)


def test_limits():
    point, apart = torch.ones(4, 4), torch.eye(4)
    assert alignment([apart, 2 * apart]).item() == pytest.approx(0, abs=1e-6)
    assert alignment([apart, -apart]).item() == pytest.approx(4)
    assert uniformity(point).item() == pytest.approx(0, abs=1e-5)
    assert uniformity(apart).item() == pytest.approx(-4)
    assert spread(point).item() == pytest.approx(0, abs=1e-3)
    assert spread(torch.cat([apart, -apart])).item() == pytest.approx(1)
    assert spread(1e4 * apart).item() == pytest.approx(spread(apart).item())


def test_an_output_without_embeddings_has_no_signs():
    assert signs_of_collapse([]) == {}
    assert "alignment" not in signs_of_collapse(embeddings(1))


def test_health_is_computed_once_and_without_gradients():
    views = [view.requires_grad_() for view in embeddings()]
    output = PretextOutput(torch.tensor(0.0), {}, views, views)
    assert output.health is output.health
    assert not any(sign.requires_grad for sign in output.health.values())


def test_signs_of_half_precision_embeddings_are_fp32():
    signs = signs_of_collapse([view.bfloat16() for view in embeddings()])
    assert all(sign.dtype == torch.float32 and sign.isfinite() for sign in signs.values())


def test_entropies_of_prototypes():
    one = prototype_usage([torch.tensor([[9.0, 0, 0, 0]] * 6)], 0.1)
    assert one["prototype_entropy"].item() == pytest.approx(0, abs=1e-6)
    assert one["assignment_entropy"].item() == pytest.approx(0, abs=1e-6)
    undecided = prototype_usage([torch.ones(6, 4)], 0.1)
    assert undecided["prototype_entropy"].item() == pytest.approx(1)
    assert undecided["assignment_entropy"].item() == pytest.approx(1)
    healthy = prototype_usage([9 * torch.eye(4), 9 * torch.eye(4)], 0.1)
    assert healthy["prototype_entropy"].item() == pytest.approx(1)
    assert healthy["assignment_entropy"].item() == pytest.approx(0, abs=1e-6)


HEALTHY = {"embedding_std": 0.8, "rankme": 20.0, "prototype_entropy": 0.9, "assignment_entropy": 0.5}


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"embedding_std": 0.01}, r"all tracks have nearly the same embedding \(embedding_std 0.01\)"),
        ({"rankme": 1.2}, r"fewer than two dimensions \(rankme 1.2\)"),
        ({"prototype_entropy": 0.0}, r"all tracks go to one prototype \(prototype_entropy 0\)"),
        ({"assignment_entropy": 1.0}, r"no track prefers any prototype \(assignment_entropy 1\)"),
    ],
)
def test_the_monitor_warns_once_in_words(sign, words):
    monitor = CollapseMonitor(patience=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.watch(10, HEALTHY)
        monitor.watch(20, {**HEALTHY, **sign})
        monitor.watch(30, HEALTHY)
        monitor.watch(40, sign)
    with pytest.warns(CollapseWarning, match=rf"collapsed by step 50: .*{words}"):
        monitor.watch(50, sign)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.watch(60, sign)


def test_the_monitor_needs_no_particular_terms():
    monitor = CollapseMonitor(patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.watch(1, {"loss": 0.0})


def test_the_monitor_knows_the_terms_of_a_hybrids_members():
    monitor = CollapseMonitor(patience=1)
    with pytest.warns(CollapseWarning, match=r"all tracks go to one prototype \(prototype_entropy 0.01\)"):
        monitor.watch(1, {**HEALTHY, "swav/prototype_entropy": 0.01})
