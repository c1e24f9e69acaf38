"""What several test files share: a small rendered corpus and a small encoder."""

import os
from pathlib import Path

import pytest
import torch

from mvssl.data.synthetic import render_corpus
from mvssl.encoders import ResNet

torch.set_num_threads(int(os.environ.get("MVSSL_TEST_THREADS", "2")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--recapture", action="store_true", help="pin the losses of pretexts anew")


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 60 pieces of 2.5 s, as a folder with a manifest."""
    folder = tmp_path_factory.mktemp("music")
    render_corpus(folder, tracks=60, seconds=2.5, seed=3)
    return folder


@pytest.fixture(scope="session")
def emotify() -> Path:
    """The folder of the Emotify corpus, with its ``manifest.jsonl``: in ``$MVSSL_AUDIO/emotify``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "audio"
    folder = Path(os.environ.get("MVSSL_AUDIO", beside)) / "emotify"
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip(f"Emotify is not in {folder}: set MVSSL_AUDIO to the folder that holds it")
    return folder


@pytest.fixture
def encoder() -> ResNet:
    """An encoder that takes a few milliseconds."""
    torch.manual_seed(0)
    frontend = {"n_fft": 512, "hop_length": 320, "n_mels": 32}
    return ResNet(8, (1, 1), embed_dim=16, pooling="mean_max", seconds=1.0, frontend=frontend)
