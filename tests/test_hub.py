"""Released layouts, written from networks that are built here once more, as plainly as possible."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from mvssl.encoders import load_encoder, save_encoder
from mvssl.hub import load_published, published


def convolution(channels_in, channels, size):
    return nn.Conv2d(channels_in, channels, size, padding=size // 2, bias=False)


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = convolution(channels_in, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = convolution(channels, channels, 3), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = convolution(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels)
        if stride == 2 or channels_in != 4 * channels:
            self.downsample = nn.ModuleList([convolution(channels_in, 4 * channels, 1)])
            self.downsample.append(nn.BatchNorm2d(4 * channels))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        if self.stride == 2:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        y = self.bn3(self.conv3(y))
        if hasattr(self, "downsample"):
            x = self.downsample[1](self.downsample[0](x))
        return (x + y).relu()


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(13, 512) / 512**0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(512, 512) for _ in range(3))
        self.c_proj = nn.Linear(512, 1024)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.positional_embedding
        query, key, value = self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens)
        heads = []
        for head in torch.arange(512).chunk(8):
            scores = query[:, :, head] @ key[:, :, head].transpose(1, 2) / math.sqrt(64)
            heads.append(scores.softmax(2) @ value[:, :, head])
        return self.c_proj(torch.cat(heads, 2))[:, 0]


class Network(nn.Module):
    """The backbone of the 2024 comparison behind its front end."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = convolution(8, 8, 3), nn.BatchNorm2d(8)
        self.conv3, self.bn3 = convolution(8, 16, 3), nn.BatchNorm2d(16)
        channels_in = 16
        for layer, depth in enumerate((3, 4, 6, 3)):
            blocks = nn.ModuleList()
            for block in range(depth):
                blocks.append(Block(channels_in, 16 * 2**layer, 2 if layer and not block else 1))
                channels_in = 64 * 2**layer
            setattr(self, f"layer{layer + 1}", blocks)
        self.attnpool = Pool()

    def forward(self, image):
        x = self.bn1(self.conv1(image)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = F.avg_pool2d(self.bn3(self.conv3(x)).relu(), 2)
        for layer in range(1, 5):
            for block in getattr(self, f"layer{layer}"):
                x = block(x)
        return self.attnpool(x)


def slaney_filters():
    """Triangles of height one, (513, 128), evenly spaced on Slaney's scale from 0 to 11,025 Hz."""

    def mel(hertz):
        return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)

    def hertz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    corners = [hertz(mel(11_025) * place / 129) for place in range(130)]
    filters = np.zeros((513, 128))
    for band, (low, middle, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for place in range(513):
            frequency = place * 8_000 / 512
            rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
            filters[place, band] = max(0, min(rising, falling))
    return torch.from_numpy(filters).float()


WINDOW = torch.hann_window(1024)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of dead bins
    FILTERS = melscale_fbanks(513, 0.0, 11_025.0, 128, 16_000, mel_scale="slaney")


def published_log_mel(audio):
    """With the buffers of the file, which are torchaudio's, as they are."""
    window, filters = WINDOW.to(audio.dtype), FILTERS.to(audio.dtype)
    spectra = torch.stft(audio, 1024, 512, window=window, return_complex=True)
    power = torch.einsum("bft,fm->bmt", spectra.abs() ** 2 / window.square().sum(), filters)
    decibels = 10 * power.clamp(min=1e-10).log10()
    return torch.stack([clip.clamp(min=clip.max() - 100) for clip in decibels])[:, None]


@pytest.fixture(scope="module")
def audio():
    rng = torch.Generator().manual_seed(1)
    time = torch.arange(64_000) / 16_000
    noise = torch.randn(64_000, generator=rng)
    sweep = 0.8 * torch.sin(2 * torch.pi * (200 + 300 * time) * time)
    # A hiss beside the sweep: some 100 dB below a pure tone, rounding of the FFT shows in the log-mel.
    return torch.stack([0.1 * noise, sweep + 1e-2 * noise, torch.zeros(64_000)])


@pytest.fixture(scope="module")
def network(audio):
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        network(published_log_mel(torch.cat([audio, 0.3 * audio[:2].flip(1)])))  # statistics
    return network.eval()


@pytest.fixture(scope="module")
def deezer(network):
    """The state dict of the backbone as it was released."""
    front_end = {"spec.spec.spectrogram.window": WINDOW, "spec.spec.mel_scale.fb": FILTERS}
    return {**front_end, **{f"embedding.{name}": value for name, value in network.state_dict().items()}}


def released(deezer, prefix, **more):
    model = {f"{prefix}{name}": tensor for name, tensor in deezer.items()}
    return {"model": {**model, "module.head.ops.0.weight": torch.randn(4, 4), **more}, "epoch": 7}


def test_the_filters_of_the_file_are_slaney_s():
    torch.testing.assert_close(FILTERS, slaney_filters(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["module.backbone.", "student.module.backbone."])
@torch.no_grad()
def test_deezer2024_embeds_as_published(prefix, deezer, network, audio, tmp_path):
    path = tmp_path / "contrastive.pt"
    torch.save(released(deezer, prefix, **{"teacher.backbone.embedding.conv1.weight": torch.zeros(1)}), path)
    encoder = load_published("deezer2024", path)
    assert not encoder.training
    expected = network(published_log_mel(audio))
    assert expected.std(0).mean() > 0.1
    found = encoder(audio)
    assert (found - expected).square().mean(1).sqrt().max() < 1e-5
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
    # The network itself, without the rounding of fp32.
    image, network = published_log_mel(audio.double()), copy.deepcopy(network).double()
    exact = copy.deepcopy(encoder).double()(image[:, 0])
    torch.testing.assert_close(exact, network(image), atol=1e-9, rtol=1e-9)
    save_encoder(encoder, tmp_path)
    assert torch.equal(load_encoder(tmp_path)(audio), encoder(audio))
    assert encoder(audio[:, :40_000]).isfinite().all()


def test_other_names_than_the_released_ones_are_named(deezer, tmp_path):
    path = tmp_path / "weights.pt"
    wrong = dict(deezer)
    wrong["embedding.layer5.0.conv1.weight"] = wrong.pop("embedding.layer1.0.conv1.weight")
    torch.save(released(wrong, "module.backbone."), path)
    with pytest.raises(
        ValueError,
        match=r"missing: embedding.layer1.0.conv1.weight; unknown: embedding.layer5.0.conv1.weight$",
    ):
        load_published("deezer2024", path)


def test_other_front_ends_and_sizes_are_refused(deezer, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(released({**deezer, "spec.spec.mel_scale.fb": FILTERS / 2}, "module.backbone."), path)
    with pytest.raises(ValueError, match=r"spec.spec.mel_scale.fb is that of another front end"):
        load_published("deezer2024", path)
    wrong = {**deezer, "embedding.attnpool.positional_embedding": torch.zeros(5, 512)}
    torch.save(released(wrong, "module.backbone."), path)
    with pytest.raises(ValueError, match=r"size mismatch for pool\.positional_embedding"):
        load_published("deezer2024", path)


class Surprise:
    def __reduce__(self):
        return print, ("executed",)


def test_other_files_are_refused(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    for content, message in (
        ({"model": {"encoder.conv1": torch.zeros(1)}}, "no weights under student.module.backbone. or module"),
        ({"weights": {}}, "not of the released layout"),
        ([1, 2], "not of the released layout"),
        (Surprise(), "can be read safely"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            load_published("deezer2024", path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="can be read safely"):
        load_published("clmr", path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="not of the released layout"):
        load_published("clmr", path)
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        load_published("clmr", tmp_path / "nothing.pt")
    with pytest.raises(ValueError, match="no published encoder named 'clrm'; did you mean 'clmr'"):
        load_published("clrm", path)


def clmr_weights():
    """A state dict of CLMR's SampleCNN, and what the network makes of audio, step by step."""
    rng = torch.Generator().manual_seed(0)
    weights, channels_in = {}, 1
    for layer, channels in enumerate([128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]):
        scale = (2 / (3 * channels_in)) ** 0.5
        weights[f"{layer}.0.weight"] = scale * torch.randn(channels, channels_in, 3, generator=rng)
        weights[f"{layer}.0.bias"] = 0.1 * torch.randn(channels, generator=rng)
        for name in ("weight", "running_var"):
            weights[f"{layer}.1.{name}"] = 0.5 + torch.rand(channels, generator=rng)
        for name in ("bias", "running_mean"):
            weights[f"{layer}.1.{name}"] = 0.1 * torch.randn(channels, generator=rng)
        weights[f"{layer}.1.num_batches_tracked"] = torch.tensor(9)
        channels_in = channels
    return weights


def clmr_embedding(weights, audio):
    x = audio[:, None]
    for layer in range(11):
        x = F.conv1d(
            x, weights[f"{layer}.0.weight"], weights[f"{layer}.0.bias"],
            stride=1 if layer else 3, padding=1 if layer else 0,
        )  # fmt: skip
        norm = {name: weights[f"{layer}.1.{name}"][:, None] for name in ("weight", "bias")}
        mean, variance = (weights[f"{layer}.1.running_{name}"][:, None] for name in ("mean", "var"))
        x = ((x - mean) / (variance + 1e-5).sqrt() * norm["weight"] + norm["bias"]).relu()
        if 0 < layer < 10:
            x = x.unfold(2, 3, 3).amax(3)
    return x.flatten(1)


@pytest.mark.parametrize("lightning", [True, False])
@torch.no_grad()
def test_clmr_embeds_as_published(lightning, tmp_path):
    path = tmp_path / "clmr.ckpt"
    weights = clmr_weights()
    prefix = "model.encoder.sequential." if lightning else "encoder.sequential."
    content = {f"{prefix}{name}": value for name, value in weights.items()}
    content["projector.0.weight"] = torch.zeros(2, 2)
    torch.save({"state_dict": content, "pytorch-lightning_version": "1.2.4"} if lightning else content, path)
    encoder = load_published("clmr", path)
    audio = 0.3 * torch.randn(2, 59_049, generator=torch.Generator().manual_seed(0))
    expected = clmr_embedding(weights, audio)
    assert expected.shape == (2, 512)
    torch.testing.assert_close(encoder(audio), expected, atol=1e-5, rtol=1e-5)


def test_clmr_classifiers_are_no_encoders(tmp_path):
    path = tmp_path / "clmr.ckpt"
    content = {f"encoder.sequential.{name}": value for name, value in clmr_weights().items()}
    torch.save({**content, "encoder.fc.weight": torch.zeros(50, 512)}, path)
    with pytest.raises(ValueError, match=r"missing: none; unknown: fc.weight$"):
        load_published("clmr", path)


def test_they_are_described():
    for name in published.names():
        entry = published.entry(name)
        assert entry.paper.startswith("arXiv:")
        assert entry.summary.endswith(".")
