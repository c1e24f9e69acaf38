"""Masked reconstruction, masked prediction and CPC against loops written from their formulas."""

import math

import pytest
import torch

from mvssl.functional import cpc, masked_latent, masked_reconstruction


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masked_views(views=2, batch=4, places=5, dim=6):
    """Predictions, targets and masks; the second view has one place more."""
    sizes = [(batch, places + view, dim) for view in range(views)]
    predictions = [draw(*size, seed=i) for i, size in enumerate(sizes)]
    targets = [3 * draw(*size, seed=10 + i) + 7 for i, size in enumerate(sizes)]
    masks = [draw(*size[:2], seed=20 + i) > 0 for i, size in enumerate(sizes)]
    return predictions, targets, masks


def naive_reconstruction(predictions, patches, masks, eps):
    """MAE, §3: the mean over masked patches of the mean squared error with the normalised patch."""
    views = []
    for prediction, patch, mask in zip(predictions, patches, masks, strict=True):
        errors = []
        for b, p in mask.nonzero().tolist():
            values = patch[b, p].tolist()
            mean = sum(values) / len(values)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values) + eps)
            squares = [
                (guess - (x - mean) / deviation) ** 2
                for guess, x in zip(prediction[b, p].tolist(), values, strict=True)
            ]
            errors.append(sum(squares) / len(squares))
        views.append(sum(errors) / len(errors))
    return sum(views) / len(views)


def naive_latent(predictions, features, masks, eps=1e-5):
    """Mean squared error with features that have mean 0 and variance 1 over all places of the batch."""
    views = []
    for prediction, feature, mask in zip(predictions, features, masks, strict=True):
        errors = []
        for d in range(feature.shape[2]):
            values = [x for row in feature[:, :, d].tolist() for x in row]
            mean = sum(values) / len(values)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values) + eps)
            for b, p in mask.nonzero().tolist():
                errors.append(
                    (float(prediction[b, p, d]) - (float(feature[b, p, d]) - mean) / deviation) ** 2
                )
        views.append(sum(errors) / len(errors))
    return sum(views) / len(views)


def naive_cpc(predictions, embeddings, negatives):
    """Eq. 4 with f = exp(zᵀ·W·c), for every track, place and step."""
    batch, segments, _ = embeddings.shape
    steps = []
    for k, prediction in enumerate(predictions, start=1):
        losses = []
        for b in range(batch):
            for t in range(segments - k):
                others = [(a, t + k) for a in range(batch) if a != b]
                elsewhere = [(b, s) for s in range(segments) if s != t + k]
                chosen = {"batch": others, "track": elsewhere, "both": others + elsewhere}[negatives]
                scores = {
                    place: float(embeddings[place] @ prediction[b, t]) for place in [(b, t + k), *chosen]
                }
                total = sum(math.exp(score) for score in scores.values())
                losses.append(-math.log(math.exp(scores[b, t + k]) / total))
        steps.append(sum(losses) / len(losses))
    return sum(steps) / len(steps)


def segments_of(batch=3, segments=4, dim=5, steps=2):
    embeddings = draw(batch, segments, dim)
    return [draw(batch, segments - k, dim, seed=k) for k in range(1, steps + 1)], embeddings


@pytest.mark.parametrize("views", [1, 2])
def test_reconstruction_equals_loops(views):
    arguments = masked_views(views)
    assert masked_reconstruction(*arguments).item() == pytest.approx(
        naive_reconstruction(*arguments, 1e-6), rel=1e-10
    )
    assert masked_reconstruction(*arguments, eps=0.5).item() == pytest.approx(
        naive_reconstruction(*arguments, 0.5), rel=1e-10
    )


@pytest.mark.parametrize("views", [1, 2])
def test_latent_prediction_equals_loops(views):
    arguments = masked_views(views)
    assert masked_latent(*arguments).item() == pytest.approx(naive_latent(*arguments), rel=1e-10)


@pytest.mark.parametrize("negatives", ["batch", "track", "both"])
@pytest.mark.parametrize("steps", [1, 3])
def test_cpc_equals_loops(negatives, steps):
    predictions, embeddings = segments_of(steps=steps)
    found = cpc(predictions, embeddings, negatives).item()
    assert found == pytest.approx(naive_cpc(predictions, embeddings, negatives), rel=1e-10)


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
def test_only_masked_places_count(loss):
    (prediction,), (target,), (mask,) = masked_views(1)
    wrong = torch.where(mask[:, :, None], prediction, 1e3)
    assert torch.equal(loss([wrong], [target], [mask]), loss([prediction], [target], [mask]))
    wrong.requires_grad_()
    loss([wrong], [target], [mask]).backward()
    assert not wrong.grad[~mask].any()
    assert wrong.grad[mask].all()


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
def test_predicting_zero_costs_one_whatever_the_scale(loss):
    _, (target,), _ = masked_views(1)
    everywhere = torch.ones(target.shape[:2], dtype=torch.bool)
    for scale in (1, 1e3):
        found = loss([torch.zeros_like(target)], [scale * target - 5], [everywhere]).item()
        assert found == pytest.approx(1, rel=1e-4)


