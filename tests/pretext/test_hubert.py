import copy

import pytest
import torch
from torchaudio.models import hubert_pretrain_model
from waves import learned, wave_encoder, waves

from mvssl.encoders import WaveTransformer, save_encoder
from mvssl.functional import cluster_logits
from mvssl.pretext import HuBERT

EXACT = {"encoder_projection_dropout": 0.0, "encoder_attention_dropout": 0.0,
         "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.0, "encoder_layer_drop": 0.0}  # fmt: skip


def made(**arguments):
    torch.manual_seed(0)
    pretext = HuBERT(wave_encoder(), **{"clusters": 6, "projection_dim": 8, **arguments})
    pretext.prepare([waves(6)])
    return pretext


@pytest.fixture
def pretext():
    return made()


def test_logits_are_torchaudios_for_the_same_weights():
    """Theirs have the right cluster first, and −∞ in its own place."""
    from encoders.test_wave_transformer import renamed  # the same weights by other names

    sizes, frames = [(16, 20, 10), (16, 8, 8), (16, 4, 4)], 24
    theirs = hubert_pretrain_model(
        extractor_mode="group_norm", extractor_conv_layer_config=sizes, extractor_conv_bias=False,
        encoder_embed_dim=32, encoder_pos_conv_kernel=128, encoder_pos_conv_groups=16, encoder_num_layers=2,
        encoder_num_heads=4, encoder_ff_interm_features=128, encoder_layer_norm_first=False,
        mask_prob=0.8, mask_selection="static", mask_other=0.0, mask_length=10, no_mask_overlap=False,
        mask_min_space=1, mask_channel_prob=0.0, mask_channel_selection="static", mask_channel_other=0.0,
        mask_channel_length=10, no_mask_channel_overlap=False, mask_channel_min_space=1, skip_masked=False,
        skip_nomask=False, num_classes=7, final_dim=12, feature_grad_mult=None, **EXACT,
    ).eval()  # fmt: skip
    ours = HuBERT(WaveTransformer(32, 2, 8, sizes, normalised=False), clusters=7, projection_dim=12).eval()
    state = theirs.wav2vec2.state_dict()
    ours.encoder.load_state_dict({renamed(name): value for name, value in state.items()})
    ours.masking.token.data = theirs.mask_generator.mask_embedding.data
    ours.project.load_state_dict(theirs.logit_generator.final_proj.state_dict())
    ours.clusters.data = theirs.logit_generator.label_embeddings.data
    audio = waves(3)[0]
    targets = torch.randint(7, (3, frames), generator=torch.Generator().manual_seed(0))
    projected = ours.encoder.project(ours.encoder.features(audio))
    hidden, spans = ours.masking(projected, ours.masking.keys([audio])[0])
    mask = torch.zeros(3, frames, dtype=torch.bool).scatter(1, spans.places, True)
    theirs.mask_generator.forward = lambda x, padding: (hidden, mask)
    logits, _, penalty = theirs(audio, targets)
    found = cluster_logits(ours.project(ours.encoder.contextualise(hidden)[-1][mask]), ours.clusters)
    expected = torch.cat([found.gather(1, targets[mask][:, None]), found], 1)
    expected = expected.scatter(1, targets[mask][:, None] + 1, -torch.inf)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(penalty, ours.encoder.features(audio).square().mean())


def test_targets_are_the_nearest_centroids_of_every_second_frame(pretext):
    audio = waves(6)[0]
    cepstra = pretext.features(audio)
    assert (cepstra.shape, pretext.ratio) == ((6, 48, 39), 2.0)
    assert torch.equal(pretext._read(audio, 24), cepstra[:, ::2])
    distances = torch.cdist(cepstra[:, ::2].flatten(0, 1), pretext.centroids)
    _, frames, _ = pretext.eval()._pass(audio, pretext.masking.keys([audio])[0])
    _, spans = pretext.masking(torch.zeros(6, 24, 16), pretext.masking.keys([audio])[0])
    expected = distances.argmin(1).view(6, 24, 1)
    for (_, targets), at in zip(frames, (spans.of, spans.beside), strict=True):
        assert torch.equal(targets, at(expected)[:, 0])
    assert sorted([*spans.places[0].tolist(), *spans.others[0].tolist()]) == list(range(24))


def test_the_loss_and_its_terms_fit_together():
    losses = {}
    for alpha in (1.0, 0.5, 0.0):
        output = made(alpha=alpha).eval()(waves(6))
        terms = output.terms
        losses[alpha] = output.loss.detach() - 0.1 * terms["penalty"]
    torch.testing.assert_close(losses[1.0], terms["prediction"])
    torch.testing.assert_close(losses[0.5], (losses[0.0] + losses[1.0]) / 2)
    assert abs(losses[0.0] - losses[1.0]) > 1e-3
    assert 1 / 6 <= terms["most_frequent"] <= 1
    assert 0 <= terms["accuracy"] <= 1


@pytest.mark.slow
def test_masked_tones_are_told_from_what_is_heard_beside_them():
    terms = learned(lambda encoder: HuBERT(encoder, clusters=6, projection_dim=16), 40)
    assert terms["accuracy"] > 0.9 > 0.5 > terms["most_frequent"]


def test_without_clusters_it_says_what_to_do():
    pretext = HuBERT(wave_encoder())
    with pytest.raises(RuntimeError, match=r"no clusters yet: call pretext.prepare\(\[views, ...\]\)"):
        pretext(waves(4))
    with pytest.raises(ValueError, match="no views to find clusters in"):
        pretext.prepare([])
    with pytest.raises(ValueError, match="96 frames are too few for 100 clusters"):
        pretext.prepare([waves(1)])


def test_clusters_are_found_once_from_as_many_batches_as_needed(pretext):
    read = []

    def batches():
        while True:
            read.append(1)
            yield [torch.randn(40, 16_000, generator=torch.Generator().manual_seed(len(read)))]

    fresh = HuBERT(wave_encoder(), clusters=6)
    fresh.prepare(batches())
    assert len(read) == 3  # of 40 · 98 frames, up to 10,000
    before = fresh.centroids.clone()
    fresh.prepare(batches())
    assert len(read) == 3
    assert torch.equal(fresh.centroids, before)


def test_clusters_are_remembered(pretext):
    fresh = HuBERT(copy.deepcopy(pretext.encoder), clusters=6, projection_dim=8)
    assert not fresh.prepared
    fresh.load_state_dict(pretext.state_dict())
    assert torch.equal(fresh(waves(4)).loss, pretext(waves(4)).loss)


@pytest.mark.parametrize(("targets", "size"), [("mfcc60", 60), ("cqt", 84), ("chroma", 12)])
def test_other_targets(targets, size):
    torch.manual_seed(0)
    pretext = HuBERT(wave_encoder(), targets=targets, clusters=4)
    audio = torch.stack([(torch.arange(20_000) * pitch).sin() for pitch in (0.1, 0.2, 0.4)])
    pretext.prepare([[audio]])
    assert pretext.centroids.shape == (4, size)
    assert pretext([audio]).loss.isfinite()


def test_an_octave_is_nothing_to_chroma():
    pretext = HuBERT(wave_encoder(), targets="chroma")
    low, high, other = (
        pretext.features((torch.arange(20_000)[None] * pitch / 16_000 * 6.2832).sin())[0, 20]
        for pitch in (440, 880, 622.25)
    )
    assert low @ high > 0.95 > 0.5 > low @ other


def test_a_second_iteration_predicts_a_layer_of_the_first(pretext, tmp_path):
    optimiser = torch.optim.SGD(pretext.parameters(), lr=0.1)
    pretext(waves(6)).loss.backward()
    optimiser.step()
    save_encoder(pretext.encoder, tmp_path)
    second = made(targets=tmp_path, layer=1)
    assert second.ratio == 1.0
    audio = waves(6)[0]
    with torch.no_grad():
        expected = pretext.encoder.eval().hidden_states(audio)[1]
    torch.testing.assert_close(second.train().features(audio), expected)
    output = second(waves(6))
    output.loss.backward()
    assert not [p for p in second.features.parameters() if p.requires_grad or p.grad is not None]
    with pytest.raises(ValueError, match="layer=3: the earlier encoder has hidden states 0 to 2"):
        made(targets=tmp_path, layer=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "mfc"}, "targets='mfc', layer=None: give one of mfcc, mfcc60, chroma, cqt"),
        ({"layer": 2}, "targets='mfcc', layer=2: give one of"),
        ({"temperature": 0}, "temperature=0"),
        ({"penalty": -1}, "penalty=-1"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HuBERT(wave_encoder(), **arguments)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HuBERT(wave_encoder(), targets="nowhere", layer=1)


def test_the_study_has_500_clusters():
    study = HuBERT(wave_encoder(), preset="musichubert")
    assert len(study.clusters) == 500
    assert (study.alpha, study.penalty, study.learning_rate) == (1.0, 10.0, 5e-4)
