import pytest
import torch
from torch.nn import functional as F
from waves import learned, wave_encoder, waves

from mvssl.encoders import WaveTransformer
from mvssl.pretext import Data2Vec


@pytest.fixture
def pretext():
    torch.manual_seed(0)
    return Data2Vec(wave_encoder())


def moved(pretext):
    """One step of an optimiser and of the teacher."""
    optimiser = torch.optim.SGD(pretext.parameters(), lr=0.1)
    pretext(waves(4)).loss.backward()
    optimiser.step()
    pretext.after_step()
    return pretext


def test_the_loss_is_that_of_the_published_code(pretext):
    """Targets from hooks on the teacher's feed-forward parts, predictions frame by frame."""
    pretext = moved(pretext).eval()
    (audio,) = views = waves(4)[:1]
    fed = []
    for layer in pretext.teacher.network[0].layers[-pretext.target_layers :]:
        layer.feed_forward.register_forward_hook(lambda module, given, made: fed.append(made))
    loss = pretext(views).loss
    normalised = [F.instance_norm(each.transpose(1, 2)).transpose(1, 2) for each in fed]
    target = sum(normalised) / len(normalised)
    encoder = pretext.encoder
    hidden, spans = pretext.masking(encoder.project(encoder.features(audio)), pretext.masking.keys(views)[0])
    predicted = pretext.predict(encoder.contextualise(hidden)[-1])
    errors = [
        ((predicted[row, frame] - target[row, frame]) ** 2).sum() / 16**0.5
        for row, frames in enumerate(spans.places.tolist())
        for frame in frames
    ]
    assert len(fed) == pretext.target_layers
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_the_teacher_is_the_transformer_without_positions(pretext):
    names = {name.split(".")[2] for name, _ in pretext.teacher.named_parameters()}
    assert names == {"norm", "layers"}
    before = [p.clone() for p in pretext.teacher.parameters()]
    moved(pretext)
    student = [*pretext.encoder.norm.parameters(), *pretext.encoder.layers.parameters()]
    for old, new, online in zip(before, pretext.teacher.parameters(), student, strict=True):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * online)


def test_the_teacher_has_no_dropout():
    encoder = WaveTransformer(16, 2, 8, ((8, 20, 10), (8, 8, 8)), dropout=0.5, seconds=0.5)
    pretext = Data2Vec(encoder).train()
    frames = torch.randn(2, 20, 16)
    assert torch.equal(pretext.teacher(frames)[0], pretext.teacher(frames)[0])


def test_the_study_has_its_numbers():
    encoder = WaveTransformer(16, 12, 8, ((8, 20, 10), (8, 8, 8)))
    study = Data2Vec(encoder, preset="music2vec")
    assert (study.target_layers, study.guard_after, study.learning_rate) == (8, 5_000, 5e-4)
    momenta = [study.teacher.momentum_at(step, 400_000) for step in (0, 15_000, 30_000, 400_000)]
    assert momenta == pytest.approx([0.999, 0.99945, 0.9999, 0.9999])
    assert Data2Vec(encoder).target_layers == 8
    assert Data2Vec(encoder, target_layers=12, preset="music2vec").target_layers == 12


@pytest.mark.slow
def test_masked_frames_are_predicted_better_than_by_what_knows_no_clip():
    terms = learned(Data2Vec, 150)
    assert terms["loss"] < 0.8 * terms["constant"]
    assert terms["target_std"] > 0.2


@pytest.mark.parametrize(("part", "name"), [("predict", "prediction_std"), ("teacher", "target_std")])
def test_a_run_that_has_collapsed_ends(pretext, part, name):
    for parameter in getattr(pretext, part).parameters():
        parameter.data.zero_()
    pretext(waves(4))
    pretext.after_step(900)
    with pytest.raises(FloatingPointError, match=f"by step 1000: {name} .* is below 0.*learning rate"):
        pretext.after_step(1_000)


def test_a_healthy_run_goes_on_and_so_does_one_without_a_guard(pretext):
    output = pretext(waves(4))
    assert output.terms["target_std"] > 0.3
    pretext.after_step(1_000)
    other = Data2Vec(pretext.encoder, guard_after=None)
    other.predict.weight.data.zero_()
    other(waves(4))
    other.after_step(1_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_layers": 3}, "target_layers=3: the encoder has 2 layers"),
        ({"preset": "music2vec"}, "target_layers=8: the encoder has 2 layers"),
        ({"momentum": 2}, "momentum=2 must lie"),
        ({"final_momentum": 2}, "momentum=2, steps=None"),
        ({"guard_after": -1}, "guard_after=-1"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Data2Vec(wave_encoder(), **arguments)
