"""What every transform promises; a new one is tested as soon as the package exports it."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
from drawn import keys

import mvssl.views.transforms as transforms
from mvssl.views.transforms import Filter, HighPass, LowPass, Transform

KINDS = [
    kind
    for kind in vars(transforms).values()
    if isinstance(kind, type) and issubclass(kind, Transform) and not inspect.isabstract(kind)
]
each_kind = pytest.mark.parametrize("kind", KINDS)


def _arguments(kind):
    return inspect.signature(kind).parameters


def made(kind, **options):
    """A transform with defaults; one that works by others gets two of them."""
    needed = [name for name, argument in _arguments(kind).items() if argument.default is argument.empty]
    others = {"transforms": [LowPass((2_200.0, 4_000.0)), HighPass((200.0, 1_200.0))]}
    return kind(**{name: others[name] for name in needed}, **options)


CASES = [(kind, "audio") for kind in KINDS if made(kind).takes_audio]
CASES += [(kind, "mel") for kind in KINDS if made(kind).takes_mel]


@pytest.fixture(params=CASES, ids=lambda pair: f"{pair[0].__name__}-{pair[1]}")
def case(request, frontend, noise):
    """A maker of each transform, with input in each of its domains; what remembers has heard other clips."""
    kind, domain = request.param

    def make(**options):
        transform = made(kind, **options)
        if domain == "mel":
            transform.bind(frontend)
        if kind.remembers:
            earlier = noise.flip(1)
            transform(earlier if domain == "audio" else frontend(earlier))
            transform.eval()
        return transform

    return make, noise if domain == "audio" else frontend(noise)


def test_output_is_like_input_and_input_is_untouched(case):
    make, x = case
    before = x.clone()
    y = make(p=1.0)(x, keys(6))
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert y.isfinite().all()
    assert torch.equal(x, before)


def test_neither_autocast_nor_working_in_place_changes_anything(case):
    make, x = case
    expected = make(p=0.7)(x, keys(6))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(make(p=0.7)(x, keys(6)), expected)
    assert torch.equal(make(p=0.7)(x.clone(), keys(6), inplace=True), expected)


def test_silence_and_full_scale_stay_finite(case, frontend):
    make, x = case
    for audio in (torch.zeros(2, 16_000), torch.ones(2, 16_000), torch.sign(torch.randn(2, 16_000))):
        given = audio if x.ndim == 2 else frontend(audio)
        assert make(p=1.0)(given, keys(2)).isfinite().all()


def test_gradients_flow_to_the_input(case):
    make, x = case
    x = torch.cat([x, torch.full_like(x[:1], x.min() if x.ndim == 3 else 0.0)]).requires_grad_()
    y = make(p=1.0)(x, keys(7))
    (gradient,) = torch.autograd.grad((y * torch.linspace(1, 2, y[0].numel()).view_as(y[0])).sum(), x)
    assert gradient.isfinite().all()  # in the last row, which is silent, too
    assert (gradient[:6] != 0).flatten(1).any(1).all()


def test_p_is_the_share_that_is_transformed(case):
    make, x = case
    assert torch.equal(make(p=0.0)(x, keys(6)), x)
    changed = (make(p=1.0)(x, keys(6)) != x).flatten(1).any(1)
    assert changed.all() or (make().spares and changed.any())
    transform = make(p=0.3)
    assert transform.draw(keys(4_000))["applied"].float().mean() == pytest.approx(0.3, abs=0.03)
    y, params = transform(x, keys(6, seed=1), return_params=True)
    assert 0 < params["applied"].sum() < 6
    changed = (y != x).flatten(1).any(1)
    assert torch.equal(changed, params["applied"]) or (make().spares and (changed <= params["applied"]).all())


def test_a_result_depends_on_its_key_alone(case):
    make, x = case
    transform, drawn = make(p=0.7), keys(6)
    batch = transform(x, drawn)
    assert torch.equal(transform(x, drawn), batch)
    for i in (0, 3, 5):
        alone = make(p=0.7)(x[i : i + 1], drawn[i : i + 1])[0]
        torch.testing.assert_close(alone, batch[i], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(transform(x.flip(0), drawn[::-1].copy()).flip(0), batch, atol=2e-5, rtol=1e-4)
    assert not torch.equal(transform(x, keys(6, seed=1)), batch)


def test_without_keys_the_global_generator_decides(case):
    make, x = case
    transform = make(p=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = transform(x), transform(x)
        torch.manual_seed(0)
        again = transform(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@each_kind
def test_parameters_fill_their_ranges(kind):
    transform = made(kind)
    params = transform.draw(keys(4_000))
    assert params.keys() == {"applied", *transform.ranges}
    assert params["applied"].dtype == torch.bool
    for name, (low, high) in transform.ranges.items():
        values = params[name].double()
        assert params[name].shape == (4_000,)
        assert params[name].dtype == torch.float32
        if name in transform.logarithmic:
            values, low, high = values.log(), math.log(low), math.log(high)
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        if name in transform.steps:
            places = ((values - low) / transform.steps[name]).round()
            torch.testing.assert_close(values, low + places * transform.steps[name], atol=1e-4, rtol=0)
            counts = np.bincount(places.long().numpy())
            assert len(counts) == int((high - low) / transform.steps[name] + 1e-6) + 1
        elif low < high:
            counts = np.histogram(values.numpy(), 5, (low, high))[0]
        np.testing.assert_allclose(counts, 4_000 / len(counts), rtol=0.15)
    drawn = [params[name].numpy() for name, (low, high) in transform.ranges.items() if low < high]
    if len(drawn) > 1:
        np.testing.assert_allclose(np.corrcoef(drawn), np.eye(len(drawn)), atol=0.06)


def test_what_was_drawn_is_told_and_can_be_replayed(case):
    make, x = case
    transform = make(p=0.5)
    y, params = transform(x, keys(6), return_params=True)
    for name, values in transform.draw(keys(6)).items():
        assert torch.equal(params[name], values)
    assert torch.equal(make(p=0.5)(x, params=params), y)
    transform.freeze(params)
    assert torch.equal(transform(x, keys(6, seed=1)), y)
    transform.unfreeze()
    assert not torch.equal(transform(x, keys(6, seed=1)), y)
    with pytest.raises(ValueError, match="not those of a batch of 5"):
        transform(x[:5], params=params)


@each_kind
def test_repr_rebuilds_it(kind):
    transform = made(kind, p=0.25)
    rebuilt = eval(repr(transform), vars(transforms))
    assert type(rebuilt) is kind
    assert (rebuilt.p, rebuilt.ranges) == (0.25, transform.ranges)
    assert repr(rebuilt) == repr(transform)
    assert all(name in repr(transform) for name in set(transform.ranges) & set(_arguments(kind)))


@each_kind
def test_input_that_it_cannot_take_is_refused(kind, frontend):
    audio, mel = torch.zeros(2, 4_000), torch.zeros(2, 40, 30)
    transform = made(kind)
    for x, taken in ((audio, transform.takes_audio), (mel, transform.takes_mel), (torch.zeros(8), False)):
        if not taken:
            with pytest.raises(ValueError, match=f"{kind.__name__} takes "):
                transform(x, keys(2))
    if transform.needs_frontend:
        with pytest.raises(ValueError, match=rf"{kind.__name__}: call bind\(encoder.frontend\)"):
            transform(mel, keys(2))


@each_kind
def test_impossible_arguments_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: p=1.5 is not a probability"):
        made(kind, p=1.5)
    for name in set(made(kind).ranges) & set(_arguments(kind)):
        with pytest.raises(ValueError, match=rf"{kind.__name__}: {name}=\(2.0, 1.0\) is not a range"):
            made(kind, **{name: (2.0, 1.0)})
        if name in made(kind).logarithmic:
            with pytest.raises(ValueError, match="not a range"):
                made(kind, **{name: (0.0, 1.0)})


@each_kind
def test_they_are_modules_without_parameters(kind, frontend, noise):
    transform = made(kind)
    transform.bind(frontend)
    assert not list(transform.parameters())
    assert frontend not in transform.modules()
    x = noise if transform.takes_audio else frontend(noise)
    assert torch.equal(copy.deepcopy(transform)(x, keys(6)), transform(x, keys(6)))


@each_kind
def test_they_say_what_they_do(kind):
    documentation = inspect.getdoc(kind)
    assert documentation.splitlines()[0].endswith(".")
    assert "Args:" in documentation
    assert all(f"{name}: " in documentation for name in _arguments(kind))


def test_own_transforms_must_say_what_they_do():
    with pytest.raises(TypeError, match=r"abstract method '?transform"):
        Transform()
    with pytest.raises(TypeError, match=r"abstract method '?response"):
        Filter()