def test_predicting_the_normalised_target_costs_nothing():
    _, (target,), (mask,) = masked_views(1)
    patches = (target - target.mean(2, keepdim=True)) / target.std(2, correction=0, keepdim=True)
    assert masked_reconstruction([patches], [target], [mask]).item() < 1e-10
    features = (target - target.mean((0, 1))) / target.std((0, 1), correction=0)
    assert masked_latent([features], [target], [mask]).item() < 1e-10


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
@pytest.mark.parametrize("constant", [0.0, -2.5, 1e4])
def test_constant_targets_are_zero(loss, constant):
    (prediction,), (target,), (mask,) = masked_views(1)
    prediction = prediction.float().requires_grad_()
    found = loss([prediction], [torch.full_like(target, constant).float()], [mask])
    torch.testing.assert_close(found, prediction[mask].square().mean())
    found.backward()
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
def test_the_order_of_samples_does_not_matter(loss):
    arguments = masked_views(2)
    order = torch.tensor([2, 0, 3, 1])
    permuted = [[view[order] for view in views] for views in arguments]
    torch.testing.assert_close(loss(*permuted), loss(*arguments))


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
def test_gradients_of_masked_losses_are_right(loss):
    predictions, targets, masks = masked_views(2)
    inputs = [prediction.requires_grad_() for prediction in predictions]
    targets = [target.requires_grad_() for target in targets]
    assert torch.autograd.gradcheck(lambda *views: loss(views, targets, masks), inputs)
    loss(inputs, targets, masks).backward()
    assert all(target.grad is None for target in targets)


@pytest.mark.parametrize("negatives", ["batch", "track", "both"])
def test_gradients_of_cpc_are_right(negatives):
    predictions, embeddings = segments_of()
    inputs = [x.requires_grad_() for x in (*predictions, embeddings)]
    assert torch.autograd.gradcheck(lambda *x: cpc(x[:-1], x[-1], negatives), inputs)


@pytest.mark.parametrize(("negatives", "choices"), [("batch", 3), ("track", 4), ("both", 6)])
def test_equal_segments_cost_the_logarithm_of_the_choices(negatives, choices):
    predictions, embeddings = segments_of(batch=3, segments=4)
    same = embeddings[:1, :1].expand_as(embeddings)
    assert cpc(predictions, same, negatives).item() == pytest.approx(math.log(choices))


@pytest.mark.parametrize("negatives", ["batch", "track", "both"])
def test_predicting_the_segment_alone_costs_nothing(negatives):
    embeddings = torch.eye(12, dtype=torch.float64).unflatten(0, (3, 4))
    predictions = [100 * embeddings[:, step:] for step in (1, 2)]
    assert cpc(predictions, embeddings, negatives).item() < 1e-9


def test_tracks_are_told_apart_by_each_kind_of_negatives_in_its_way():
    """Embeddings of the track only, and of the place only."""
    tracks = torch.eye(3, 4, dtype=torch.float64)[:, None].expand(-1, 4, -1)
    places = torch.eye(4, dtype=torch.float64).expand(3, -1, -1)
    predict = [[100 * z[:, step:] for step in (1, 2)] for z in (tracks, places)]
    assert cpc(predict[0], tracks, "batch").item() < 1e-9
    assert cpc(predict[0], tracks, "track").item() == pytest.approx(math.log(4))
    assert cpc(predict[1], places, "track").item() < 1e-9
    assert cpc(predict[1], places, "batch").item() == pytest.approx(math.log(3))


def test_half_precision_and_autocast_compute_in_fp32():
    predictions, targets, masks = masked_views(2)
    halves, half_targets = ([view.bfloat16() for view in views] for views in (predictions, targets))
    singles, single_targets = ([view.float() for view in views] for views in (halves, half_targets))
    steps, embeddings = segments_of()
    steps, embeddings = [step.bfloat16() for step in steps], embeddings.bfloat16()
    for loss in (masked_reconstruction, masked_latent):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(halves, half_targets, masks)
        assert torch.equal(found, loss(singles, single_targets, masks))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cpc(steps, embeddings)
    assert torch.equal(found, cpc([step.float() for step in steps], embeddings.float()))


@pytest.mark.parametrize("loss", [masked_reconstruction, masked_latent])
def test_shapes_of_masked_views_are_checked(loss):
    predictions, targets, masks = masked_views(2)
    for wrong in (
        ([], [], []),
        (predictions, targets[:1], masks),
        (predictions, targets, masks[::-1]),
        (predictions, [target[:, :, 1:] for target in targets], masks),
        ([p.flatten(1) for p in predictions], [t.flatten(1) for t in targets], masks),
    ):
        with pytest.raises(ValueError, match=r"one prediction, target .* per view are needed"):
            loss(*wrong)


def test_a_single_sample_has_no_statistics():
    arguments = [[view[:1] for view in views] for views in masked_views(2)]
    with pytest.raises(ValueError, match="at least two samples per batch are needed, got 1"):
        masked_latent(*arguments)


def test_arguments_of_cpc_are_checked():
    predictions, embeddings = segments_of()
    with pytest.raises(ValueError, match="negatives='all': use 'batch', 'track' or 'both'"):
        cpc(predictions, embeddings, "all")
    for wrong in ([], predictions[1:], [p[:, :, 1:] for p in predictions]):
        with pytest.raises(ValueError, match=r"do not fit embeddings \(3, 4, 5\)"):
            cpc(wrong, embeddings)
    for negatives in ("batch", "both"):
        with pytest.raises(ValueError, match="at least two samples per batch are needed, got 1"):
            cpc([p[:1] for p in predictions], embeddings[:1], negatives)
    assert cpc([p[:1] for p in predictions], embeddings[:1], "track").isfinite()
